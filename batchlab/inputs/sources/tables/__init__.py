"""Tables of a database or a workbook."""

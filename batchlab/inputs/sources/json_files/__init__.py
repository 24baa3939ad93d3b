"""JSON: a row a line, a list of rows, or objects one after another."""

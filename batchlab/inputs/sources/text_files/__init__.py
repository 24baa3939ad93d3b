"""Text: CSV, TSV and plain lines, in any encoding, compressed or not."""

"""From a file, whatever its format, to rows."""

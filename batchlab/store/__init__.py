"""The truth on disk: journal, parts, run directory."""

"""Formats that are Arrow tables from the start: Parquet, Arrow files and streams."""

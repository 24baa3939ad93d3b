"""Rows of a run, picked and shown."""

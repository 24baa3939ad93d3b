"""A copy of a run at a URL."""

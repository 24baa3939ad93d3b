"""One of several processes of a run."""

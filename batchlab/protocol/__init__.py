"""The wire without I/O: replies, streams, outcomes, limits."""

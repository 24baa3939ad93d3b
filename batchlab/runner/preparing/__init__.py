"""What is done before a run may send: its plan, its directory, and its lock."""

"""From pending rows to batches that are ordered, once."""

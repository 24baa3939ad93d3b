"""From what a batch has brought to the journal of its shard."""

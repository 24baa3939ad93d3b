"""The engine that spreads the shards of a run over several workers."""

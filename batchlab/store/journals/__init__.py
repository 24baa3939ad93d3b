"""The journals of a run: written, replayed, and known to go as far as they must."""

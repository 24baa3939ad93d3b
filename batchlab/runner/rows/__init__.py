"""Which rows of a run are sent: looked at first, asked again, once for all alike, or not at all."""

"""Batches of a run that has them: the engine, those left out, coming back to them, how long they took."""

"""How a run is cut that may go by batches and has a deadline: what is taken back is taken back whole."""

from __future__ import annotations

UNIT_ROWS = 1_000  # the smallest piece: a process sends it in a second or so, a batch has its wait anyway
PIECES = 16  # as many as are out at a lane at once, so that all of a run that is not huge is


def piece_rows(rows: int, most: int) -> int:
    """Rows of a piece of so many: a multiple of `UNIT_ROWS`, and `most` at the most."""
    return min(most, max(1, -(-rows // (PIECES * UNIT_ROWS))) * UNIT_ROWS)

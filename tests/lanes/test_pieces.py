"""Into what a run is cut whose batches may be taken back."""

from __future__ import annotations

import pytest

from batchlab.lanes.pieces import PIECES, piece_rows


@pytest.mark.parametrize(
    ("rows", "piece"),
    [(1, 1_000), (16_000, 1_000), (16_001, 2_000), (60_000, 4_000), (200_000, 10_000), (5_000_000, 10_000)],
)
def test_a_run_is_cut_into_as_many_pieces_as_are_out_at_once_if_they_are_not_too_small(rows, piece):
    assert piece_rows(rows, 10_000) == piece
    assert -(-rows // piece) <= PIECES or piece == 10_000

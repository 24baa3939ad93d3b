"""What `--reuse` and `--dedupe` would save of a run, for `plan`."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchlab.inputs.plan import Planned
from batchlab.inputs.requests import RowProblem
from batchlab.inputs.sources.opening import Source
from batchlab.runner.prepare import is_repeatable
from batchlab.runner.reusing import OldRun, hashes_of, short_hash


@dataclass(frozen=True, slots=True)
class Saved:
    """Rows that would not be sent, and why.

    Attributes:
        lengths: how many of them have prompts of so many UTF-8 bytes.
    """

    why: str
    lengths: Mapping[int, int]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(self.lengths.values())

    @property
    def prompt_bytes(self) -> int:
        """UTF-8 bytes of their prompts."""
        return sum(size * rows for size, rows in self.lengths.items())


def savings(
    planned: Planned, source: Source, *, runs: Sequence[OldRun], dedupe: bool, done: frozenset[int]
) -> list[Saved]:
    """What each older run, and then sending identical requests once, would save.

    Reads the input once more, and all of the older runs. Memory: 17 bytes a row of the input, 8 an
    answer of an older run.

    Args:
        done: rows that have a result already.
    """
    builder, plan = planned.ready_builder, planned.plan
    made, sizes, zero = array("Q"), array("Q"), bytearray()
    answered = array("Q")  # requests at temperature 0 that the run itself has asked already
    for shard in plan.shards:
        for row in source.rows(shard, plan):
            try:
                request = builder.build(row) if row.problem is None else None
            except RowProblem:
                request = None
            if request is None:
                continue
            at_zero = is_repeatable(request)
            if row.row_id in done:
                if at_zero:
                    answered.append(short_hash(request.request_hash))
                continue
            made.append(short_hash(request.request_hash))
            sizes.append(request.prompt_bytes)
            zero.append(at_zero)
    hashes, bytes_each = np.array(made, dtype=np.uint64), np.array(sizes, dtype=np.int64)
    left = np.ones(len(hashes), dtype=bool)
    found = []
    for run in runs:
        there = left & np.isin(hashes, hashes_of(run.answers()))
        found.append(Saved(f"reuse of {run.path}", _lengths(bytes_each[there])))
        left &= ~there
    if dedupe:
        at_zero_left = np.flatnonzero(left & (np.array(zero, dtype=np.uint8) == 1))
        _, first = np.unique(hashes[at_zero_left], return_index=True)
        again = np.ones(len(at_zero_left), dtype=bool)
        again[first] = False
        gone = np.isin(hashes[at_zero_left], np.concatenate([hashes[~left], np.array(answered, np.uint64)]))
        twins = at_zero_left[again | gone]
        found.append(Saved("dedupe", _lengths(bytes_each[twins])))
    return found


def _lengths(sizes: np.ndarray) -> Mapping[int, int]:
    values, rows = np.unique(sizes, return_counts=True)
    return dict(zip(values.tolist(), rows.tolist(), strict=True))

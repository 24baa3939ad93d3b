"""What `--reuse` and `--dedupe` would save of a run, for `plan`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batchlab.inputs.plan import Planned
from batchlab.inputs.sources.source import Source
from batchlab.inputs.spill import Spill
from batchlab.inputs.templates import RowProblem
from batchlab.records import ChatRequest, Completion
from batchlab.runner.preparing.planned_input import is_repeatable
from batchlab.runner.rows.reusing import OldRun

# what a record stands for: a row that is to be sent, one at temperature 0, one of those that is answered
# already, and an answer of an older run
_SENT, _AT_ZERO, _ANSWERED, _REUSED = range(4)
_KINDS = 4


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

    Reads the input once more, and all of the older runs. On disk: 16 bytes a row of the input and an answer
    of an older run.

    Args:
        done: rows that have a result already.
    """
    spill = Spill(2)  # a request's hash, and what is known of it
    builder, plan = planned.ready_builder, planned.plan
    for shard in plan.shards:
        for row in source.rows(shard, plan):
            try:
                request = builder.build(row) if row.problem is None else None
            except RowProblem:
                request = None
            if request is None:
                continue
            kind = _AT_ZERO if is_repeatable(request) else _SENT
            if row.row_id not in done:
                spill.add(_signed_hash(request), request.prompt_bytes * _KINDS + kind)
            elif kind == _AT_ZERO:
                spill.add(_signed_hash(request), _ANSWERED)
    for number, run in enumerate(runs):
        for answer in run.answers():
            spill.add(_signed_hash(answer), number * _KINDS + _REUSED)
    lengths = [Counter[int]() for _ in (*runs, "dedupe")]
    for group in spill.groups():
        for counts, sizes in zip(lengths, _saved_sizes(group, len(runs), dedupe=dedupe), strict=True):
            counts.update(sizes.tolist())
    spill.close()
    found = [Saved(f"reuse of {run.path}", counts) for run, counts in zip(runs, lengths, strict=False)]
    return [*found, Saved("dedupe", lengths[-1])] if dedupe else found


def _saved_sizes(group: np.ndarray, runs: int, *, dedupe: bool) -> list[np.ndarray]:
    """The sizes of those rows of a group that each older run saves, and then those that are twins."""
    hashes, known, kinds = group[:, 0], group[:, 1] // _KINDS, group[:, 1] % _KINDS
    is_row = kinds <= _AT_ZERO
    made, sizes, at_zero = hashes[is_row], known[is_row], kinds[is_row] == _AT_ZERO
    left, found = np.ones(len(made), dtype=bool), []
    for number in range(runs):
        there = left & np.isin(made, hashes[(kinds == _REUSED) & (known == number)])
        found.append(sizes[there])
        left &= ~there
    twins = np.flatnonzero(left & at_zero) if dedupe else np.zeros(0, dtype=np.int64)
    _, first = np.unique(made[twins], return_index=True)
    again = np.ones(len(twins), dtype=bool)
    again[first] = False
    gone = np.isin(made[twins], np.concatenate([made[~left], hashes[kinds == _ANSWERED]]))
    return [*found, sizes[twins[again | gone]]]


def _signed_hash(value: ChatRequest | Completion) -> int:
    return int.from_bytes(value.request_hash[:8], "little", signed=True)

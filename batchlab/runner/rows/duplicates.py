"""Identical requests at temperature 0 are sent once; the other rows get a copy of the answer (`--dedupe`).

A pass of the engine sends one row of each group, its leader, and holds the others. Between passes
the leaders' answers are copied. A failure, or an answer that does not fit the job's schema, is nobody
else's: the next row of its group leads, and after `LEADERS` of them each row is asked by itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import numpy as np

from batchlab.dispatch.stop import StopSignal
from batchlab.records import Completion, Shard, is_replaceable
from batchlab.runner.preparing.planned_input import is_repeatable
from batchlab.runner.preparing.prepare import Prepared
from batchlab.runner.rows.reusing import copy_into, requests_of, short_hash
from batchlab.store.answers import Answers
from batchlab.totals import RunningTotals

LEADERS = 3

_PENDING, _FAILED, _ANSWERED, _BY_ITSELF = 0, 1, 2, 3


class Duplicates:
    """The rows whose request another row makes too, and what has become of them.

    Made by one pass over the input. Memory: 25 bytes a row of the input while it is made (its hash,
    and a sorted copy), then 26 for each row that has a twin; a byte a row while rows are held.

    Attributes:
        extra: rows that need no request of their own.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        plan = prepared.plan
        made = array("Q", bytes(8 * plan.rows))
        for shard in plan.shards:
            for request in requests_of(prepared, shard):
                if is_repeatable(request):
                    made[request.row_id] = short_hash(request.request_hash)
        hashes = np.frombuffer(made, dtype=np.uint64)
        ordered = np.sort(hashes)
        twice = np.unique(ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)])
        del ordered
        rows = np.flatnonzero(np.isin(hashes, twice))
        groups = np.searchsorted(twice, hashes[rows])
        order = np.lexsort((rows, groups))
        self._rows, self._groups = rows[order], groups[order]  # by group, then by row
        self._by_row = np.argsort(self._rows)  # positions in them, in input order
        self._state = np.zeros(len(rows), dtype=np.uint8)
        self._answered = np.zeros(len(twice), dtype=bool)  # groups with an answer set aside
        self.extra = len(rows) - len(twice)

    def settle(
        self,
        answers: Answers,
        *,
        stop: StopSignal,
        totals: RunningTotals | None = None,
        took: Callable[[Completion], None],
    ) -> bytearray | None:
        """Copies every answer there is by now, and tells which rows the next pass is to hold.

        Called while no engine runs. Returns a byte a row of the input, 1 for held; None for no row.
        """
        for shard, positions in self._of_shards(self._state != _ANSWERED):
            self._look(shard, positions, answers)
        for shard, positions in self._of_shards((self._state == _PENDING) & self._answered[self._groups]):
            if stop.is_set:
                break  # the next run copies them
            rows = dict(zip(self._rows[positions].tolist(), positions.tolist(), strict=True))
            # of a twin by its short hash only nothing is found: it is asked by itself
            self._state[positions] = _BY_ITSELF

            def got(copy: Completion, _: int, rows: dict[int, int] = rows) -> None:
                self._state[rows[copy.row_id]] = _ANSWERED
                took(copy)

            copy_into(self._prepared, shard, answers, wanted=rows.__contains__, took=got, totals=totals)
        return self._held()

    def _look(self, shard: Shard, positions: np.ndarray, answers: Answers) -> None:
        """Notes what has become of a shard's rows, and sets a group's first answer aside."""
        position = dict(zip(self._rows[positions].tolist(), positions.tolist(), strict=True))
        found: list[Completion] = []
        for result in self._prepared.store.shard_results(shard.index):
            at = position.get(result.row_id)
            if at is None:
                continue
            if not isinstance(result, Completion) or is_replaceable(result):
                self._state[at] = _FAILED
                continue
            self._state[at] = _ANSWERED
            if not self._answered[self._groups[at]]:
                self._answered[self._groups[at]] = True
                found.append(result)
        answers.add(found)

    def _held(self) -> bytearray | None:
        waiting = np.flatnonzero((self._state == _PENDING) & ~self._answered[self._groups])
        groups = self._groups[waiting]
        failures = np.bincount(self._groups[self._state == _FAILED], minlength=len(self._answered))
        first = np.ones(len(groups), dtype=bool)
        first[1:] = groups[1:] != groups[:-1]
        rows = self._rows[waiting[~first & (failures[groups] < LEADERS)]]
        if not len(rows):
            return None
        held = bytearray(self._prepared.plan.rows)
        np.frombuffer(held, dtype=np.uint8)[rows] = 1
        return held

    def _of_shards(self, chosen: np.ndarray) -> Iterator[tuple[Shard, np.ndarray]]:
        """The shards that chosen rows are in, and those rows' positions."""
        positions = self._by_row[chosen[self._by_row]]
        rows = self._rows[positions]
        shards = self._prepared.plan.shards
        starts = np.searchsorted(rows, [shard.first_row for shard in shards])
        for shard, start, end in zip(shards, starts, [*starts[1:], len(rows)], strict=True):
            if start < end:
                yield shard, positions[start:end]

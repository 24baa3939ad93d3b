"""A shard's journals, read again: final results, and what the requests before them came to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from batchlab.records import Completion, Failure, Result, Usage, is_replaceable, is_wanting
from batchlab.store.journals.journal import JournalScan, result_of
from batchlab.store.journals.origin import strange_origin
from batchlab.store.layout import Layout
from batchlab.store.manifest import Manifest
from batchlab.store.parts import part_results
from batchlab.totals import RunningTotals, Totals, sum_of, totals_of

R = TypeVar("R", bound=Completion | Failure)


@dataclass(slots=True)
class Earlier:
    """What a row's requests have come to so far, while it has no final result.

    Attributes:
        attempts: requests sent.
        cut_off: those of them whose answer a crash, or a stop that did not wait, has lost.
        wasted_prompt_tokens, wasted_completion_tokens: of answers that were paid and not kept.
        cost_usd: what these cost; None when the price is not known.
        ended: what the row has counted for beside these, if it has ended before and is asked again.
        kept: the answer that it has had, if it has one: it stays unless a retry brings another.
        by: key of the batch in which the last request was; "" for one that was sent live.
    """

    attempts: int = 0
    cut_off: int = 0
    wasted_prompt_tokens: int = 0
    wasted_completion_tokens: int = 0
    cost_usd: float | None = 0.0
    ended: Totals = field(default_factory=Totals)
    kept: Completion | None = None
    by: str = ""

    @classmethod
    def of(cls, result: Result) -> Earlier:
        """That of a row which has ended, and is asked again."""
        if isinstance(result, Completion):
            return cls(ended=totals_of([result]), kept=result)
        before = totals_of([result])
        earlier = cls(
            attempts=result.attempts,
            cut_off=result.cut_off,
            wasted_prompt_tokens=before.wasted_prompt_tokens,
            wasted_completion_tokens=before.wasted_completion_tokens,
            cost_usd=before.whole_usd,
        )
        earlier.ended = before - earlier.counted()
        return earlier

    def paid(self, usage: Usage, usd: float | None) -> None:
        """Another answer was paid and not kept."""
        self.wasted_prompt_tokens += usage.prompt_tokens or 0
        self.wasted_completion_tokens += usage.completion_tokens or 0
        self.cost_usd = None if self.cost_usd is None or usd is None else self.cost_usd + usd

    def counted(self) -> Totals:
        """How the row stands in the run's totals as long as nothing better has come."""
        return self.ended + Totals(
            attempts=self.attempts,
            cut_off=self.cut_off,
            wasted_prompt_tokens=self.wasted_prompt_tokens,
            wasted_completion_tokens=self.wasted_completion_tokens,
            cost_wasted_usd=self.cost_usd or 0.0,
            waste_without_cost=int(self.cost_usd is None),
        )

    def final(self, result: Result) -> Result:
        """The row's result, now that its requests have come to this one: with all that was paid for it."""
        if self.kept is None:
            return self._added_to(result)
        if isinstance(result, Failure):  # an answer that was paid for does not give way to none
            return Earlier._spent_on(result)._added_to(self._added_to(self.kept))
        return Earlier._spent_on(self.kept)._added_to(self._added_to(result))

    @classmethod
    def _spent_on(cls, result: Result) -> Earlier:
        """What the requests for a result have come to that is not kept."""
        before = totals_of([result])
        return cls(
            attempts=result.attempts,
            cut_off=result.cut_off,
            wasted_prompt_tokens=before.wasted_prompt_tokens + before.prompt_tokens,
            wasted_completion_tokens=before.wasted_completion_tokens + before.completion_tokens,
            cost_usd=before.whole_usd,
        )

    def _added_to(self, result: R) -> R:
        """A result, with what came before it in its books."""
        prompt, completion = self.wasted_prompt_tokens, self.wasted_completion_tokens
        cost = self.cost_usd
        if result.wasted_prompt_tokens is not None or result.wasted_completion_tokens is not None:
            prompt += result.wasted_prompt_tokens or 0
            completion += result.wasted_completion_tokens or 0
            own = result.cost_wasted_usd
            cost = None if cost is None or own is None else cost + own
        any_waste = bool(prompt or completion)
        return replace(
            result,
            attempts=result.attempts + self.attempts,
            cut_off=result.cut_off + self.cut_off,
            wasted_prompt_tokens=prompt if any_waste else result.wasted_prompt_tokens,
            wasted_completion_tokens=completion if any_waste else result.wasted_completion_tokens,
            cost_wasted_usd=cost if any_waste else result.cost_wasted_usd,
        )


class Found:
    """What a shard's final results come to, counted while they are read."""

    def __init__(self) -> None:
        self._sums = RunningTotals()
        self._rows: dict[int, Totals] = {}  # of those that a later result may replace

    def add(self, result: Result) -> None:
        """One more; it replaces what the same row has had."""
        before = self._rows.pop(result.row_id, None)
        if before is not None:
            self._sums.change(Totals() - before)
        if is_wanting(result):
            self._rows[result.row_id] = totals_of([result])
        self._sums.count(result)

    def totals(self, replay: Replay) -> Totals:
        """The sums, with what requests that brought no result have come to."""
        return self._sums.totals + sum_of(one.counted() for one in replay.earlier.values())


@dataclass(slots=True)
class Replay:
    """Reads records in the order in which they were written.

    Attributes:
        earlier: of the rows that have no final result yet, or have had requests since.
        reopened: rows that have a result, and are to be asked again.
        in_flight: rows whose last request was sent and has not come back, each with the number of that
            request: several rows may share one.
    """

    earlier: dict[int, Earlier] = field(default_factory=dict)
    in_flight: dict[int, int] = field(default_factory=dict)
    reopened: set[int] = field(default_factory=set)
    _sent: int = 0

    @property
    def requests_in_flight(self) -> int:
        """Requests that were sent and have not come back."""
        return len(set(self.in_flight.values()))

    def apply(self, record: dict[str, Any]) -> Result | None:
        """Takes one record; the final result in it, if it is one."""
        kind, row = record.get("t"), record.get("row")
        if kind == "sent":
            self._sent += 1
            # what a crash loses may be billed for each of the rows, so each of them counts it
            for one in [row] if isinstance(row, int) else record.get("rows", ()):
                so_far = self.earlier.setdefault(one, Earlier())
                so_far.attempts += 1
                so_far.cut_off += one in self.in_flight
                so_far.by = record.get("by", "")
                self.in_flight[one] = self._sent
            if isinstance(row, int) and isinstance(back := record.get("back"), dict):
                self._take_back(row, back)
        elif kind == "back" and row is None:
            for one in record.get("rows", ()):
                self.in_flight.pop(one, None)
        elif kind == "back" and isinstance(row, int):
            self._take_back(row, record)
        elif (result := result_of(record)) is not None:
            self.in_flight.pop(result.row_id, None)
            self.earlier.pop(result.row_id, None)
            self.reopened.discard(result.row_id)
            return result
        return None

    def _take_back(self, row: int, record: dict[str, Any]) -> None:
        """The row's request has come back without a final result."""
        self.in_flight.pop(row, None)
        if record.get("usage"):
            usage, usd = Usage(**record["usage"]), record.get("usd")
            self.earlier.setdefault(row, Earlier()).paid(usage, usd)

    def reopen(self, result: Result) -> None:
        """The row has failed or was answered in vain, and is to be asked again."""
        self.earlier[result.row_id] = Earlier.of(result)
        self.reopened.add(result.row_id)

    def end(self) -> None:
        """There are no more records: what is in flight never comes back."""
        for row in self.in_flight:
            self.earlier[row].cut_off += 1


@dataclass(frozen=True, slots=True)
class OpenResults:
    """What an open shard holds, for a reader.

    Attributes:
        by_row: final results by row_id.
        replay: what requests that brought none of them have come to.
    """

    by_row: dict[int, Result]
    replay: Replay

    def totals(self) -> Totals:
        """Sums over the results, and what was sent and paid for rows without one."""
        found = self.by_row
        others = (
            one.counted()
            for row, one in self.replay.earlier.items()
            if row not in found or is_wanting(found[row])
        )
        return totals_of(found.values()) + sum_of(others)


def open_results(layout: Layout, index: int, manifest: Manifest) -> OpenResults:
    """The results of a shard that has journals: these over its part, if it has one.

    It takes no lock and repairs nothing.
    """
    results: dict[int, Result] = {}
    replay = Replay()
    part = layout.part(index)
    if part.exists():
        results = {result.row_id: result for result in part_results(part, manifest.prefix, manifest.vectors)}
    for path in layout.journal_files(index):
        if strange_origin(path, manifest) is not None:
            continue  # that is told by `losses`
        with contextlib.suppress(FileNotFoundError):  # sealed while we read
            for record in JournalScan(path).records():
                result = replay.apply(record.data)
                if result is None:
                    continue
                old = results.get(result.row_id)
                if old is None or is_replaceable(old) or (record.is_retried and is_wanting(old)):
                    results[result.row_id] = result
    replay.end()
    return OpenResults(results, replay)

"""batches.log: the life of each batch that a run has, one record a step, and why other rows went by calls.

    {"t": "meant", "key": KEY, "shard": 3, "rows": [[FIRST, COUNT, ASKED BEFORE], …], "endpoint": …, …}
    {"t": "uploaded", "key": KEY, "file": ID}        its lines are there
    {"t": "ordering", "key": KEY}                    from here on it may exist, and be paid
    {"t": "absent", "key": KEY, "doubted": true}     it does not: refused; or, doubted, not to be seen
    {"t": "created", "key": KEY, "id": ID}
    {"t": "cancelling", "key": KEY}                  by us
    {"t": "ended", "key": KEY, "phase": …, "files": […]}
    {"t": "merged", "key": KEY, "answered": N, "failed": N, "again": N}   its results are in the journal
    {"t": "unmerged", "key": KEY}                    and these have been lost: they are fetched again
    {"t": "dropped", "key": KEY, "why": …}           it never came to be
    {"t": "retry", "only": […], "max_tokens": N, "rows": [[FIRST, LAST], …], …}   see `asks_again`
    {"t": "stray", "key": KEY, "id": ID, "settled": false}   one more of it, whose order came late (`strays`)
    {"t": "live", "shards": [3, …], "generation": 1, "lane": "live", "why": WHY}   their rows go by calls now

A record is synced before the step that it announces; before an order it is at the run's URL as well, if it
has one: whoever goes on finds every batch that may have been paid.
"""

from __future__ import annotations

import bisect
import contextlib
import math
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

from batchlab.errors import CorruptRun
from batchlab.records import Result
from batchlab.run_state import BatchStanding
from batchlab.store.asking import AskAgain, RetryRule, ranges_without
from batchlab.store.journals.journal import JournalScan
from batchlab.store.layout import BATCHES

DOUBT_S = 86_400.0  # an order of which nothing is seen may arrive; no connection lasts longer than that


class Step(StrEnum):
    """What has happened to a batch last."""

    MEANT = "meant"
    UPLOADED = "uploaded"
    ORDERING = "ordering"
    CREATED = "created"
    ENDED = "ended"
    MERGED = "merged"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, as far as it has come.

    Attributes:
        key: ours; part of every custom_id, and the label by which the service is asked for it.
        generation: of the run, whose plan `shard` and `rows` are of.
        rows: (first, count) of the runs of row_ids that it holds, in order.
        asked: how often the rows of each run had been asked before; () for never.
        is_retry: some of its rows had a result before, and their shard may be sealed; these are asked with
            `max_tokens`, or with their own where it is None.
        model, path: of its calls.
        size: bytes of its lines.
        usd, tokens: the most that it may be billed; `usd` is None when the price is unknown.
        ordered_at: of the last order that was sent.
        doubted_at: when that order was sent of which the service knew nothing when it was asked; it may come
            to be all the same. 0 for none.
        cancelled_at: when we took it back; 0 when we have not.
        phase: how it ended.
        answered, failed: rows that have a result by it.
    """

    key: str
    shard: int
    rows: tuple[tuple[int, int], ...]
    endpoint: str
    model: str
    path: str
    size: int
    generation: int = 1
    is_retry: bool = False
    max_tokens: int | None = None
    asked: tuple[int, ...] = ()
    usd: float | None = None
    tokens: float = 0.0
    meant_at: float = 0.0
    step: Step = Step.MEANT
    file: str | None = None
    ordered_at: float = 0.0
    doubted_at: float = 0.0
    id: str | None = None
    created_at: float = 0.0
    cancelled_at: float = 0.0
    phase: str = ""
    files: tuple[str, ...] = ()
    ended_at: float = 0.0
    answered: int = 0
    failed: int = 0

    @property
    def lines(self) -> int:
        """How many it has."""
        return sum(count for _, count in self.rows)

    @property
    def is_cancelled(self) -> bool:
        """Whether we took it back."""
        return self.cancelled_at > 0

    @property
    def is_out(self) -> bool:
        """Whether it is at the service, or may be, and results of it are to come."""
        return self.step in {Step.ORDERING, Step.CREATED, Step.ENDED}

    def row_ids(self) -> Iterator[int]:
        """The rows that it holds, in order."""
        for first, count in self.rows:
            yield from range(first, first + count)

    def custom_id(self, row_id: int) -> str:
        """A line's own name: nobody else's, whatever the user calls the row."""
        return f"{self.key}-{row_id}"

    def row_of(self, custom_id: str) -> int | None:
        """The row of a line; None for a line that is not of this batch."""
        key, _, row = custom_id.rpartition("-")
        if key != self.key or not row.isdecimal():
            return None
        return int(row) if self._run_of(int(row)) is not None else None

    def holds(self, row_id: int) -> bool:
        """Whether a row is in it."""
        return self._run_of(row_id) is not None

    def asked_before(self, row_id: int) -> int:
        """How often a row had been asked when the batch was packed: once its result is taken, it is more."""
        at = self._run_of(row_id) if self.asked else None
        return 0 if at is None else self.asked[at]

    def _run_of(self, row_id: int) -> int | None:
        at = bisect.bisect_right(self.rows, (row_id, math.inf)) - 1
        return at if at >= 0 and row_id < sum(self.rows[at]) else None


@dataclass(frozen=True, slots=True)
class Stray:
    """A batch at its service that is one too many: its order arrived when its rows had been ordered anew.

    Attributes:
        key: of ours that was ordered so.
        found_at: Unix seconds.
        is_settled: what it was billed is in the books.
    """

    key: str
    id: str
    found_at: float
    is_settled: bool = False


WhyLive: TypeAlias = Literal["deadline", "cheapest", "asked"]


@dataclass(frozen=True, slots=True)
class WentLive:
    """Shards whose rows were sent by calls from some time on.

    Attributes:
        lane: of the calls, live or flex.
        why: a cheaper lane would have taken too long for the deadline (a few rows that showed how long calls
            take included); no other was cheaper; or the job wanted no other.
        at: Unix seconds.
    """

    shards: frozenset[int]
    generation: int
    lane: str
    why: str
    at: float


def new_key(shard: int) -> str:
    """A key that no other batch has, of whatever machine."""
    return f"bl{shard}-{secrets.token_hex(6)}"


def runs_of(asked: Mapping[int, int]) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Row_ids in order, each with how often it was asked, as `Batch.rows` and `Batch.asked`."""
    runs: list[tuple[int, int]] = []
    times: list[int] = []
    for row, count in asked.items():
        if runs and sum(runs[-1]) == row and times[-1] == count:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((row, 1))
            times.append(count)
    return tuple(runs), tuple(times)


@dataclass(slots=True)
class Batches:
    """All of batches.log, read: by key, in the order in which they were meant; strays by their ids."""

    by_key: dict[str, Batch] = field(default_factory=dict)
    strays: dict[str, Stray] = field(default_factory=dict)
    live: list[WentLive] = field(default_factory=list)
    _retry: AskAgain | None = None
    _retry_of: int = 0  # generation
    _retried: list[str] = field(default_factory=list)  # keys of batches that were meant for it

    @property
    def out(self) -> list[Batch]:
        """Those of which results are to come."""
        return [one for one in self.by_key.values() if one.is_out]

    def still_to_retry(self, generation: int, rows: int) -> AskAgain | None:
        """What a retry that nobody waits for has not ordered yet, of a run of so many rows; None for nothing.

        A row is ordered once for it: what comes of that stays.
        """
        if self._retry is None or self._retry_of != generation:
            return None
        ordered = [self.by_key[key] for key in self._retried]
        taken = [one for batch in ordered if batch.step is not Step.DROPPED for one in _ranges_of(batch)]
        left = ranges_without(self._retry.rows or ((0, rows - 1),), taken)
        return replace(self._retry, rows=left) if left else None

    def doubted(self, since: float) -> list[Batch]:
        """Those of which an order, sent since a Unix time, may come to be although nothing was seen of it."""
        return [one for one in self.by_key.values() if one.doubted_at > since]

    def ids(self) -> set[str]:
        """Of all that services have given one, strays among them."""
        return {one.id for one in self.by_key.values() if one.id is not None} | set(self.strays)

    def strays_left(self) -> list[Stray]:
        """Those whose bill is not known yet."""
        return [one for one in self.strays.values() if not one.is_settled]

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record. One of a later version says nothing here."""
        match record:
            case {"t": "meant", "key": str(key), "rows": rows}:
                known = {name: record[name] for name in ("shard", "endpoint", "model", "path", "size")}
                self.by_key[key] = Batch(
                    key=key,
                    rows=tuple((int(first), int(count)) for first, count, *_ in rows),
                    asked=tuple(int(asked[0]) if asked else 0 for _, _, *asked in rows),
                    usd=record.get("usd"),
                    tokens=float(record.get("tokens") or 0.0),
                    meant_at=float(record.get("at") or 0.0),
                    generation=int(record.get("generation") or 1),
                    is_retry=bool(record.get("retry")),
                    max_tokens=record.get("max_tokens"),
                    **known,
                )
                self._retried += [key] if self.by_key[key].is_retry else []
            case {"t": "retry", "only": [*only], "rows": [*ranges]}:
                rows = tuple((int(first), int(last)) for first, last in ranges)
                self._retry = AskAgain(tuple(only), max_tokens=record.get("max_tokens"), rows=rows)
                self._retry_of = int(record.get("generation") or 1)
                self._retried = [one.key for one in self.out if one.is_retry]
            case {"t": "live", "shards": [*shards], "at": float(at)}:
                generation = int(record.get("generation") or 1)
                lane, why = str(record.get("lane") or "live"), str(record.get("why") or "")
                self.live.append(WentLive(frozenset(map(int, shards)), generation, lane, why, at))
            case {"t": "stray", "key": str(key), "id": str(found)} if key in self.by_key:
                now = Stray(key, found, float(record.get("at") or 0.0), bool(record.get("settled")))
                before = self.strays.get(found, now)
                self.strays[found] = replace(now, found_at=before.found_at)
            case {"t": str(kind), "key": str(key)} if key in self.by_key:
                self.by_key[key] = _after(self.by_key[key], kind, record)


def _ranges_of(batch: Batch) -> list[tuple[int, int]]:
    """The first and last rows of a batch's runs."""
    return [(first, first + count - 1) for first, count in batch.rows]


def read_batches(run: Path) -> Batches:
    """The batches of the run in a directory. Raises CorruptRun."""
    found, scan = Batches(), JournalScan(run / BATCHES)
    with contextlib.suppress(FileNotFoundError):
        for record in scan.records():
            found.take(record.data)
    if scan.damaged:  # what is not known to be out would be ordered, and paid, again
        raise CorruptRun(
            f"{scan.path}: damaged at byte {scan.damaged[0][0]:,}, so that batches may be out that it does "
            "not name. Restore it from a backup, or from the run's copy at a URL."
        )
    return found


def with_rows_out(run: Path, retry: RetryRule | None) -> RetryRule | None:
    """A rule, and the rows that batches which are out ask again: what these bring must find them open."""
    out = [one for one in read_batches(run).out if one.is_retry]
    if not out:
        return retry

    def asks(result: Result) -> bool:
        return any(one.holds(result.row_id) for one in out) or (retry is not None and retry(result))

    return asks


def standings_out(
    run: Path, told: Iterable[BatchStanding] = (), *, sealed: Callable[[], Collection[int]] = tuple
) -> tuple[BatchStanding, ...]:
    """The batches of a run that are out while nobody looks at them.

    Args:
        told: what was told of them last; what is not known from there is None or "".
        sealed: shards that have all their results: of these only a retry is awaited.
    """
    known = {one.key: one for one in told}
    out = read_batches(run).out
    done = sealed() if out else ()
    found = []
    for batch in out:
        if batch.shard in done and not batch.is_retry:
            continue
        last = known.get(batch.key)
        found.append(
            BatchStanding(
                key=batch.key,
                endpoint=batch.endpoint,
                id=batch.id or "",
                rows=batch.lines,
                word=last.word if last is not None and batch.step is Step.CREATED else batch.step.value,
                done=last.done if last is not None else None,
                since=batch.ordered_at or batch.meant_at,
            )
        )
    return tuple(found)


def _after(batch: Batch, kind: str, record: Mapping[str, Any]) -> Batch:
    """A batch after one more step."""
    at = float(record.get("at") or 0.0)
    match kind:
        case "uploaded":
            return replace(batch, step=Step.UPLOADED, file=record.get("file"))
        case "ordering":
            return replace(batch, step=Step.ORDERING, ordered_at=at)
        case "absent":
            step = Step.UPLOADED if batch.file is not None else Step.MEANT
            return replace(
                batch, step=step, doubted_at=batch.ordered_at if record.get("doubted") else batch.doubted_at
            )
        case "created":
            return replace(batch, step=Step.CREATED, id=record.get("id"), created_at=at)
        case "cancelling":
            return replace(batch, cancelled_at=at)
        case "ended":
            files = tuple(str(one) for one in record.get("files") or ())
            return replace(
                batch, step=Step.ENDED, phase=str(record.get("phase") or ""), files=files, ended_at=at
            )
        case "merged":
            answered, failed = (int(record.get(name) or 0) for name in ("answered", "failed"))
            return replace(batch, step=Step.MERGED, answered=answered, failed=failed)
        case "unmerged":
            return replace(batch, step=Step.CREATED if batch.id else Step.DROPPED)
        case "dropped":
            return replace(batch, step=Step.DROPPED)
        case _:
            return batch

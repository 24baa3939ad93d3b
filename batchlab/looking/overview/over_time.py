"""How a run went over time: rows finished, the window, pauses, refusals; nothing where nothing ran. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from batchlab.looking.overview.sessions import Session
from batchlab.store.history import Moment

MOST_BUCKETS = 240
MOST_SPANS = 500  # of a run that began again and again: its spans are then drawn as one
_NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)


CHUNK_ROWS = 1 << 17
MOST_SECONDS = 1 << 22  # from the first row to the last, 48 days, that are counted one by one
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Finished:
    """When rows were finished.

    Attributes:
        seconds: Unix seconds, in order, each once.
        done: rows of each second, of which `failed` failed.
        began: about when the first of them was sent; None without any.
    """

    seconds: Whole
    done: Whole
    failed: Whole
    began: float | None = None


def finished_of(
    at: npt.NDArray[Any], failed: npt.NDArray[np.bool_], latency_ms: npt.NDArray[Any]
) -> Finished:
    """Of rows that were finished at `at` (Unix seconds, NaN when nobody knows)."""
    if not len(at) or np.isnan(at).all():
        nothing = np.zeros(0, np.int64)
        return Finished(nothing, nothing, nothing)
    earliest = int(np.nanargmin(at))
    began = float(at[earliest]) - float(np.nan_to_num(latency_ms[earliest])) / 1_000
    first, last = int(np.floor(at[earliest])), int(np.floor(np.nanmax(at)))
    if last - first >= MOST_SECONDS:
        seconds, places = np.unique(np.floor(at[~np.isnan(at)]).astype(np.int64), return_inverse=True)
        done = np.bincount(places, minlength=len(seconds))
        bad = np.bincount(places[failed[~np.isnan(at)]], minlength=len(seconds))
        return Finished(seconds, done, bad, began)
    done, bad = np.zeros(last - first + 1, np.int64), np.zeros(last - first + 1, np.int64)
    for start in range(0, len(at), CHUNK_ROWS):  # all at once would be copied several times
        some = at[start : start + CHUNK_ROWS]
        known = ~np.isnan(some)
        seconds = (np.floor(some[known]) - first).astype(np.int64)
        done += np.bincount(seconds, minlength=len(done))
        bad += np.bincount(seconds[failed[start : start + CHUNK_ROWS][known]], minlength=len(bad))
    there = np.flatnonzero(done)
    return Finished(there + first, done[there], bad[there], began)


@dataclass(slots=True)
class OverTime:
    """Series with one value a bucket, in order; None where nothing ran, or it is not known.

    Between two spans in which the run ran there is one bucket of None, however long that was.

    Attributes:
        at: Unix seconds at which a bucket begins.
        done: rows finished, of which `failed` failed.
        window, in_flight: means of what the history says.
        limited, errors: answers of that kind.
        why: what held the window down, said last.
        gaps: (from, to) of each span in which nothing ran.
    """

    bucket_s: int
    at: list[float] = field(default_factory=list)
    done: list[int | None] = field(default_factory=list)
    failed: list[int | None] = field(default_factory=list)
    window: list[float | None] = field(default_factory=list)
    in_flight: list[float | None] = field(default_factory=list)
    limited: list[int | None] = field(default_factory=list)
    errors: list[int | None] = field(default_factory=list)
    paused: list[bool | None] = field(default_factory=list)
    why: list[str | None] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


def over_time(rows: Finished, sessions: Sequence[Session], now: float) -> OverTime:
    """The series of a run.

    Args:
        rows: that were finished.
        now: Unix seconds, at which a session that runs is now.
    """
    spans = _spans(rows, sessions, now)
    made = OverTime(_bucket_s(spans))
    history = _History([moment for session in sessions for moment in session.moments], sessions)
    for number, (begin, end) in enumerate(spans):
        if number:
            made.gaps.append((spans[number - 1][1], begin))
            _nothing(made, spans[number - 1][1])
        first = begin // made.bucket_s * made.bucket_s
        for at in range(int(first), int(end) + 1, made.bucket_s):
            _bucket(made, at, rows, history)
        _without_a_stub(made, begin, end)
    return made


def _spans(rows: Finished, sessions: Sequence[Session], now: float) -> list[tuple[float, float]]:
    """When the run ran, in order and apart: its sessions, and when rows were finished beside them."""
    found = [
        (session.began, max(session.began, now if session.ended is None else session.ended))
        for session in sessions
    ]
    covered = np.zeros(len(rows.seconds), bool)
    for begin, end in found:
        covered |= (rows.seconds >= int(begin) - 1) & (rows.seconds <= end + 1)
    others = rows.seconds[~covered]
    if len(others):  # by an earlier version that left no history, or where it is lost
        reach = 60  # rows that come further apart are no sign that it ran between them
        ends = np.flatnonzero(np.diff(others) > reach)
        begins = [0, *(ends + 1).tolist()]
        found += [
            (float(others[first]), float(others[last]))
            for first, last in zip(begins, [*ends.tolist(), len(others) - 1], strict=True)
        ]
        if not sessions and rows.began is not None and rows.began < found[0][0]:
            found[0] = (max(rows.began, found[0][0] - 3_600), found[0][1])
    found.sort()
    if len(found) > MOST_SPANS:
        found = [(found[0][0], max(end for _, end in found))]
    return _joined(found)


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that touch as one; so are those with less between them than can be seen."""
    ran = sum(end - begin for begin, end in spans)
    made: list[tuple[float, float]] = []
    for begin, end in spans:
        if made and begin - made[-1][1] <= max(2.0, ran / MOST_BUCKETS):
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((begin, end))
    return made


def _bucket_s(spans: Sequence[tuple[float, float]]) -> int:
    ran = sum(end - begin for begin, end in spans)
    for one in _NICE_S:
        if ran / one + len(spans) <= MOST_BUCKETS:
            return one
    return int(ran / MOST_BUCKETS) + 1


@dataclass(slots=True)
class _History:
    """The lines of all sessions, in order, to be asked for a bucket's."""

    moments: list[Moment]
    sessions: Sequence[Session]
    times: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.moments = sorted(self.moments, key=lambda one: one.at)
        self.times = [one.at for one in self.moments]

    def within(self, begin: float, end: float) -> list[Moment]:
        return self.moments[bisect.bisect_left(self.times, begin) : bisect.bisect_left(self.times, end)]

    def before(self, at: float) -> Moment | None:
        """The last line before, of a session that still ran."""
        place = bisect.bisect_left(self.times, at) - 1
        if place < 0:
            return None
        ran = any(one.began <= at and (one.ended is None or at <= one.ended) for one in self.sessions)
        found = self.moments[place]
        return found if ran and found.ended is None else None


def _bucket(made: OverTime, at: int, rows: Finished, history: _History) -> None:
    """One more bucket."""
    first, last = np.searchsorted(rows.seconds, [at, at + made.bucket_s])
    made.at.append(float(at))
    made.done.append(int(rows.done[first:last].sum()))
    made.failed.append(int(rows.failed[first:last].sum()))
    own = history.within(at, at + made.bucket_s)
    kept = own or [one for one in [history.before(at)] if one is not None]
    made.window.append(_mean([one.window for one in kept]))
    made.in_flight.append(_mean([one.in_flight for one in kept]))
    made.limited.append(sum(one.limited for one in own) if kept else None)
    made.errors.append(sum(one.errors for one in own) if kept else None)
    made.paused.append(any(one.paused for one in kept) if kept else None)
    made.why.append(next((one.why for one in reversed(kept) if one.why), None))


def _without_a_stub(made: OverTime, begin: float, end: float) -> None:
    """Leaves out a last bucket that the run has hardly touched: a rate of nothing would be drawn there."""
    happened = made.done[-1] or made.limited[-1] or made.errors[-1] or made.paused[-1]
    if not happened and made.at[-1] > begin and end - made.at[-1] < made.bucket_s:
        for series in (made.at, *_series(made)):
            del series[-1]


def _series(made: OverTime) -> tuple[list[Any], ...]:
    """What has a value a bucket."""
    counts = (made.done, made.failed, made.limited, made.errors)
    return (*counts, made.window, made.in_flight, made.paused, made.why)


def _nothing(made: OverTime, at: float) -> None:
    """A bucket in which nothing ran."""
    made.at.append(at + made.bucket_s)
    for series in _series(made):
        series.append(None)


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 1) if values else None

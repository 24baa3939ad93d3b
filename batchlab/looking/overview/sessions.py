"""The sessions of a run: its invocations, one after the other, as its history tells them apart. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from batchlab.store.history import FINISHED, Moment
from batchlab.store.standing import Standing

GAP_S = 60.0  # between two lines of an earlier version's history: more is another session
NEAR_S = 10.0  # an invocation begins its history and its standing in this time


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation of a run.

    Attributes:
        began, ended: Unix seconds; `ended` is None while it runs, and the last sign of one that was cut off.
        by: `live`, or `batch` for one that only ordered batches, waited for them or took them home.
        how: `finished`, why it stopped (a `run_end.StopReason`), `cut off`; "" while it runs, or when an
            earlier version did not say.
        moments: what its history says, in order.
    """

    began: float
    ended: float | None
    by: str
    how: str = ""
    moments: tuple[Moment, ...] = ()

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {"began": self.began, "ended": self.ended, "by": self.by, "how": self.how}


def sessions_of(
    moments: Sequence[Moment], standing: Standing | None, *, runs: bool, with_batches: bool
) -> list[Session]:
    """The sessions of a run, the oldest first.

    Args:
        standing: what the last one said of itself.
        runs: whether a process is at work on it now.
        with_batches: whether it has, or had, batches at a service.
    """
    found = [_session(own, with_batches=with_batches) for own in _apart(moments)]
    if standing is None:
        return found
    if not found or standing.began > found[-1].began + NEAR_S:
        ordered = with_batches and not standing.state.in_flight
        found.append(Session(standing.began, standing.at, "batch" if ordered else "live"))
    last = found[-1]
    if abs(last.began - standing.began) > NEAR_S and last.moments and last.moments[0].began is not None:
        return found  # the history is of a later one, which has not said yet how it stands
    if standing.ended is not None:
        ended, how = standing.at, standing.ended.stopped or FINISHED
    elif runs:
        ended, how = None, ""
    else:
        ended, how = max(standing.at, last.ended or 0.0), last.how or "cut off"
    found[-1] = Session(last.began, ended, last.by, how, last.moments)
    return found


def _apart(moments: Sequence[Moment]) -> Iterator[list[Moment]]:
    """The lines of each session."""
    for began, group in groupby(moments, key=lambda one: one.began):
        own: list[Moment] = []
        for moment in group:
            if began is None and own and moment.at - own[-1].at > GAP_S:
                yield own
                own = []
            own.append(moment)
        yield own


def _session(own: Sequence[Moment], *, with_batches: bool) -> Session:
    first, last = own[0], own[-1]
    ordered = with_batches and not any(one.in_flight for one in own)
    how = last.ended or ("cut off" if last.began is not None else "")
    began = first.at if first.began is None else first.began
    return Session(began, last.at, "batch" if ordered else "live", how, tuple(own))

"""What goes where next: to a batch, live, or back from a batch. The engine carries out what a choice says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from batchlab.engines.batch_api.out import Out
from batchlab.records import LaneKind
from batchlab.store.batches import WhyLive


@dataclass(frozen=True, slots=True)
class Submit:
    """The next shard goes to a lane as batches."""

    lane: str


@dataclass(frozen=True, slots=True)
class SendLive:
    """At least so many rows go by calls of a kind, after those that do already; calls of another kind end."""

    rows: int
    kind: LaneKind = "live"
    why: WhyLive = "asked"


@dataclass(frozen=True, slots=True)
class Probe:
    """So many rows of a shard go live, to see how long calls take; its other rows are free again then."""

    rows: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A batch is ended; what it has answered by then is kept."""

    key: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The cap covers no more rows."""

    why: str


Act: TypeAlias = Submit | SendLive | Probe | TakeBack | GiveUp


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to choose from.

    Attributes:
        rows_free: rows that are neither answered nor out; `returned` are those of them that were in a batch.
        out: batches that are out.
        room: of each lane, how many more batches it may take.
        ended: at each lane, how long batches took (s).
        live_rows: rows that are sent by calls; `live_done` have been since the run began.
    """

    rows_free: int
    returned: int = 0
    out: Sequence[Out] = ()
    room: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, Sequence[float]] = field(default_factory=dict)
    live_rows: int = 0
    live_done: int = 0


class Choice(Protocol):
    """Decides what is done next.

    Attributes:
        has_calls: rows that no batch can carry may go by calls; else they fail.
    """

    @property
    def has_calls(self) -> bool: ...

    def next(self, scene: Scene) -> Act | None:
        """The next thing to do; None when there is nothing to do before something changes."""
        ...


class BatchesOnly:
    """Everything goes to batches, as room comes, whatever that takes.

    Args:
        lanes: names of those that may be used.
    """

    has_calls = False

    def __init__(self, lanes: Sequence[str]) -> None:
        self._lanes = lanes

    def next(self, scene: Scene) -> Act | None:
        """See `Choice`."""
        lane = max(self._lanes, key=lambda name: scene.room[name])
        return Submit(lane) if scene.rows_free and scene.room[lane] > 0 else None


class Live:
    """Everything goes live: what an earlier invocation has ordered is taken back."""

    has_calls = True

    def next(self, scene: Scene) -> Act | None:
        """See `Choice`."""
        for out in scene.out:
            if out.may_be_taken_back:
                return TakeBack(out.batch.key)
        return SendLive(scene.rows_free) if scene.rows_free else None

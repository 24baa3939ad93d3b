"""What the policy of lanes decides. `why` is a line for a person, without its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from batchlab.lanes.seen import LiveLane


@dataclass(frozen=True, slots=True)
class Submit:
    """Order a batch, or several, of so many pending rows: of those first that were in none."""

    endpoint: str
    rows: int
    why: str


@dataclass(frozen=True, slots=True)
class SendLive:
    """From now on this lane may send so many of the pending rows; it replaces what the lane was given before.

    Rows that came back from a batch go first. Rows are not bound to a lane until they are sent, and 0 closes
    it: what is in flight is still awaited.

    Attributes:
        hurried: a cheaper lane takes them, but there is no time to wait for it.
    """

    endpoint: str
    lane: LiveLane
    rows: int
    why: str
    hurried: bool = False


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Cancel a batch. What has ended of it is kept; its other rows are pending again once it has ended."""

    batch: str
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done until something changes, or until then.

    Attributes:
        until: when to ask again in any case; None when only a change can matter.
        short_usd: what the cap lacks for the next row, when that is what is waited for.
    """

    until: float | None
    why: str
    short_usd: float | None = None


Decision: TypeAlias = Submit | SendLive | TakeBack | Wait

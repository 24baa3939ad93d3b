"""Who works on a run right now, for `batchlab status` in another terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from batchlab.engines.crew import Hand
from batchlab.store.locked import LockedRun

EVERY_S = 2.0


class Roll:
    """The run's `workers.json`, written every two seconds while it goes on, and removed at its end."""

    def __init__(self, store: LockedRun, shards: int) -> None:
        self._store = store
        self._shards = shards
        self._next = 0.0

    def write(self, hands: Sequence[Hand], waiting: int) -> None:
        """Writes how each stands; `waiting` shards are nobody's yet. Not synced: only for people to see."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        being_sent = sum(len(hand.open) for hand in hands)
        shards = {"sealed": self._shards - being_sent - waiting, "open": being_sent, "waiting": waiting}
        roll = {"at": time.time(), "shards": shards, "workers": [_line(hand, now) for hand in hands]}
        with contextlib.suppress(OSError):  # only for people to look at
            self._store.write_roll(roll)

    def close(self) -> None:
        """Nobody works any more."""
        with contextlib.suppress(OSError):
            self._store.write_roll(None)


def _line(hand: Hand, now: float) -> dict[str, Any]:
    lease = hand.lease
    lanes = lease.lanes.values() if lease is not None else []
    rates = [lane.requests_per_s for lane in lanes if lane.requests_per_s is not None]
    return {
        "name": hand.name,
        "place": hand.place,
        "shards": sorted(hand.open),
        "permits": sum(lane.permits for lane in lanes),
        "requests_per_s": sum(rates) if rates else None,
        "in_flight": hand.state.in_flight,
        "saved": hand.state.synced,
        "silent_s": now - hand.heard_at if hand.heard_at else None,
    }

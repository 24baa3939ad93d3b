"""A pause that one worker met, told to the others."""

from __future__ import annotations

from collections.abc import Sequence

GRACE_S = 2.0  # how much longer than the worker that probes the others wait in an outage


class Pauses:
    """Who is told of a pause that one worker met, and how long the others are to wait. Pure.

    After a rate limit all wait equally long. In an outage the first to notice probes, and the
    others wait a little longer: one probe at a time, as with one process.
    """

    def __init__(self) -> None:
        self._probing: dict[str, tuple[str, float]] = {}  # lane → who probes, and until when the others wait

    def met(
        self, lane: str, name: str, others: Sequence[str], now: float, seconds: float, *, outage: bool
    ) -> dict[str, float]:
        """Seconds that each is to pause, by name; those that are not in it need not be told."""
        if not outage:
            return dict.fromkeys(others, seconds)
        prober, until = self._probing.get(lane, (name, now))
        if prober != name and now < until:
            return {name: until - now}
        until = now + seconds + max(GRACE_S, seconds)
        self._probing[lane] = (name, until)
        return dict.fromkeys(others, until - now)

    def over(self, lane: str) -> None:
        """Somebody was answered there."""
        self._probing.pop(lane, None)

    def gone(self, name: str) -> None:
        """A worker has ended: it probes no more."""
        for lane in [lane for lane, (prober, _) in self._probing.items() if prober == name]:
            del self._probing[lane]

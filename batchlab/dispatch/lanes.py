"""The endpoints of a run, and which of them a request goes to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.http.transport import Transport
from batchlab.dispatch.rate.controller import Permit
from batchlab.dispatch.rate.pace import Controller
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.records import LaneKind, Outcome


@dataclass(slots=True, eq=False)
class Lane:
    """A way to be answered at an endpoint, with all that is its own: transport, rate, prices, health.

    Attributes:
        address: the URL that is asked, without what may be secret in it; "" when there is none.
        kind: the way.
        weight: its share of the requests among the lanes that have one; None takes all it can.
        out: why nothing more is sent to it; None while it is in use. The pool alone sets it.
        finish: virtual time at which its last request ends; `Lanes` alone sets it.
    """

    name: str
    transport: Transport
    controller: Controller
    prices: PriceBook
    weight: float | None = None
    address: str = ""
    kind: LaneKind = "live"
    health: RunHealth = field(default_factory=RunHealth)
    out: Outcome | None = None
    finish: float = 0.0


class Grant(NamedTuple):
    """The right to send one request to one endpoint."""

    lane: Lane
    permit: Permit


class NoLane(Exception):
    """Every endpoint that may answer the request is out; `outcome` says why the last one is."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Lanes:
    """Chooses a lane for each request.

    Lanes with a weight keep to their shares while none of them is held back by its provider: one
    waits when it is a round ahead, even if it could send. Start-time fair queueing: a lane that was
    held back does not catch up afterwards on what the others took over for it. Lanes without a
    weight take all they can.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)
        self._virtual = 0.0
        self._single = self._lanes[0] if len(self._lanes) == 1 else None

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    @property
    def window(self) -> int:
        """Requests that may be in flight now, at all lanes in use together."""
        if self._single is not None:
            return self._single.controller.window
        return sum(lane.controller.window for lane in self._lanes if lane.out is None)

    def others_than(self, lane: Lane) -> list[Lane]:
        """The other lanes that are in use."""
        return [other for other in self._lanes if other is not lane and other.out is None]

    def acquire(
        self,
        now: float,
        prompt_tokens: int,
        max_tokens: int | None,
        *,
        only: str | None = None,
        avoid: Lane | None = None,
    ) -> Grant | float:
        """A grant to send now, or the seconds after which to ask again (inf: after a release).

        Args:
            only: the name of the lane that must be taken.
            avoid: the lane to take last: the row's attempt there has just failed.

        Raises:
            NoLane: all that could be taken are out.
        """
        if self._single is not None and self._single.out is None and only is None:
            permit = self._single.controller.try_acquire(now, prompt_tokens, max_tokens)
            return Grant(self._single, permit) if isinstance(permit, Permit) else permit
        usable = [lane for lane in self._lanes if lane.out is None and only in (None, lane.name)]
        if not usable:
            gone = [lane.out for lane in self._lanes if lane.out is not None and only in (None, lane.name)]
            raise NoLane(gone[-1])
        if len(usable) > 1:
            usable = self._in_turn(usable, now, avoid)
        soonest = math.inf
        for lane in usable:
            got = lane.controller.try_acquire(now, prompt_tokens, max_tokens)
            if isinstance(got, Permit):
                lane.finish = max(self._virtual, lane.finish) + 1 / (lane.weight or 1.0)
                return Grant(lane, got)
            soonest = min(soonest, got)
        return soonest

    def _in_turn(self, usable: list[Lane], now: float, avoid: Lane | None) -> list[Lane]:
        """The lanes whose turn it may be, the one that is furthest behind its share first."""
        usable.sort(key=lambda lane: (lane is avoid, max(self._virtual, lane.finish)))
        shared = [lane for lane in usable if lane.weight is not None and not lane.controller.why(now)]
        if len(shared) < 2:
            return usable
        self._virtual = min(max(self._virtual, lane.finish) for lane in shared)
        ahead = self._virtual + 1 / min(lane.weight or 1.0 for lane in shared)
        return [lane for lane in usable if lane.weight is None or lane.finish <= ahead]

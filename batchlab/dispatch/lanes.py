"""The endpoints of a run, and which of them a request goes to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.http.access import tier_of
from batchlab.dispatch.http.transport import Transport
from batchlab.dispatch.rate.controller import Permit
from batchlab.dispatch.rate.pace import Controller
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.job.lane import PATIENCE, lane_key
from batchlab.records import ChatRequest, LaneKind, Outcome


@dataclass(slots=True, eq=False)
class Lane:
    """A way to be answered at an endpoint, with all that is its own: transport, rate, prices, health.

    Attributes:
        address: the URL that is asked, without what may be secret in it; "" when there is none.
        kind: the way.
        weight: its share of the requests among the lanes that have one; None takes all it can.
        tier: the `service_tier` that its transport adds to chats which name none.
        timeout_s: the longest that a request may take.
        most: requests in flight at all lanes of the endpoint together; None where this is the only one.
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
    tier: str | None = None
    timeout_s: float = PATIENCE["live"].timeout_s
    most: int | None = None
    health: RunHealth = field(default_factory=RunHealth)
    out: Outcome | None = None
    finish: float = 0.0

    @property
    def key(self) -> str:
        """What tells it from the other lanes of the run."""
        return lane_key(self.name, self.kind)

    def tier_of(self, request: ChatRequest) -> str | None:
        """The tier that a request asks for when it goes out here."""
        return tier_of(request, self.tier)

    def kind_of(self, request: ChatRequest) -> LaneKind:
        """How it is answered here: one that names another tier itself is a live call."""
        return self.kind if self.tier is None or self.tier_of(request) == self.tier else "live"


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
    weight take all they can. Where an endpoint has a cheaper lane beside the live one, the cheaper goes
    first, and `use` says which may be used at all.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = tuple(lanes)
        self._kinds = frozenset(lane.kind for lane in self._lanes)
        self._virtual = 0.0
        self._single = self._lanes[0] if len(self._lanes) == 1 else None

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    @property
    def kinds(self) -> frozenset[LaneKind]:
        """Those of the lanes that may be used now."""
        return self._kinds

    def use(self, kinds: Collection[LaneKind]) -> None:
        """Sends by lanes of these kinds only, from the next request on.

        Where none of them is left, or none is there for a row that is bound to an endpoint, any lane is
        used: no row is to wait for ever.
        """
        self._kinds = frozenset(kinds)

    @property
    def window(self) -> int:
        """Requests that may be in flight now, at all lanes in use together."""
        if self._single is not None:
            return self._single.controller.window
        used = self._usable(None)
        return sum(
            int(min(lane.controller.window, self._room(lane) + lane.controller.in_flight)) for lane in used
        )

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
        usable = self._usable(only)
        if not usable:
            gone = [lane.out for lane in self._lanes if lane.out is not None and only in (None, lane.name)]
            raise NoLane(gone[-1])
        if len(usable) > 1:
            usable = self._in_turn(usable, now, avoid)
        soonest = math.inf
        for lane in usable:
            if self._room(lane) <= 0:
                continue
            got = lane.controller.try_acquire(now, prompt_tokens, max_tokens)
            if isinstance(got, Permit):
                lane.finish = max(self._virtual, lane.finish) + 1 / (lane.weight or 1.0)
                return Grant(lane, got)
            soonest = min(soonest, got)
        return soonest

    def _usable(self, only: str | None) -> list[Lane]:
        there = [lane for lane in self._lanes if lane.out is None and only in (None, lane.name)]
        return [lane for lane in there if lane.kind in self._kinds] or there

    def _room(self, lane: Lane) -> float:
        """How many more requests may be in flight at a lane's endpoint, by all its lanes."""
        if lane.most is None:
            return math.inf
        return lane.most - sum(one.controller.in_flight for one in self._lanes if one.name == lane.name)

    def _in_turn(self, usable: list[Lane], now: float, avoid: Lane | None) -> list[Lane]:
        """The lanes whose turn it may be, the one that is furthest behind its share first."""
        usable.sort(key=lambda lane: (lane is avoid, lane.kind == "live", max(self._virtual, lane.finish)))
        shared = [lane for lane in usable if lane.weight is not None and not lane.controller.why(now)]
        if len(shared) < 2:
            return usable
        self._virtual = min(max(self._virtual, lane.finish) for lane in shared)
        ahead = self._virtual + 1 / min(lane.weight or 1.0 for lane in shared)
        return [lane for lane in usable if lane.weight is None or lane.finish <= ahead]

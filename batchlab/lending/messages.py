"""What the lender of a budget and its holders say to each other; `leases` and `leased` are the two sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from batchlab.dispatch.rate.controller import START_WINDOW

PERIOD_S = 0.5  # between two renewals
HASTE_S = 0.05  # between two when a request waits for money that others may give back
TTL_S = 2 * PERIOD_S
PACE_S = 0.05  # of a share of requests may leave at once: with a lease's worth, a second saw 29 % too many
TOKEN_PACE_S = 1.0  # of a share of tokens: one request is often more than 50 ms of it


class Money(NamedTuple):
    """An amount of both things that a run may have a cap on."""

    usd: float = 0.0
    tokens: float = 0.0

    def plus(self, other: Money, sign: int = 1) -> Money:
        """The sum, or with `sign=-1` the difference."""
        return Money(self.usd + sign * other.usd, self.tokens + sign * other.tokens)


NOTHING = Money()
_AMOUNTS = ("spent", "reserved", "kept", "wanted", "largest")


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What all holders together may do at one endpoint; `start` requests in flight before any answer."""

    concurrency: int
    rpm: float | None = None
    tpm: float | None = None
    start: int = START_WINDOW


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """What a holder says of one endpoint when it renews.

    Attributes:
        want: requests it could have in flight.
        in_flight: those it has, counted after it began to keep to the grant it names.
        answers: answers it got so far.
        requests_per_s, tokens_per_s: what it used of late; None when its share held it back.
        largest_tokens: most that one request has taken from its bucket of tokens.
    """

    want: int
    in_flight: int
    answers: int = 0
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    largest_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a holder says when it renews.

    Attributes:
        applied: number of the grant it keeps to; 0 before its first.
        spent, reserved: settled so far, and set aside for what is in flight.
        kept: the part of its allowance that it keeps, spent and reserved included; the rest is given back.
        wanted: what it would like to have free.
        need: the least that a request which waits for money may use; None when none waits.
        largest: most that one request has set aside.
    """

    applied: int
    lanes: Mapping[str, LaneDemand]
    spent: Money = NOTHING
    reserved: Money = NOTHING
    kept: Money = NOTHING
    wanted: Money = NOTHING
    need: Money | None = None
    largest: Money = NOTHING

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads."""
        plain: dict[str, Any] = {name: list(getattr(self, name)) for name in _AMOUNTS}
        need = None if self.need is None else list(self.need)
        return {"applied": self.applied, "lanes": dict(self.lanes), "need": need, **plain}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The demand that was sent as JSON."""
        values = dict(data)
        values["lanes"] = {name: LaneDemand(**lane) for name, lane in data["lanes"].items()}
        for name in _AMOUNTS:
            values[name] = Money(*data[name])
        values["need"] = None if data["need"] is None else Money(*data["need"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class LaneGrant:
    """What a holder may do at one endpoint until the grant lapses.

    Attributes:
        requests_per_s, tokens_per_s: its shares of the rates; None when the user set no limit.
        share: its part of what the server allows, for limits that only response headers tell.
        answered: whether any holder has had an answer there since this one's last grant.
    """

    permits: int
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    share: float = 1.0
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease. It lapses `ttl_s` after its holder asked for it.

    Attributes:
        allowance: money and tokens the holder may use in all, since it began; None where there is no cap.
        tight: little is left: give back what is free with each renewal, and renew often.
        stop: why the run is to end: what is left of a cap covers no request that waits. "" for not.
    """

    number: int
    lanes: Mapping[str, LaneGrant]
    allowance: tuple[float | None, float | None] = (None, None)
    ttl_s: float = TTL_S
    tight: bool = False
    stop: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The grant that was sent as JSON."""
        values = dict(data)
        values["lanes"] = {name: LaneGrant(**lane) for name, lane in data["lanes"].items()}
        values["allowance"] = tuple(values["allowance"])
        return cls(**values)

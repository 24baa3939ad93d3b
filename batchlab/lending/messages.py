"""What the workers of a run and the lender of its budget say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.job.limits import Caps, EndpointLimits

PERIOD_S = 0.5  # between two renewals
HASTE_S = 0.05  # between two when a request waits for money that others may give back
TTL_S = 2 * PERIOD_S
PACE_S = 0.05  # of a share of requests may leave at once: with a lease's worth, a second saw 29 % too many
TOKEN_PACE_S = 1.0  # of a share of tokens: one request is often more than 50 ms of it


@dataclass(frozen=True, slots=True)
class LenderTerms:
    """What there is to lend.

    Attributes:
        lanes: what all workers together may do at each endpoint.
        expected: how many workers there will be: those that have not come yet keep their part.
        spent: by earlier invocations of the run.
        request_s: the longest that a request may take.
    """

    lanes: Mapping[str, EndpointLimits]
    expected: int
    caps: Caps = Caps()  # noqa: RUF009 - a constant
    spent: Money = NOTHING
    request_s: float = 600.0


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """What a worker says of one endpoint when it renews its lease.

    Attributes:
        want: requests it could have in flight.
        in_flight: those it has, counted after it began to keep to the lease it names.
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
    """What a worker says when it renews its lease.

    Attributes:
        applied: number of the lease it keeps to; 0 before its first.
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


@dataclass(frozen=True, slots=True)
class LaneLease:
    """What a worker may do at one endpoint until its lease lapses.

    Attributes:
        requests_per_s, tokens_per_s: its shares of the rates; None when the user set no limit.
        share: its part of what the server allows, for limits that only response headers tell.
        answered: whether any worker has had an answer there since this one's last lease.
    """

    permits: int
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    share: float = 1.0
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker may use of the budget. It lapses `ttl_s` after its worker asked for it.

    Attributes:
        allowance: money and tokens the worker may use in all, since it began.
        tight: little is left: give back what is free with each renewal, and renew often.
        stop: why the run is to end: what is left of a cap covers no request that waits. "" for not.
    """

    number: int
    lanes: Mapping[str, LaneLease]
    allowance: Caps = Caps()  # noqa: RUF009 - a constant
    ttl_s: float = TTL_S
    tight: bool = False
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """A worker's gate at an endpoint has closed; `outage` when nobody answers there."""

    seconds: float
    reason: str
    outage: bool

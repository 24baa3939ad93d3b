"""One budget lent to several processes in leases: the holder's side. Pure, with an injected clock.

`LeasedController` is a rate controller that sends nothing beyond its lease, and `LeasedBudget` a
budget whose caps are an allowance. `Borrower` says what they need, and has them keep to a grant.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batchlab.dispatch.rate.buckets import Bucket
from batchlab.dispatch.rate.budget import Budget, Reservation
from batchlab.dispatch.rate.controller import (
    NO_MAX_TOKENS,
    ControllerLimits,
    Permit,
    RateController,
    RateHeaders,
)
from batchlab.dispatch.rate.slots import Stopped
from batchlab.lending.messages import (
    NOTHING,
    PACE_S,
    TOKEN_PACE_S,
    Demand,
    Grant,
    LaneDemand,
    LaneGrant,
    Money,
)


@dataclass(frozen=True, slots=True)
class Pause:
    """A controller's gate has closed; `outage` when nobody answers there."""

    seconds: float
    reason: str
    outage: bool


class LeasedController(RateController):
    """A rate controller for one of several processes that share an endpoint's limits.

    The window, the gate and the breaker are its own. A pause that it meets is told, so that the
    others keep it too; see `pause` for theirs.

    Args:
        limits: of the endpoint as a whole, with this process's part of the first window as `start`.
        on_pause: called when the gate closes for longer.
        on_answer: called at the first answer and at one that ends an outage; told whether it did.
    """

    def __init__(
        self,
        limits: ControllerLimits,
        *,
        now: float,
        rng: random.Random,
        on_pause: Callable[[Pause], None],
        on_answer: Callable[[bool], None],
    ) -> None:
        super().__init__(dataclasses.replace(limits, rpm=None, tpm=None), now=now, rng=rng)
        self._whole = limits.start >= limits.concurrency  # a server that queues: nothing to ramp up
        self._on_pause = on_pause
        self._on_answer = on_answer
        self._permits = 0
        self._until = now  # when the lease lapses
        self._share = 1.0
        self._lent_requests = _empty_bucket(now) if limits.rpm else None
        self._lent_tokens = _empty_bucket(now) if limits.tpm else None
        self._held_back = [True, True]  # by the shares of requests and of tokens, since the last demand
        self._sent, self._sent_tokens, self._asked_at = 0, 0.0, now
        self.answers = 0
        self.largest_tokens = 0.0

    @property
    def window(self) -> int:
        """Requests that may be in flight now; 1 when none may, so that a worker stays to wait."""
        return max(1, min(self._permits, super().window))

    def try_acquire(self, now: float, prompt_tokens: int, max_tokens: int | None) -> Permit | float:
        """See `RateController.try_acquire`. Without a lease nothing leaves: ask again after the next."""
        if now >= self._until or self.in_flight >= min(self._permits, self.window):
            return math.inf
        reserve = self._ratio * (prompt_tokens + float(max_tokens or max(NO_MAX_TOKENS, prompt_tokens)))
        wait = 0.0
        for index, (bucket, units) in enumerate(((self._lent_requests, 1.0), (self._lent_tokens, reserve))):
            if bucket is not None and (short := _wait_s(bucket, units, now)) > 0:
                self._held_back[index] = True
                wait = max(wait, short)
        if wait > 0:
            return max(wait, self._gate - now)
        got = super().try_acquire(now, prompt_tokens, max_tokens)
        if isinstance(got, Permit):
            self._sent += 1
            self._sent_tokens += got.reserved
            if self._lent_requests is not None:
                self._lent_requests.take(1.0, now)
            if self._lent_tokens is not None:
                self._lent_tokens.take(got.reserved, now)
                self.largest_tokens = max(self.largest_tokens, got.reserved)
        return got

    def succeeded(
        self, permit: Permit, now: float, total_tokens: int | None, headers: RateHeaders | None = None
    ) -> None:
        """See `RateController.succeeded`."""
        was_out = self._open
        super().succeeded(permit, now, total_tokens, headers)
        if self._lent_tokens is not None and total_tokens is not None:
            self._lent_tokens.give_back(permit.reserved - total_tokens, now)
        self.answers += 1
        if was_out or self.answers == 1:
            self._on_answer(was_out)

    def limited(
        self,
        permit: Permit,
        now: float,
        retry_after_s: float | None = None,
        *,
        status: int = 429,
        words: str = "",
        doubted: bool = False,
        again: bool = False,
    ) -> bool:
        """See `RateController.limited`."""
        before = self._gate
        alone = super().limited(
            permit, now, retry_after_s, status=status, words=words, doubted=doubted, again=again
        )
        self._tell(before, now)
        return alone

    def failed(self, permit: Permit, now: float, *, words: str = "") -> None:
        """See `RateController.failed`."""
        before = self._gate
        super().failed(permit, now, words=words)
        self._tell(before, now)

    def unreachable(self, permit: Permit, now: float, *, words: str = "") -> None:
        """See `RateController.unreachable`."""
        before = self._gate
        super().unreachable(permit, now, words=words)
        self._tell(before, now)

    def hold(self, now: float, seconds: float, words: str = "") -> None:
        """See `RateController.hold`."""
        before = self._gate
        super().hold(now, seconds, words)
        self._tell(before, now)

    def pause(self, now: float, pause: Pause) -> None:
        """Another process has met a rate limit or an outage: the gate closes here too."""
        self._gate = max(self._gate, now + pause.seconds)
        self._reason = pause.reason
        if pause.outage and not self._open:
            self._in_trouble(now)
            self._open = True
            self._slow_start = True
            self._w = self._start

    def resume(self, now: float) -> None:
        """Another process was answered: an outage is over."""
        self._silent_since = None
        if self._open:
            self._open = False
            self._probes = 0
            self._gate = now

    def keep_to(self, grant: LaneGrant, until: float, now: float) -> bool:
        """The lease now runs until `until`. Returns whether fewer requests may be in flight than before."""
        fewer = grant.permits < self._permits
        self._permits = grant.permits
        self._until = until
        self._share = grant.share
        self._max = max(1, grant.permits)  # the window grows no further, so that a cut is one
        self._w = min(self._w, float(self._max))
        if self._whole and self._slow_start:
            self._w = float(self._max)
        if self._lent_requests is not None:
            per_s = grant.requests_per_s or 0.0
            self._lent_requests.lend(per_s, max(1.0, PACE_S * per_s), now)
        if self._lent_tokens is not None:
            per_s = grant.tokens_per_s or 0.0
            self._lent_tokens.lend(per_s, max(1.0, TOKEN_PACE_S * per_s), now)
        if grant.answered and not self._open:
            self._silent_since = None
        return fewer

    def lapse(self, now: float) -> None:
        """The lease was not renewed: nothing leaves, and what the buckets held is gone."""
        self._permits = 0
        for bucket in (self._lent_requests, self._lent_tokens):
            if bucket is not None:
                bucket.lend(0.0, 1.0, now)
                bucket.lower_to(0.0, now)

    def demand(self, now: float, want: float, most: int) -> LaneDemand:
        """What to ask for: up to `want` requests in flight, of `most`."""
        seconds = max(now - self._asked_at, 1e-3)
        rates = [
            None if held else used / seconds
            for held, used in zip(self._held_back, (self._sent, self._sent_tokens), strict=True)
        ]
        if seconds >= PACE_S:
            self._held_back = [False, False]
            self._sent, self._sent_tokens, self._asked_at = 0, 0.0, now
        else:  # too soon after the last demand to tell a rate
            rates = [None, None]
        return LaneDemand(
            want=int(min(want, most)),
            in_flight=self.in_flight,
            answers=self.answers,
            requests_per_s=rates[0],
            tokens_per_s=rates[1],
            largest_tokens=self.largest_tokens,
        )

    def _tell(self, before: float, now: float) -> None:
        if self._gate > max(before, now):
            self._on_pause(Pause(self._gate - now, self._reason, self._open))

    def _read(self, headers: RateHeaders, now: float) -> None:
        super()._read(_Part(headers, self._share), now)


class _Part:
    """A server's limits, as far as one of several processes may use them."""

    def __init__(self, headers: RateHeaders, share: float) -> None:
        def part(value: float | None) -> float | None:
            return None if value is None else value * share

        self.limit_requests = part(headers.limit_requests)
        self.remaining_requests = part(headers.remaining_requests)
        self.limit_tokens = part(headers.limit_tokens)
        self.remaining_tokens = part(headers.remaining_tokens)
        self.reset_tokens_s = headers.reset_tokens_s
        self.window_s = headers.window_s


def _empty_bucket(now: float) -> Bucket:
    bucket = Bucket(60.0, now=now)
    bucket.lend(0.0, 1.0, now)
    bucket.lower_to(0.0, now)
    return bucket


def _wait_s(bucket: Bucket, units: float, now: float) -> float:
    return bucket.wait_s(units, now) if bucket.per_minute > 0 else math.inf


class LeasedBudget(Budget):
    """A budget whose caps are an allowance: a request that it does not cover waits for a greater one.

    Args:
        capped: whether cost, and whether tokens, have a cap.
        on_short: called when a request begins to wait.
    """

    def __init__(self, capped: tuple[bool, bool], *, on_short: Callable[[], None]) -> None:
        super().__init__(0.0 if capped[0] else None, max_tokens=0.0 if capped[1] else None)
        self._on_short = on_short
        self._short_of: list[Reservation] = []
        self._largest = NOTHING
        self._before = NOTHING  # spent at the last demand

    def lend(self, allowance: tuple[float | None, float | None]) -> None:
        """What may be used in all from now on."""
        self._usd.cap, self._tokens.cap = allowance
        self._changed.set()

    def demand(self, *, tight: bool) -> dict[str, Any]:
        """The amounts of a `Demand`. What is not kept is given back at once."""
        spent = Money(self._usd.spent, self._tokens.spent)
        reserved = Money(self._usd.reserved, self._tokens.reserved)
        least = min((Money(one.worst_usd, one.worst_tokens) for one in self._short_of), default=NOTHING)
        burnt = spent.plus(self._before, -1)
        self._before = spent
        # twice what was used since the last renewal, and as much again as is in flight
        wanted = Money(
            *(
                max(least[index], 2 * burnt[index] + max(reserved[index], self._largest[index]))
                for index in (0, 1)
            )
        )
        used = spent.plus(reserved)
        kept = []
        for index, meter in enumerate((self._usd, self._tokens)):
            free = 0.0 if tight else wanted[index]
            kept.append(0.0 if meter.cap is None else max(used[index], min(meter.cap, used[index] + free)))
            if meter.cap is not None:
                meter.cap = kept[index]
        return {
            "spent": spent,
            "reserved": reserved,
            "kept": Money(*kept),
            "wanted": wanted,
            "need": least if self._short_of else None,
            "largest": self._largest,
        }

    async def _until_covered(self, reservation: Reservation) -> None:
        worst = Money(reservation.worst_usd, reservation.worst_tokens)
        self._largest = Money(*map(max, self._largest, worst))
        if self._short(reservation) is None:
            return
        self._short_of.append(reservation)
        try:
            while self._short(reservation) is not None:
                if self._stopped:
                    raise Stopped
                self._on_short()
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._short_of.remove(reservation)


class Borrower:
    """What one process asks for, and how it keeps to what it gets.

    Args:
        lanes: controllers by endpoint, and the most requests in flight that each may ever have.
        rows: how many rows could be on their way, if all were allowed; inf while there are more.
    """

    def __init__(
        self,
        lanes: Mapping[str, tuple[LeasedController, int]],
        budget: LeasedBudget,
        *,
        rows: Callable[[], float],
    ) -> None:
        self._lanes = lanes
        self._budget = budget
        self._rows = rows
        self._applied = 0
        self._until = -math.inf
        self.tight = False

    def demand(self, now: float) -> Demand:
        """What to say at a renewal."""
        if now >= self._until:
            for controller, _ in self._lanes.values():
                controller.lapse(now)
        want = self._rows()
        return Demand(
            applied=self._applied,
            lanes={name: one.demand(now, want, most) for name, (one, most) in self._lanes.items()},
            **self._budget.demand(tight=self.tight),
        )

    def keep_to(self, grant: Grant, asked_at: float, now: float) -> bool:
        """Keeps to a grant from now on. Returns whether that is to be confirmed soon: others wait for it."""
        self._applied = grant.number
        self._until = asked_at + grant.ttl_s
        fewer = [
            controller.keep_to(grant.lanes[name], self._until, now)
            for name, (controller, _) in self._lanes.items()
        ]
        self._budget.lend(grant.allowance)
        self.tight = grant.tight
        return any(fewer)

"""How fast one of several workers may send to an endpoint whose limits they share. Pure; injected clock."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

from batchlab.dispatch.rate.buckets import Bucket
from batchlab.dispatch.rate.controller import Permit, RateController
from batchlab.job.limits import EndpointLimits
from batchlab.lending.messages import PACE_S, TOKEN_PACE_S, LaneDemand, LaneLease, Pause
from batchlab.protocol.limits import RateHeaders


class LeasedController:
    """A rate controller that sends nothing beyond its lease.

    The window, the gate and the breaker are those of a `RateController` of its own; what the user allows
    in a minute comes with the lease. A pause that it meets is told, so that the others keep it too.

    Args:
        limits: of the endpoint as a whole, with this worker's part of the first window as `start`.
        on_pause: called when the gate closes for longer.
        on_answer: called at the first answer and at one that ends an outage; told whether it did.
    """

    def __init__(
        self,
        limits: EndpointLimits,
        *,
        now: float,
        rng: random.Random,
        on_pause: Callable[[Pause], None],
        on_answer: Callable[[bool], None],
    ) -> None:
        own = dataclasses.replace(limits, rpm=None, tpm=None)
        self._controller = RateController(own, now=now, rng=rng)
        self._ramp = limits.start < limits.concurrency  # else a server that queues
        self._most = limits.concurrency
        self._on_pause = on_pause
        self._on_answer = on_answer
        self._lease = LaneLease(0)
        self._until = now  # when the lease lapses
        self._requests = _LentRate(PACE_S, now, limited=bool(limits.rpm))
        self._tokens = _LentRate(TOKEN_PACE_S, now, limited=bool(limits.tpm))
        self._asked_at = now
        self._answers = 0

    @property
    def in_flight(self) -> int:
        """Requests in flight, under this lease and those before it."""
        return self._controller.in_flight

    @property
    def window(self) -> int:
        """Requests that may be in flight now; 1 when none may, so that a task stays to wait."""
        return max(1, min(self._lease.permits, self._controller.window))

    @property
    def gate_until(self) -> float:
        """When the pause ends that this worker or another has met."""
        return self._controller.gate_until

    @property
    def lent_until(self) -> float:
        """When the lease lapses."""
        return self._until

    @property
    def lent(self) -> LaneLease:
        """What the lease says; after it has lapsed, that of nothing."""
        return self._lease

    @property
    def is_out(self) -> bool:
        """Whether there is an outage, that this worker or another has met."""
        return self._controller.is_out

    def why(self, now: float) -> str:
        """Why the window is what it is; of a lease that is short nothing is said."""
        return self._controller.why(now)

    def silent_s(self, now: float) -> float:
        """Seconds since the first trouble after anybody's last answer; 0.0 when all is well."""
        return self._controller.silent_s(now)

    def try_acquire(self, now: float, prompt_tokens: int, max_tokens: int | None) -> Permit | float:
        """A permit, or when to ask again. Without a lease nothing leaves: ask again after the next."""
        controller = self._controller
        if now >= self._until or controller.in_flight >= self._lease.permits:
            return math.inf
        if controller.in_flight >= controller.window:
            return math.inf
        reserve = controller.tokens_for(prompt_tokens, max_tokens)
        wait = max(self._requests.wait_s(1.0, now), self._tokens.wait_s(reserve, now))
        if wait > 0:
            return max(wait, controller.gate_until - now)
        got = controller.try_acquire(now, prompt_tokens, max_tokens)
        if isinstance(got, Permit):
            self._requests.take(1.0, now)
            self._tokens.take(got.reserved, now)
        return got

    def succeeded(
        self, permit: Permit, now: float, total_tokens: int | None, headers: RateHeaders | None = None
    ) -> None:
        """An answer came. Of what the server says it allows, this worker takes its share."""
        was_out = self._controller.is_out
        part = None if headers is None else _part(headers, self._lease.share)
        self._controller.succeeded(permit, now, total_tokens, part)
        if total_tokens is not None:
            self._tokens.give_back(permit.reserved - total_tokens, now)
        self._answers += 1
        if was_out or self._answers == 1:
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
        no_room: bool = False,
    ) -> bool:
        """A rate limit or an overload, which may pause the others, too."""
        before = self.gate_until
        alone = self._controller.limited(
            permit,
            now,
            retry_after_s,
            status=status,
            words=words,
            doubted=doubted,
            again=again,
            no_room=no_room,
        )
        self._tell(before, now)
        return alone

    def failed(self, permit: Permit, now: float, *, words: str = "") -> None:
        """A server error, a reset or a timeout: it may be an outage for the others, too."""
        before = self.gate_until
        self._controller.failed(permit, now, words=words)
        self._tell(before, now)

    def unreachable(self, permit: Permit, now: float, *, words: str = "") -> None:
        """Nobody answers there: an outage for the others, too."""
        before = self.gate_until
        self._controller.unreachable(permit, now, words=words)
        self._tell(before, now)

    def refused(self, permit: Permit, now: float) -> None:
        """The row's own fault, or never sent: of no concern to the others."""
        self._controller.refused(permit, now)

    def cancelled(self, permit: Permit, now: float) -> None:
        """The request was abandoned; what it took of the lease is used."""
        self._controller.cancelled(permit, now)

    def hold(self, now: float, seconds: float, words: str = "") -> None:
        """Nothing is sent for a time, here and by the others, and then one after the other."""
        before = self.gate_until
        self._controller.hold(now, seconds, words)
        self._tell(before, now)

    def release(self) -> None:
        """The end of a hold."""
        self._controller.release()

    def forgive(self) -> None:
        """Some refusals were no limits."""
        self._controller.forgive()

    def empty(self, now: float) -> None:
        """What the server said it allows was used until now."""
        self._controller.empty(now)

    def pause(self, now: float, pause: Pause) -> None:
        """Another worker has met a rate limit or an outage: the gate closes here too."""
        self._controller.pause(now, pause.seconds, pause.reason, outage=pause.outage)

    def resume(self, now: float) -> None:
        """Another worker was answered: an outage is over."""
        self._controller.resume(now)

    def keep_to(self, lease: LaneLease, until: float, now: float) -> bool:
        """The lease now runs until `until`. Returns whether fewer requests may be in flight than before."""
        fewer = lease.permits < self._lease.permits
        self._lease = lease
        self._until = until
        self._controller.restrict(lease.permits, ramp=self._ramp)
        self._requests.keep_to(lease.requests_per_s, now)
        self._tokens.keep_to(lease.tokens_per_s, now)
        if lease.answered:
            self._controller.answered_elsewhere()
        return fewer

    def lapse(self, now: float) -> None:
        """The lease was not renewed: nothing leaves, and what the buckets held is gone."""
        self._lease = dataclasses.replace(self._lease, permits=0, requests_per_s=None, tokens_per_s=None)
        self._requests.lapse(now)
        self._tokens.lapse(now)

    def demand(self, now: float, want: float) -> LaneDemand:
        """What to ask for: up to `want` requests in flight, of all that the endpoint may have."""
        seconds = max(now - self._asked_at, 1e-3)
        requests_per_s, tokens_per_s = self._requests.used_per_s(seconds), self._tokens.used_per_s(seconds)
        if seconds >= PACE_S:
            self._requests.count_anew()
            self._tokens.count_anew()
            self._asked_at = now
        else:  # too soon after the last demand to tell a rate
            requests_per_s = tokens_per_s = None
        return LaneDemand(
            want=int(min(want, self._most)),
            in_flight=self.in_flight,
            answers=self._answers,
            requests_per_s=requests_per_s,
            tokens_per_s=tokens_per_s,
            largest_tokens=self._tokens.largest,
        )

    def _tell(self, before: float, now: float) -> None:
        until = self.gate_until
        if until > max(before, now):
            self._on_pause(Pause(until - now, self._controller.reason, self._controller.is_out))


class _LentRate:
    """A worker's share of one of the rates, and what it uses of it.

    Args:
        pace_s: so many seconds of the share may leave at once.
        limited: whether the user has set a limit; without one there is nothing to share.

    Attributes:
        largest: most that was taken for one request.
    """

    def __init__(self, pace_s: float, now: float, *, limited: bool) -> None:
        self._pace_s = pace_s
        self._bucket = Bucket(60.0, now=now) if limited else None
        self._held_back = True  # since the last demand, or not lent yet
        self._used = 0.0  # since the last demand
        self.largest = 0.0
        self.lapse(now)

    def wait_s(self, units: float, now: float) -> float:
        """Seconds until so many may be taken; inf while nothing is lent."""
        bucket = self._bucket
        if bucket is None:
            return 0.0
        wait = bucket.wait_s(units, now) if bucket.per_minute > 0 else math.inf
        if wait > 0:
            self._held_back = True
        return wait

    def take(self, units: float, now: float) -> None:
        """A request leaves."""
        self._used += units
        if self._bucket is not None:
            self._bucket.take(units, now)
            self.largest = max(self.largest, units)

    def give_back(self, units: float, now: float) -> None:
        """A request used so much less than was taken for it."""
        if self._bucket is not None:
            self._bucket.give_back(units, now)

    def keep_to(self, per_s: float | None, now: float) -> None:
        """The share from now on."""
        if self._bucket is not None:
            per_s = per_s or 0.0
            self._bucket.lend(per_s, max(1.0, self._pace_s * per_s), now)

    def lapse(self, now: float) -> None:
        """Nothing is lent."""
        if self._bucket is not None:
            self._bucket.lend(0.0, 1.0, now)
            self._bucket.lower_to(0.0, now)

    def used_per_s(self, seconds: float) -> float | None:
        """What was used since the last demand, which was so long ago; None when it would have been more."""
        return None if self._held_back else self._used / seconds

    def count_anew(self) -> None:
        """A demand is made."""
        self._held_back, self._used = False, 0.0


def _part(headers: RateHeaders, share: float) -> RateHeaders:
    """A server's limits, as far as one of several workers may use them."""

    def part(value: float | None) -> float | None:
        return None if value is None else value * share

    return RateHeaders(
        limit_requests=part(headers.limit_requests),
        remaining_requests=part(headers.remaining_requests),
        reset_requests_s=headers.reset_requests_s,
        limit_tokens=part(headers.limit_tokens),
        remaining_tokens=part(headers.remaining_tokens),
        reset_tokens_s=headers.reset_tokens_s,
        window_s=headers.window_s,
    )

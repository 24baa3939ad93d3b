"""How fast to send: one controller per endpoint and model, pure, with an injected clock.

It owns the window of requests in flight (AIMD), the shared pause after a rate limit, request
and token buckets, the retry budget and the outage breaker. Loss is the signal; latency is
not, because here it follows the length of the answer.

Each choice was measured on simulated providers (`python -m tests.proofs.sim.run` prints the table):
- β 0.85: 0.5 costs up to 54 % of the makespan, 0.9 up to 27 %.
- One cut per epoch: the answers to requests sent before a cut say nothing about the new window.
- Ceiling memory: after a cut from window v, v is not tried again before 15 s, doubling to 120 s
  when it is confirmed. On a queue cap of 5 this takes requests per row from 1.22 to 1.007.
- No gradient, no throughput plateau: no gain, and false holds under random 500s.
- One refusal alone, while all is well, may be its row's own (`doubt`).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from batchlab.dispatch.rate.breaker import CREDIT_MAX, Breaker
from batchlab.dispatch.rate.rates import Rates
from batchlab.dispatch.rate.window import Window
from batchlab.dispatch.trouble.doubt import Doubt
from batchlab.job.limits import EndpointLimits
from batchlab.protocol.limits import RateHeaders

PROBE_CUTS = 4  # after so many cuts without an answer between them, one probe at a time
_ASKED = ", Retry-After"  # the end of a reason: the provider has said how long
WORDS = 120  # characters of the last answer that an outage shows
GROWTH_USE = 0.8  # grow only when at least this much of the window was in use
LIMIT_CAP_S = 8.0  # longest pause of our own after rate limits; a Retry-After is honoured in full
NO_ROOM_CAP_S = 60.0  # the same while a cheaper tier has no room: a part of the time that it had none
NO_ROOM_PART = 0.2  # a minute after six refusals made a run where half are refused by chance 3x as long
SPREAD = 0.05  # added to a Retry-After, so that not all clients of one key come back at once
OVERLOAD_EPOCHS = 3  # overloads in a row without a success: an outage
NO_MAX_TOKENS = 256  # completion tokens expected of a row that sets no cap, at least


@dataclass(slots=True)
class Permit:
    """The right to send one request; handed back by exactly one of the controller's methods.

    Attributes:
        reserved: tokens taken from the token bucket for it.
        estimate: prompt and completion tokens expected (> 0), before the learned ratio.
        window: the window when it was sent.
    """

    sent_at: float
    reserved: float
    estimate: float
    window: float
    released: bool = False


class RateController:
    """The gate, and what opens and closes it: window, rates, breaker and doubt.

    Not thread-safe; all times are seconds of one monotonic clock. Its state changes only in
    `try_acquire`, in the five methods that end a permit, and by what is known from elsewhere (`hold`,
    `release`, `forgive`, `empty`; `pause`, `resume`, `restrict`, `answered_elsewhere`).
    """

    def __init__(
        self, limits: EndpointLimits, *, now: float, rng: random.Random, rates: Rates | None = None
    ) -> None:
        """`rates` are those of another lane of the endpoint, which the two share."""
        self._rng = rng
        self._window = Window(limits.concurrency, limits.start, now)
        self._rates = rates or Rates(limits.rpm, limits.tpm, now)
        self._breaker = Breaker()
        self._doubt = Doubt()
        self._held: float | None = None  # since when nobody, and then one request at a time, is sent
        self._before = 0  # requests in flight that were sent before that
        self._asks = False  # whether one of the two is so
        self._gate = now
        self._limited_in_row = 0  # k: limits since the last success; how long to pause
        self._reason = ""
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<RateController window={self.window} in_flight={self.in_flight} {self._reason}>"

    @property
    def window(self) -> int:
        """Requests that may be in flight now."""
        if self._held is not None:
            return self._before + 1
        window = self._window
        return 1 if self._breaker.is_open or window.cuts >= PROBE_CUTS else max(1, int(window.size))

    @property
    def gate_until(self) -> float:
        """When the shared pause ends."""
        return self._gate

    @property
    def reason(self) -> str:
        """What closed the gate or cut the window last; "" before anything did."""
        return self._reason

    @property
    def is_out(self) -> bool:
        """Whether there is an outage."""
        return self._breaker.is_open

    def why(self, now: float) -> str:
        """Why the window is what it is, for the progress line; "" when nothing holds it back."""
        wait, reason = self._gate - now, f" ({self._reason})" if self._reason else ""
        if self._breaker.is_open:
            return f"waiting for the provider, {_lasting(self.silent_s(now))} so far{reason}"
        if self._held is not None:
            return f"refused, asking again {f'in {wait:.0f} s' if wait > 0 else 'now'}{reason}"
        if wait > 0:
            asked = self._reason.removesuffix(_ASKED)
            if asked != self._reason:
                return f"waiting {max(1, wait):.0f} s as asked by the provider ({asked})"
            return f"waiting {max(1, wait):.0f} s, slowed by the provider{reason}"
        return f"slowed by the provider{reason}" if now < self._window.ceiling.until else ""

    def silent_s(self, now: float) -> float:
        """Seconds since the first trouble after the last answer; 0.0 when all is well."""
        since = self._breaker.silent_since
        return 0.0 if since is None else now - since

    def tokens_for(self, prompt_tokens: int, max_tokens: int | None) -> float:
        """Tokens that a permit for such a request would take."""
        expected = max(NO_MAX_TOKENS, prompt_tokens) if max_tokens is None else max_tokens
        return self._rates.ratio * float(prompt_tokens + expected)

    def try_acquire(self, now: float, prompt_tokens: int, max_tokens: int | None) -> Permit | float:
        """A permit to send now, or the seconds after which to ask again (inf: after a release)."""
        if self.in_flight >= self.window:
            return math.inf
        if now < self._gate:
            return self._gate - now
        rates = self._rates
        requests, tokens = rates.requests, rates.tokens
        # as in `tokens_for`, which would cost a call for every request
        expected = max(NO_MAX_TOKENS, prompt_tokens) if max_tokens is None else max_tokens
        estimate = float(prompt_tokens + expected)
        reserve = rates.ratio * estimate
        wait = 0.0
        if requests is not None:
            wait = requests.wait_s(1.0, now)
        if tokens is not None:
            wait = max(wait, tokens.wait_s(reserve, now))
        if wait > 0:
            return wait
        if requests is not None:
            requests.take(1.0, now)
        if tokens is not None:
            tokens.take(reserve, now)
        self.in_flight += 1
        if self._doubt.since is not None:
            self._doubt.sent(now)
        return Permit(sent_at=now, reserved=reserve, estimate=estimate, window=self._window.size)

    def succeeded(
        self, permit: Permit, now: float, total_tokens: int | None, headers: RateHeaders | None = None
    ) -> None:
        """An answer came; `total_tokens` is its usage, None if it reported none."""
        in_flight, window, breaker = self.in_flight, self._window, self._breaker
        self._release(permit)
        if total_tokens is not None:
            self._rates.used(total_tokens, permit.reserved, permit.estimate, now)
        self._limited_in_row = 0
        if permit.sent_at >= window.epoch:
            window.cuts = 0  # an answer to a request sent before the last cut says nothing of it
        if breaker.silent_since is not None or breaker.credit < CREDIT_MAX:
            breaker.answered()
        if self._asks:
            self._heard(permit)
        if in_flight >= GROWTH_USE * self.window and self._doubt.since is None:
            window.grow(now)
        if headers is not None:
            self._rates.read(headers, now)

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
        """A rate limit or an overload (429, 503, 529, 498): the shared pause, and one cut per epoch.

        Args:
            words: the answer's own.
            doubted: rows are known that are refused for themselves, so this one may be, too, even if a
                pause is asked for.
            again: of a row that was refused before. While others are answered it says nothing new; while
                nobody is, the pause goes on.
            no_room: nothing is free at a cheaper tier now: no row's own and no outage, but it may last.

        Returns whether nothing is made of it, because it may be its row's own: the first after an answer.
        """
        window, is_out = self._window, self._breaker.is_open
        self._release(permit)
        self._rates.refund(permit.reserved, now)
        if again and not is_out and window.cuts == 0:
            return True
        news = permit.sent_at >= window.epoch  # sent under the window that stands, not before its last cut
        if self._doubt.since is not None and not no_room:
            if not self._doubt.confirmed(permit.sent_at, now):
                return True
            self._doubt.since = None
        elif (
            not no_room
            and (doubted or (retry_after_s is None and self._doubt.allowed))
            and (news and self._limited_in_row == 0 and not is_out)
        ):
            self._doubt.begin(permit.sent_at, now)
            self._asks = True
            return True
        self._breaker.trouble(now)
        told = f"{status}, no room at this tier" if no_room else str(status)
        self._reason = told if retry_after_s is None else f"{told}{_ASKED}"
        if is_out and words:
            self._reason = f"{self._reason}: {words[:WORDS]}"
        if news and (is_out or not again):
            window.cut(permit.window, now, remember=no_room or status == 429)
            self._limited_in_row += 1
        if retry_after_s is not None:
            wait = retry_after_s * (1 + SPREAD * self._rng.random())
            self._gate = max(self._gate, now + wait)
        elif news:
            cap_s = LIMIT_CAP_S
            if no_room:
                cap_s = max(LIMIT_CAP_S, min(NO_ROOM_CAP_S, NO_ROOM_PART * self.silent_s(now)))
            backoff = min(cap_s, 0.5 * 2.0 ** min(self._limited_in_row, 10))
            self._gate = max(self._gate, now + self._rng.uniform(0.5, 1.0) * backoff)
        if status != 429 and not no_room and self._limited_in_row >= OVERLOAD_EPOCHS:
            self._trip(now, f"overloaded, {status}", words)
        return False

    def failed(self, permit: Permit, now: float, *, words: str = "") -> None:
        """A server error, a reset or a timeout: charged to the retry budget; empty, it is an outage."""
        self._release(permit)
        self._breaker.trouble(now)
        self._rates.refund(permit.reserved, now)
        if self._breaker.charge():
            self._trip(now, "errors only", words)

    def unreachable(self, permit: Permit, now: float, *, words: str = "") -> None:
        """Nobody answers there: an outage."""
        self._release(permit)
        self._rates.refund(permit.reserved, now)
        self._trip(now, "unreachable", words)

    def refused(self, permit: Permit, now: float) -> None:
        """The row's own fault, or the end of the run: says nothing about the rate."""
        self._release(permit)
        self._rates.refund(permit.reserved, now)

    def cancelled(self, permit: Permit, now: float) -> None:
        """The request was abandoned; the server may have taken it, so nothing is refunded."""
        del now
        self._release(permit)

    def hold(self, now: float, seconds: float, words: str = "") -> None:
        """Nothing is sent for a time, and then one request after the other until one is answered.

        What is in flight is not counted: its answers may take long, and say nothing of what is now.
        """
        self._breaker.trouble(now)
        self._held, self._before, self._asks = now, self.in_flight, True
        self._gate = max(self._gate, now + seconds)
        self._reason = words[:WORDS]

    def release(self) -> None:
        """The endpoint is asked as before."""
        self._held = None
        self._asks = self._doubt.since is not None

    def forgive(self) -> None:
        """A row was refused for itself: its refusals, and those like it, were no limits."""
        self._doubt.allowed = True
        self._window.forgive()

    def empty(self, now: float) -> None:
        """The limits were used to their full until now: nothing is left to leave at once."""
        self._rates.empty(now)

    def pause(self, now: float, seconds: float, reason: str, *, outage: bool = False) -> None:
        """Somebody else has met a rate limit or an outage: the gate closes here too."""
        self._gate = max(self._gate, now + seconds)
        self._reason = reason
        if outage and not self._breaker.is_open:
            self._breaker.open(now)
            self._window.restart()

    def resume(self, now: float) -> None:
        """Somebody else was answered: an outage is over."""
        if self._breaker.close():
            self._gate = now

    def answered_elsewhere(self) -> None:
        """Somebody else was answered of late: this is no long silence, though it may be an outage."""
        self._breaker.end_silence()

    def restrict(self, concurrency: int, *, ramp: bool = True) -> None:
        """The window grows no further than this; without `ramp` it is there at once, if it was never cut."""
        self._window.restrict(concurrency, ramp=ramp)

    def _release(self, permit: Permit) -> None:
        assert not permit.released, "a permit ends once"
        permit.released = True
        self.in_flight -= 1
        if self._held is not None and permit.sent_at <= self._held and self._before > 0:
            self._before -= 1

    def _heard(self, permit: Permit) -> None:
        """An answer, while one is waited for that says what a refusal meant."""
        self._doubt.answered(permit.sent_at)
        if self._held is not None and permit.sent_at > self._held:
            self._held = None
        self._asks = self._doubt.since is not None or self._held is not None

    def _trip(self, now: float, why: str, words: str) -> None:
        """Opens the breaker, or after a failed probe waits longer for the next."""
        interval = self._breaker.trip(now)
        self._window.restart()
        self._gate = max(self._gate, now + interval)
        self._reason = f"{why}: {words[:WORDS]}" if words else why


def _lasting(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 05 min`."""
    minutes = int(seconds) // 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

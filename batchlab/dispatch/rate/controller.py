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
from typing import Protocol

from batchlab.dispatch.rate.buckets import Bucket
from batchlab.dispatch.trouble.doubt import Doubt

START_WINDOW = 4
RAMP = 2.0  # per answer in slow start: +1 costs 4 % of a short run, +3 overshoots small caps
BETA = 0.85
PROBE_CUTS = 4  # after so many cuts without an answer between them, one probe at a time
THRESHOLD = 0.7  # of the window before a row of cuts: up to there it grows fast again
WORDS = 120  # characters of the last answer that an outage shows
GROWTH_USE = 0.8  # grow only when at least this much of the window was in use
CEILING_S, CEILING_MAX_S = 15.0, 120.0
LIMIT_CAP_S = 8.0  # longest pause of our own after rate limits; a Retry-After is honoured in full
GATE_CAP_S = 60.0  # longest time between two probes in an outage
SPREAD = 0.05  # added to a Retry-After, so that not all clients of one key come back at once
BUDGET_START, BUDGET_MAX, BUDGET_EARN = 10.0, 100.0, 0.1
OVERLOAD_EPOCHS = 3  # overloads in a row without a success: an outage
RATIO_EWMA, RATIO_MIN, RATIO_MAX = 0.05, 0.1, 2.0
NO_MAX_TOKENS = 256  # completion tokens expected of a row that sets no cap, at least


class RateHeaders(Protocol):
    """The limits a response carried; `protocol.limits.RateHeaders` is one."""

    @property
    def limit_requests(self) -> float | None: ...
    @property
    def remaining_requests(self) -> float | None: ...
    @property
    def limit_tokens(self) -> float | None: ...
    @property
    def remaining_tokens(self) -> float | None: ...
    @property
    def reset_tokens_s(self) -> float | None: ...
    @property
    def window_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class ControllerLimits:
    """What the user allows: requests in flight, requests and tokens a minute (None: no limit).

    Attributes:
        start: the window to begin with; the whole concurrency for a server that queues and never refuses.
    """

    concurrency: int
    rpm: float | None = None
    tpm: float | None = None
    start: int = START_WINDOW


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
    """The window, the gate, the buckets and the breaker; see the module's docstring.

    Not thread-safe; all times are seconds of one monotonic clock. Its state changes only in
    `try_acquire` and in the five methods that end a permit.
    """

    def __init__(self, limits: ControllerLimits, *, now: float, rng: random.Random) -> None:
        self._max = max(1, limits.concurrency)
        self._rng = rng
        self._start = float(min(limits.start, self._max))
        self._w = self._start
        self._slow_start = True
        self._epoch = now
        self._gate = now
        self._limited_in_row = 0  # k: limits since the last success; how long to pause
        self._threshold = 0.0  # below it the window grows as in slow start: it was good before a row of cuts
        self._cuts = 0  # cuts since the last success of a request sent after one
        self._budget = BUDGET_START
        self._open = False  # the breaker
        self._doubt = Doubt()
        self._held: float | None = None  # since when nobody, and then one request at a time, is sent
        self._before = 0  # requests in flight that were sent before that
        self._asks = False  # whether one of the two is so
        self._probes = 0
        self._silent_since: float | None = None
        self._ceiling = math.inf
        self._ceiling_until = now
        self._ceiling_s = CEILING_S
        self._requests = Bucket(limits.rpm, now=now) if limits.rpm else None
        self._tokens = Bucket(limits.tpm, now=now) if limits.tpm else None
        self._user_tpm = limits.tpm
        self._ratio = 1.0
        self._reason = ""
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<RateController window={self.window} in_flight={self.in_flight} {self._reason}>"

    @property
    def window(self) -> int:
        """Requests that may be in flight now."""
        if self._held is not None:
            return self._before + 1
        return 1 if self._open or self._cuts >= PROBE_CUTS else max(1, int(self._w))

    @property
    def gate_until(self) -> float:
        """When the shared pause ends."""
        return self._gate

    def why(self, now: float) -> str:
        """Why the window is what it is, for the progress line; "" when nothing holds it back."""
        if now < self._gate:
            what = "outage, next probe in" if self._open else "paused"
            if self._held is not None and not self._open:
                what = "refused, second look in"
            return f"{what} {self._gate - now:.0f} s ({self._reason})"
        if self._open:
            return f"outage, probing ({self._reason})"
        if self._held is not None:
            return f"refused, looking again ({self._reason})"
        return f"↓ {self._reason}" if now < self._ceiling_until else ""

    def silent_s(self, now: float) -> float:
        """Seconds since the first trouble after the last answer; 0.0 when all is well."""
        return 0.0 if self._silent_since is None else now - self._silent_since

    def try_acquire(self, now: float, prompt_tokens: int, max_tokens: int | None) -> Permit | float:
        """A permit to send now, or the seconds after which to ask again (inf: after a release)."""
        if self.in_flight >= self.window:
            return math.inf
        if now < self._gate:
            return self._gate - now
        expected = max(NO_MAX_TOKENS, prompt_tokens) if max_tokens is None else max_tokens
        estimate = float(prompt_tokens + expected)
        reserve = self._ratio * estimate
        wait = 0.0
        if self._requests is not None:
            wait = self._requests.wait_s(1.0, now)
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait_s(reserve, now))
        if wait > 0:
            return wait
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None:
            self._tokens.take(reserve, now)
        self.in_flight += 1
        if self._doubt.since is not None:
            self._doubt.sent(now)
        return Permit(sent_at=now, reserved=reserve, estimate=estimate, window=self._w)

    def succeeded(
        self, permit: Permit, now: float, total_tokens: int | None, headers: RateHeaders | None = None
    ) -> None:
        """An answer came; `total_tokens` is its usage, None if it reported none."""
        in_flight = self.in_flight
        self._release(permit)
        if total_tokens is not None:
            if self._tokens is not None:
                self._tokens.give_back(permit.reserved - total_tokens, now)
            self._learn(permit, total_tokens)
        self._limited_in_row = self._probes = 0
        if permit.sent_at >= self._epoch:
            self._cuts = 0  # an answer to a request sent before the last cut says nothing of it
        self._silent_since = None
        self._open = False
        if self._asks:
            self._heard(permit)
        self._budget = min(BUDGET_MAX, self._budget + BUDGET_EARN)
        if in_flight >= GROWTH_USE * self.window:
            self._grow(now)
        if headers is not None:
            self._read(headers, now)

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
        """A rate limit or an overload (429, 503, 529, 498): the shared pause, and one cut per epoch.

        Args:
            words: the answer's own.
            doubted: rows are known that are refused for themselves, so this one may be, too, even if a
                pause is asked for.
            again: of a row that was refused before. While others are answered it says nothing new; while
                nobody is, the pause goes on.

        Returns whether nothing is made of it, because it may be its row's own: the first after an answer.
        """
        self._release(permit)
        self._refund(permit, now)
        if again and not self._open and self._cuts == 0:
            return True
        news = permit.sent_at >= self._epoch  # sent under the window that stands, not before its last cut
        if self._doubt.since is not None:
            if not self._doubt.confirmed(permit.sent_at, now):
                return True
            self._doubt.since = None
        elif (doubted or (retry_after_s is None and self._doubt.allowed)) and (
            news and self._limited_in_row == 0 and not self._open
        ):
            self._doubt.begin(permit.sent_at, now)
            self._asks = True
            return True
        self._in_trouble(now)
        self._reason = str(status) if retry_after_s is None else f"{status}, Retry-After"
        if self._open and words:
            self._reason = f"{self._reason}: {words[:WORDS]}"
        if news and (self._open or not again):
            self._cut(permit, now, status)
        if retry_after_s is not None:
            wait = retry_after_s * (1 + SPREAD * self._rng.random())
            self._gate = max(self._gate, now + wait)
        elif news:
            backoff = min(LIMIT_CAP_S, 0.5 * 2.0 ** min(self._limited_in_row, 10))
            self._gate = max(self._gate, now + self._rng.uniform(0.5, 1.0) * backoff)
        if status != 429 and self._limited_in_row >= OVERLOAD_EPOCHS:
            self._trip(now, f"overloaded, {status}", words)
        return False

    def failed(self, permit: Permit, now: float, *, words: str = "") -> None:
        """A server error, a reset or a timeout: charged to the retry budget; empty, it is an outage."""
        self._release(permit)
        self._in_trouble(now)
        self._refund(permit, now)
        self._budget -= 1
        if self._budget < 0:
            self._trip(now, "errors only", words)

    def unreachable(self, permit: Permit, now: float, *, words: str = "") -> None:
        """Nobody answers there: an outage."""
        self._release(permit)
        self._refund(permit, now)
        self._trip(now, "unreachable", words)

    def hold(self, now: float, seconds: float, words: str = "") -> None:
        """Nothing is sent for a time, and then one request after the other until one is answered.

        What is in flight is not counted: its answers may take long, and say nothing of what is now.
        """
        self._in_trouble(now)
        self._held, self._before, self._asks = now, self.in_flight, True
        self._gate = max(self._gate, now + seconds)
        self._reason = words[:WORDS]

    def release(self) -> None:
        """The endpoint is asked as before."""
        self._held = None
        self._asks = self._doubt.since is not None

    def forgive(self) -> None:
        """A row was refused for itself: its refusals, and those like it, were no limits."""
        self._doubt.allowed = self._slow_start = True
        self._ceiling = math.inf

    def refused(self, permit: Permit, now: float) -> None:
        """The row's own fault, or the end of the run: says nothing about the rate."""
        self._release(permit)
        self._refund(permit, now)

    def empty(self, now: float) -> None:
        """The limits were used to their full until now: nothing is left to leave at once."""
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.lower_to(0.0, now)

    def cancelled(self, permit: Permit, now: float) -> None:
        """The request was abandoned; the server may have taken it, so nothing is refunded."""
        del now
        self._release(permit)

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

    def _in_trouble(self, now: float) -> None:
        if self._silent_since is None:
            self._silent_since = now

    def _refund(self, permit: Permit, now: float) -> None:
        if self._tokens is not None and self._user_tpm is None:
            # A limit we only learned from headers: the server's count is the truth. Our user's own
            # limit keeps the charge, because some providers count what they refuse.
            self._tokens.give_back(permit.reserved, now)

    def _grow(self, now: float) -> None:
        if self._doubt.since is not None:
            return
        step = 1.0 / self._w
        if self._slow_start:
            step = RAMP
        elif self._w < self._threshold:
            step = 1.0
        limit = float(self._max)
        if now < self._ceiling_until:
            limit = min(limit, max(1.0, self._ceiling - 1))
        self._w = max(self._w, min(limit, self._w + step))

    def _cut(self, permit: Permit, now: float, status: int) -> None:
        self._epoch = now
        self._slow_start = False
        if status == 429 and self._cuts == 0:
            seen = float(math.floor(permit.window))
            confirmed = abs(seen - self._ceiling) <= max(1.0, 0.1 * seen)
            self._ceiling_s = min(CEILING_MAX_S, 2 * self._ceiling_s) if confirmed else CEILING_S
            self._ceiling = seen
            self._ceiling_until = now + self._ceiling_s
        if self._cuts == 0:
            self._threshold = THRESHOLD * self._w
        self._w = max(1.0, BETA * self._w)
        self._cuts += 1
        self._limited_in_row += 1

    def _trip(self, now: float, why: str, words: str) -> None:
        """Opens the breaker, or after a failed probe waits longer for the next."""
        self._in_trouble(now)
        self._open = True
        self._budget = 0.0
        self._slow_start = True
        self._w = self._start
        self._probes += 1
        interval = min(GATE_CAP_S, 2.0 ** min(self._probes, 10))
        self._gate = max(self._gate, now + interval)
        self._reason = f"{why}: {words[:WORDS]}" if words else why

    def _learn(self, permit: Permit, total_tokens: int) -> None:
        ratio = total_tokens / permit.estimate
        self._ratio += RATIO_EWMA * (ratio - self._ratio)
        self._ratio = min(RATIO_MAX, max(RATIO_MIN, self._ratio))

    def _read(self, headers: RateHeaders, now: float) -> None:
        """Limits the server states; a user's own lower limit stays."""
        limit, window = headers.limit_requests, headers.window_s or 60.0
        if limit is not None and window <= 60.0:
            per_minute = limit * 60.0 / window
            if self._requests is None or abs(self._requests.per_minute - per_minute) > 0.01 * per_minute:
                self._requests = self._adopted(self._requests, per_minute, now)
            if headers.remaining_requests is not None:
                self._requests.lower_to(headers.remaining_requests, now)
        if headers.limit_tokens is not None and self._user_tpm is None:
            per_minute = headers.limit_tokens
            if self._tokens is None or abs(self._tokens.per_minute - per_minute) > 0.01 * per_minute:
                self._tokens = Bucket(per_minute, now=now, paced=False)
            if headers.remaining_tokens is not None:
                self._tokens.lower_to(headers.remaining_tokens, now)

    def _adopted(self, own: Bucket | None, per_minute: float, now: float) -> Bucket:
        if own is not None and own.per_minute <= per_minute:
            return own
        return Bucket(per_minute, now=now, paced=False)

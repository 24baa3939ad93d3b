"""Provider models: what one request gets, at a virtual time.

Latency is lognormal with median 2 s and σ 0.5, completion tokens with median 400 and σ 0.5.
None of this shares code with batchlab.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from batchlab.protocol.limits import retry_after_s

MEAN = math.exp(0.125)  # mean ÷ median of a lognormal with σ 0.5
LATENCY_S, TOKENS, PROMPT = 2.0, 400.0, 100.0
REFUSAL_S = 0.05  # how long a refusal takes


@dataclass
class Headers:
    """x-ratelimit headers; None for what is not sent."""

    limit_requests: float | None = None
    remaining_requests: float | None = None
    limit_tokens: float | None = None
    remaining_tokens: float | None = None
    reset_tokens_s: float | None = None
    window_s: float | None = 60.0


@dataclass
class Answer:
    """What comes back, and how long it takes."""

    status: int
    after_s: float
    tokens: float = 0.0
    retry_after_s: float | None = None
    headers: Headers | None = None


@dataclass
class Provider:
    """Answers everything. Subclasses refuse."""

    seed: int
    in_service: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def submit(self, now: float) -> Answer:
        """The answer to a request sent at `now`."""
        refusal = self.refusal(now)
        return refusal if refusal is not None else self.good(now)

    def refusal(self, now: float) -> Answer | None:
        """A refusal, or None to serve it."""
        return None

    def good(self, now: float) -> Answer:
        """An answer with its latency and tokens."""
        return Answer(200, LATENCY_S * math.exp(self.rng.gauss(0, 0.5)), self.tokens())

    def tokens(self) -> float:
        """Prompt and completion tokens of an answer."""
        return PROMPT + TOKENS * math.exp(self.rng.gauss(0, 0.5))

    def ideal_s(self, rows: int, concurrency: int) -> float:
        """The least time `rows` can take."""
        return rows * LATENCY_S * MEAN / concurrency


@dataclass
class ConcurrencyCap(Provider):
    """Rejects the (cap + 1)-th request with a bare 429, as ModelsLab's queue limit."""

    cap: int = 5

    def refusal(self, now: float) -> Answer | None:
        return Answer(429, REFUSAL_S) if self.in_service >= self.cap else None

    def ideal_s(self, rows: int, concurrency: int) -> float:
        return super().ideal_s(rows, min(self.cap, concurrency))


def _as_date(wait_s: float, now: float) -> float | None:
    """What the shipped parser makes of a wait that is told as an HTTP date, in whole seconds."""
    clock = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=now)
    then = clock + timedelta(seconds=wait_s)
    text = format_datetime(then.replace(microsecond=0) + timedelta(seconds=then.microsecond > 0), usegmt=True)
    return retry_after_s({"retry-after": text}, now=clock)


@dataclass
class Bucket(Provider):
    """Requests a minute as a continuous bucket with a second's burst."""

    rpm: float = 600.0
    with_headers: bool = True
    charge_refused: bool = False
    lying: bool = False
    retry_after: str = "honest"  # or "zero", "date", "huge"
    level: float = 10.0
    at: float = 0.0

    def refusal(self, now: float) -> Answer | None:
        rate = self.rpm / 60
        self.level = min(rate, self.level + (now - self.at) * rate)
        self.at = now
        if self.level < 1:
            wait = (1 - self.level) / rate
            if self.charge_refused:
                self.level = max(-rate * 5, self.level - 1)
            told = {"honest": wait, "zero": 0.0, "huge": 1e9, "date": _as_date(wait, now)}[self.retry_after]
            return Answer(
                429, REFUSAL_S, retry_after_s=told if self.with_headers else None, headers=self.headers()
            )
        self.level -= 1
        return None

    def good(self, now: float) -> Answer:
        answer = super().good(now)
        answer.headers = self.headers()
        return answer

    def headers(self) -> Headers | None:
        if self.retry_after != "honest":
            return None  # the Retry-After of a refusal is all that is told
        if self.lying:
            return Headers(
                limit_requests=None, remaining_requests=None, limit_tokens=10_000_000.0, remaining_tokens=0.0
            )
        return (
            Headers(limit_requests=self.rpm, remaining_requests=max(0.0, self.level))
            if self.with_headers
            else None
        )

    def ideal_s(self, rows: int, concurrency: int) -> float:
        return max(super().ideal_s(rows, concurrency), rows * 60 / self.rpm)


@dataclass
class TokenBucket(Provider):
    """Tokens a minute as a continuous bucket; what a request costs is known at its admission."""

    tpm: float = 120_000.0
    with_headers: bool = True
    level: float = 120_000.0
    at: float = 0.0

    def submit(self, now: float) -> Answer:
        rate = self.tpm / 60
        self.level = min(self.tpm, self.level + (now - self.at) * rate)
        self.at = now
        needed = self.tokens()
        if self.level < needed:
            wait = (needed - self.level) / rate
            return Answer(
                429, REFUSAL_S, retry_after_s=wait if self.with_headers else None, headers=self.headers()
            )
        self.level -= needed
        answer = self.good(now)
        answer.tokens = needed
        answer.headers = self.headers()
        return answer

    def headers(self) -> Headers | None:
        if not self.with_headers:
            return None
        return Headers(limit_tokens=self.tpm, remaining_tokens=max(0.0, self.level), window_s=None)

    def ideal_s(self, rows: int, concurrency: int) -> float:
        used = rows * (PROMPT + TOKENS * MEAN)
        return max(super().ideal_s(rows, concurrency), (used - self.tpm) * 60 / self.tpm)


@dataclass
class FixedWindow(Provider):
    """Requests a minute, counted anew at each full minute; a bare 429."""

    rpm: int = 600
    sliding: bool = False
    sent: list[float] = field(default_factory=list)

    def refusal(self, now: float) -> Answer | None:
        start = now - 60 if self.sliding else now // 60 * 60
        self.sent = [
            moment for moment in self.sent if moment > start or (not self.sliding and moment >= start)
        ]
        if len(self.sent) >= self.rpm:
            return Answer(429, REFUSAL_S)
        self.sent.append(now)
        return None

    def ideal_s(self, rows: int, concurrency: int) -> float:
        return max(super().ideal_s(rows, concurrency), (rows - 1) // self.rpm * 60 + LATENCY_S * MEAN)


@dataclass
class FifoQueue(Provider):
    """Serves `servers` at a time, queues the rest, never refuses: vLLM-like."""

    servers: int = 64
    free_at: list[float] = field(default_factory=list)

    def good(self, now: float) -> Answer:
        answer = super().good(now)
        start = now
        if len(self.free_at) >= self.servers:
            start = max(now, heapq.heappop(self.free_at))
        heapq.heappush(self.free_at, start + answer.after_s)
        answer.after_s += start - now
        return answer

    def ideal_s(self, rows: int, concurrency: int) -> float:
        return super().ideal_s(rows, min(self.servers, concurrency))


@dataclass
class LimitDrop(ConcurrencyCap):
    """A cap that falls to a fifth for 200 s."""

    cap: int = 40

    def refusal(self, now: float) -> Answer | None:
        cap = self.cap // 5 if 30 <= now < 230 else self.cap
        return Answer(429, REFUSAL_S) if self.in_service >= cap else None

    def ideal_s(self, rows: int, concurrency: int) -> float:
        each = LATENCY_S * MEAN
        early = 30 * self.cap / each
        slow = 200 * (self.cap // 5) / each
        if rows <= early:
            return rows * each / self.cap
        if rows <= early + slow:
            return 30 + (rows - early) * each / (self.cap // 5)
        return 230 + (rows - early - slow) * each / self.cap


@dataclass
class Outage(Provider):
    """503 for everything from 20 s to 620 s."""

    def refusal(self, now: float) -> Answer | None:
        return Answer(503, REFUSAL_S) if 20 <= now < 620 else None

    def ideal_s(self, rows: int, concurrency: int) -> float:
        return super().ideal_s(rows, concurrency) + 600


@dataclass
class RandomErrors(Provider):
    """5 % of the answers are a 500."""

    def refusal(self, now: float) -> Answer | None:
        return Answer(500, self.rng.uniform(0.1, 2.0)) if self.rng.random() < 0.05 else None

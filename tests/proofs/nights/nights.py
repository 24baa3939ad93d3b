"""What a night is made of: a run, a service, and what goes wrong. All of it follows from kind and seed.

The luck of a batch belongs to its shards, not to the moment of the order: each shard has the seconds that a
batch takes to be done with it, whoever orders it when. So a clairvoyant's optimum can be computed exactly.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from batchlab.lanes.seen import DAY_S, RowPrice

HOUR_S = 3_600.0
EVENING = 1_800_000_000.0 // DAY_S * DAY_S + 20 * HOUR_S
SHARD_ROWS = 10_000
SPAN_S = 300.0  # the pace changes, and is measured, in spans of so long


LIVE = RowPrice(0.001, worst_usd=0.00125)
BATCH = RowPrice(0.0005, worst_usd=0.000625)


@dataclass
class Night:
    """One night, as nobody knows it in advance.

    Attributes:
        work_s: what live lanes need for all rows, at the pace they are thought to have.
        queue_s: seconds that each shard takes in a batch; inf for one that is stuck.
        outages: (from, to) in seconds after the start.
        shortages: share of flex calls that are refused, by span.
        noise: factor on the pace, by span.
        level: factor on the pace all night.
        begins: share of a shard's time in which nothing of it is answered yet.
        counts: whether the service says how many lines are done.
    """

    kind: str
    seed: int
    rows: int
    deadline_s: float
    work_s: float
    live: RowPrice = LIVE
    batch: RowPrice | None = BATCH
    flex: RowPrice | None = None
    queue_s: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    shortages: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    level: float = 1.0
    begins: float = 0.8
    counts: bool = True
    lines: int = 50_000
    room_rows: int | None = None
    cap: float | None = None

    @property
    def prior(self) -> float:
        """Rows a second that live lanes are thought to answer."""
        return self.rows / self.work_s

    def is_out(self, second: float) -> bool:
        """Whether the service is down."""
        return any(begin <= second < end for begin, end in self.outages)

    def pace(self, second: float, *, flex: bool = False) -> float:
        """Rows a second then."""
        if self.is_out(second):
            return 0.0
        span = int(second // SPAN_S)
        pace = self.prior * self.level * self.noise[min(span, len(self.noise) - 1)]
        return pace * 0.7 * (1 - self.shortages[min(span, len(self.shortages) - 1)]) if flex else pace

    def shards(self) -> list[int]:
        """Rows of each."""
        full, rest = divmod(self.rows, SHARD_ROWS)
        return [SHARD_ROWS] * full + ([rest] if rest else [])


KINDS = (
    "calm",
    "slow queue",
    "stuck batch",
    "outage in the evening",
    "outage near the deadline",
    "flex shortage",
    "price hours",
    "tight deadline",
    "huge deadline",
    "tiny run",
    "huge run",
    "cap",
)


def night_of(kind: str, seed: int) -> Night:
    """The night of that kind and seed."""
    rng = random.Random(f"{kind}/{seed}")
    night = _frame(kind, seed, rng)
    slow = {"slow queue": 1.0, "outage near the deadline": 0.5}.get(kind, 0.0)
    factor = math.exp(rng.gauss(0, 0.4)) * (_between(rng, 6, 25) if rng.random() < slow else 1)
    night.queue_s = _queues(rng, len(night.shards()), factor)
    if kind in {"stuck batch", "outage near the deadline"}:
        for index in rng.sample(range(len(night.queue_s)), max(1, len(night.queue_s) // 10)):
            night.queue_s[index] = math.inf
    night.level = math.exp(rng.gauss(0, 0.35))
    night.begins = rng.uniform(0.2, 0.95)
    night.counts = rng.random() < 0.7
    night.noise = _noise(rng, night.deadline_s)
    night.shortages = [0.0] * len(night.noise)
    if kind == "outage in the evening":
        begin = rng.uniform(0, 3 * HOUR_S)
        night.outages = [(begin, begin + _between(rng, 1_200, 3 * HOUR_S))]
    if kind == "outage near the deadline":
        begin = night.deadline_s - rng.uniform(0.5, 3) * HOUR_S
        night.outages = [(begin, begin + 2_400 * math.exp(rng.gauss(0, 0.7)))]
    if kind == "flex shortage":
        night.flex = RowPrice(0.001 * rng.choice((0.45, 0.5, 0.5, 0.6)), worst_usd=0.00075)
        night.batch = night.batch if rng.random() < 0.5 else None
        night.shortages = _shortages(rng, len(night.noise))
    if kind == "price hours":
        begin = (20 + rng.uniform(0, 9)) % 24 * HOUR_S
        steps = sorted([(begin, rng.choice((0.0005, 0.00025))), ((begin + 8 * HOUR_S) % DAY_S, 0.001)])
        night.live = RowPrice(None, steps=tuple(steps), worst_usd=0.00125)
        night.batch = night.batch if rng.random() < 0.5 else None
    if kind == "cap":
        night.cap = rng.uniform(0.65, 1.0) * night.rows * 0.001
    return night


def _frame(kind: str, seed: int, rng: random.Random) -> Night:
    rows = int(_between(rng, 20_000, 200_000))
    work_s = _between(rng, 0.5, 3) * HOUR_S
    deadline_s = rng.uniform(8, 12) * HOUR_S
    room_rows = None
    match kind:
        case "tight deadline":
            work_s = _between(rng, 0.3, 2) * HOUR_S
            deadline_s = work_s * rng.uniform(1.25, 3)
        case "huge deadline":
            deadline_s = rng.uniform(30, 60) * HOUR_S
        case "tiny run":
            rows = int(_between(rng, 5, 500))
            work_s = _between(rng, 10, 600)
            deadline_s = rng.uniform(1, 8) * HOUR_S
        case "huge run":
            rows = int(_between(rng, 500_000, 2_000_000))
            work_s = rng.uniform(4, 7) * HOUR_S
            deadline_s = rng.uniform(12, 14) * HOUR_S
            room_rows = rng.choice((300_000, 1_000_000))
        case "price hours":
            deadline_s = rng.uniform(10, 14) * HOUR_S
    return Night(kind, seed, rows, deadline_s, work_s, room_rows=room_rows)


def _queue(rng: random.Random) -> float:
    """Log-logistic: half within 7 minutes, nine of ten within an hour, a tail that has no end."""
    share = rng.random()
    steep = math.log(9) / math.log(60 / 7)
    return 420.0 * (share / (1 - share)) ** (1 / steep)


def _queues(rng: random.Random, shards: int, factor: float) -> list[float]:
    """In half of the nights a shard often shares the luck of the one before it."""
    alike = rng.choice((0.0, 0.7))
    found: list[float] = []
    for _ in range(shards):
        one = max(60.0, factor * _queue(rng))
        found.append(found[-1] if found and rng.random() < alike else one)
    return found


def _between(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _noise(rng: random.Random, seconds: float) -> list[float]:
    """An hour's memory, 15 % up or down; in three of ten nights a slump of an hour or more."""
    now, noise = 0.0, []
    for _ in range(int(seconds // SPAN_S) + 2):
        now = 0.92 * now + rng.gauss(0, 0.06)
        noise.append(math.exp(now))
    if rng.random() < 0.3:
        begin, share = rng.randrange(len(noise)), rng.uniform(0.35, 0.7)
        for span in range(begin, min(len(noise), begin + rng.randint(12, 36))):
            noise[span] *= share
    return noise


def _shortages(rng: random.Random, spans: int) -> list[float]:
    found: list[float] = []
    while len(found) < spans:
        share = rng.choice((0.0, 0.0, 0.3, 0.9, 1.0))
        found += [share] * rng.randint(4, 18)
    return found[:spans]

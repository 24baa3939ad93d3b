"""Rows that are refused for themselves, among rows that are not: who fails, and who waits for whom.

    python -m tests.proofs.sim.refused_rows --seeds 20

The health, the verdicts and the controller are those that ship, put together as the pool does it;
time is a number. Of a provider that refuses anybody no row may fail, and of 400 rows with 8 that are
always refused the others take no longer than without them.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from batchlab.dispatch.rate.controller import Permit, RateController
from batchlab.dispatch.trouble.health import RunHealth
from batchlab.dispatch.trouble.refusals import RowRefusals
from batchlab.dispatch.trouble.verdict import booked
from batchlab.job.limits import EndpointLimits
from batchlab.records import Outcome as Judged
from batchlab.records import OutcomeClass
from tests.proofs.arguments import options, table_head, table_row
from tests.proofs.sim import providers
from tests.proofs.sim.run import MODELS

GIVE_UP_S = 86_400.0
CLASSES = {429: "rate_limit", 503: "overloaded", 500: "server", 401: "auth"}


@dataclass
class RandomRefusals(providers.Provider):
    """Refuses a share of all requests with a bare 429, whoever asks."""

    share: float = 0.3

    def refusal(self, now: float) -> providers.Answer | None:
        return providers.Answer(429, providers.REFUSAL_S) if self.rng.random() < self.share else None


@dataclass
class StaleReplica(providers.Provider):
    """After 30 s a share of all requests meets a replica that does not know the key."""

    share: float = 0.1

    def refusal(self, now: float) -> providers.Answer | None:
        stale = now > 30 and self.rng.random() < self.share
        return providers.Answer(401, providers.REFUSAL_S) if stale else None


@dataclass
class Row:
    number: int
    asked: int = 0
    attempt: int = 1
    refused: RowRefusals = field(default_factory=RowRefusals)


@dataclass
class Run:
    """How one run ended.

    Attributes:
        failed: requests of each row that failed, by its number.
        others_s: when the last row was answered.
        stopped: why the run could not go on; "" when it went to its end.
    """

    answered: int = 0
    requests: int = 0
    failed: dict[int, int] = field(default_factory=dict)
    others_s: float = 0.0
    ended_s: float = 0.0
    stopped: str = ""


class RowSimulation:
    """One run; `always` are the rows that are refused each time, with a bare 429 or with `retry_after_s`."""

    def __init__(
        self,
        provider: providers.Provider,
        rows: int,
        seed: int,
        *,
        always: Collection[int] = (),
        concurrency: int = 64,
        retry_after_s: float | None = None,
        status: int = 429,
        latency: float = 1.0,
    ) -> None:
        self._provider = provider
        self._rng = random.Random(seed + 1)
        self._controller = RateController(
            EndpointLimits(concurrency=concurrency), now=0.0, rng=random.Random(seed)
        )
        self._health = RunHealth()
        self._always = frozenset(always)
        self._retry_after_s = retry_after_s
        self._status = status
        self._latency = latency
        self._fresh = deque(Row(number) for number in range(rows))
        self._queue: deque[Row] = deque()
        self._behind: deque[Row] = deque()
        self._left = rows
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._now = 0.0
        self._timer = math.inf
        self.run_ = Run()

    def run(self) -> Run:
        self._send()
        while self._events and self._now < GIVE_UP_S and not self.run_.stopped:
            self._now, _, callback = heapq.heappop(self._events)
            callback()
            self._send()
        self.run_.ended_s = self._now
        return self.run_

    def _at(self, when: float, callback: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, callback))

    def _send(self) -> None:
        """As the pool: who waits, then who goes behind, then rows that are not begun, a worker a slot."""
        if self.run_.stopped:
            return
        for queue in (self._queue, self._behind):
            while queue and (permit := self._permit()) is not None:
                self._dispatch(queue.popleft(), permit)
        while self._fresh and self._controller.in_flight + len(self._queue) < self._controller.window:
            row = self._fresh.popleft()
            if not self._queue and (permit := self._permit()) is not None:
                self._dispatch(row, permit)
            else:
                self._queue.append(row)

    def _permit(self) -> Permit | None:
        got = self._controller.try_acquire(self._now, int(providers.PROMPT), 1_000)
        if isinstance(got, Permit):
            return got
        if math.isfinite(got) and self._now + got < self._timer - 1e-9:
            self._timer = self._now + got
            self._at(self._timer + 1e-4, self._woken)
        return None

    def _woken(self) -> None:
        self._timer = math.inf

    def _dispatch(self, row: Row, permit: Permit) -> None:
        row.asked += 1
        self.run_.requests += 1
        if row.number in self._always:
            answer = providers.Answer(
                self._status, self._latency * providers.REFUSAL_S, retry_after_s=self._retry_after_s
            )
        else:
            answer = self._provider.submit(self._now)
            answer.after_s *= self._latency
        self._provider.in_service += answer.status == 200
        self._at(self._now + answer.after_s, lambda: self._answered(row, permit, answer))

    def _answered(self, row: Row, permit: Permit, answer: providers.Answer) -> None:
        if answer.status == 200:
            self._provider.in_service -= 1
            self._health.succeeded(permit.sent_at)
            self._controller.succeeded(permit, self._now, int(answer.tokens), answer.headers)
            self.run_.answered += 1
            self.run_.others_s = self._now
            self._left -= 1
            return
        kind = {500: OutcomeClass.RETRY, 401: OutcomeClass.STOP}.get(answer.status, OutcomeClass.WAIT)
        verdict = self._health.judged(
            Judged(kind, CLASSES[answer.status], answer.status, "refused", answer.retry_after_s),
            row.refused,
            sent_at=permit.sent_at,
            now=self._now,
            max_pause_s=21_600.0,
            left=None if self._fresh else self._left,
        )
        behind_s = booked(verdict, self._controller, permit, self._now)
        match verdict.outcome.kind:
            case OutcomeClass.STOP:
                self.run_.stopped = verdict.outcome.error_class
            case OutcomeClass.FAIL:
                self.run_.failed[row.number] = row.asked
                self._left -= 1
            case OutcomeClass.RETRY:
                row.attempt += 1
                wait = self._rng.uniform(0, min(60.0, 2.0**row.attempt))
                self._at(self._now + wait, lambda: self._queue.appendleft(row))
            case _:
                wait = behind_s * self._rng.uniform(1.0, 1.05)
                self._at(self._now + wait, lambda: self._behind.append(row))


HONEST: dict[str, tuple[Callable[[int], providers.Provider], int]] = {
    **MODELS,
    "30 % of requests refused": (lambda seed: RandomRefusals(seed, share=0.3), 2_000),
    "45 % of requests refused": (lambda seed: RandomRefusals(seed, share=0.45), 2_000),
    "60 % of requests refused": (lambda seed: RandomRefusals(seed, share=0.6), 1_000),
    "10 % of requests refused": (lambda seed: RandomRefusals(seed, share=0.1), 2_000),
    "3 % of requests refused": (lambda seed: RandomRefusals(seed, share=0.03), 4_000),
    "10 % of requests meet a stale key": (lambda seed: StaleReplica(seed, share=0.1), 2_000),
    "50 % of requests meet a stale key": (lambda seed: StaleReplica(seed, share=0.5), 2_000),
}

PLACES: dict[str, Callable[[random.Random], Collection[int]]] = {
    "at random": lambda rng: rng.sample(range(400), 8),
    "every 50th": lambda _: range(0, 400, 50),
    "every 50th, the last row too": lambda _: range(49, 400, 50),
    "together": lambda _: range(100, 108),
    "the first": lambda _: range(8),
}


def honest(name: str, seed: int, *, concurrency: int = 64) -> Run:
    """A run against a provider that refuses whoever asks."""
    make, rows = HONEST[name]
    return RowSimulation(make(seed), rows, seed, concurrency=concurrency).run()


def eight_of_400(place: str, seed: int, *, refused: bool = True, **more: object) -> Run:
    """400 rows, of which 8 are always refused; or the 392 others alone."""
    always = set(PLACES[place](random.Random(seed)))
    if not refused:
        return RowSimulation(providers.Provider(seed), 392, seed, **more).run()  # type: ignore[arg-type]
    return RowSimulation(providers.Provider(seed), 400, seed, always=always, **more).run()  # type: ignore[arg-type]


def main() -> None:
    """Prints both tables."""
    given = options(__doc__, seeds=20, first=1001, skip_honest=False, only="")
    seeds = range(given.first, given.first + given.seeds)
    table_head("provider model", "rows failed", "stopped", "requests per row", "makespan ÷ ideal")
    for name in HONEST:
        if given.skip_honest or given.only not in name:
            continue
        runs = [honest(name, seed) for seed in seeds]
        rows = HONEST[name][1]
        ideals = [HONEST[name][0](seed).ideal_s(rows, 64) for seed in seeds]
        spans = [run.others_s / ideal for run, ideal in zip(runs, ideals, strict=True)]
        lost = sum(rows - run.answered for run in runs if not run.stopped)
        table_row(
            name,
            lost,
            f"{sum(bool(run.stopped) for run in runs)} of {len(runs)}",
            f"{statistics.mean(run.requests / rows for run in runs):.3f}",
            f"{statistics.mean(spans):.2f} ({max(spans):.2f})",
        )
    print()
    table_head(
        "8 of 400 always refused",
        "others ÷ without them: mean (worst)",
        "requests each: most",
        "failed",
        "answered, least",
        "end",
    )
    for place in PLACES:
        for label, more in {
            "64 at once": {"concurrency": 64},
            "16 at once": {"concurrency": 16},
            "4 at once": {"concurrency": 4},
            "16, answers in 0.1 s": {"concurrency": 16, "latency": 0.05},
            "16, Retry-After 1": {"concurrency": 16, "retry_after_s": 1.0},
            "16, 503": {"concurrency": 16, "status": 503},
        }.items():
            runs = [eight_of_400(place, seed, **more) for seed in seeds]
            alone = {"concurrency": more["concurrency"], "latency": more.get("latency", 1.0)}
            spans = [
                run.others_s / eight_of_400(place, seed, refused=False, **alone).others_s
                for run, seed in zip(runs, seeds, strict=True)
            ]
            most = max(max(run.failed.values(), default=0) for run in runs)
            table_row(
                f"{place}, {label}",
                f"{statistics.mean(spans):.2f} ({max(spans):.2f})",
                most,
                f"{min(len(run.failed) for run in runs)}-{max(len(run.failed) for run in runs)}",
                min(run.answered for run in runs),
                f"{max(run.ended_s for run in runs):.0f} s",
            )


if __name__ == "__main__":
    main()

"""The rate controller against simulated providers: rows lost, requests per row, makespan ÷ ideal.

    python -m tests.proofs.sim.run --seeds 100

The controller is `batchlab.dispatch.rate.controller.RateController`, the class that ships; time is a
number. Tuning was done on seeds 1-8; the table uses seeds from 1001 on.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from batchlab.dispatch.rate.controller import Permit, RateController
from batchlab.job.limits import START_WINDOW, EndpointLimits
from tests.proofs.arguments import ended, options, table_head, table_row
from tests.proofs.sim import providers

CONCURRENCY = 64
MAX_ATTEMPTS = 6
WORKERS = 4 * CONCURRENCY
GIVE_UP_S = 86_400.0


@dataclass
class Outcome:
    """One simulated run."""

    rows: int
    done: int
    lost: int
    requests: int
    makespan_s: float
    ideal_s: float
    worst_in_flight: int
    refused: int
    sent_while_closed: int


MODELS: dict[str, tuple[Callable[[int], providers.Provider], int]] = {
    "concurrency cap 5, bare 429": (lambda seed: providers.ConcurrencyCap(seed, cap=5), 1_000),
    "concurrency cap 32, bare 429": (lambda seed: providers.ConcurrencyCap(seed, cap=32), 2_000),
    "rpm 600, headers": (lambda seed: providers.Bucket(seed), 2_000),
    "rpm 600, bare 429": (lambda seed: providers.Bucket(seed, with_headers=False), 2_000),
    "rpm 600, Retry-After 0": (lambda seed: providers.Bucket(seed, retry_after="zero"), 2_000),
    "rpm 600, Retry-After as a date": (
        lambda seed: providers.Bucket(seed, retry_after="date"),
        2_000,
    ),
    "rpm 600, lying headers": (lambda seed: providers.Bucket(seed, with_headers=False, lying=True), 2_000),
    "tpm 120k, headers": (lambda seed: providers.TokenBucket(seed), 2_000),
    "tpm 120k, bare 429": (lambda seed: providers.TokenBucket(seed, with_headers=False), 2_000),
    "fixed minute, bare 429": (lambda seed: providers.FixedWindow(seed), 2_400),
    "sliding minute, bare 429": (lambda seed: providers.FixedWindow(seed, sliding=True), 2_400),
    "FIFO queue of 64": (lambda seed: providers.FifoQueue(seed), 2_000),
    "FIFO queue of 64, known by its preset": (lambda seed: providers.FifoQueue(seed), 2_000),
    "cap 40 falls to 8 for 200 s": (lambda seed: providers.LimitDrop(seed), 4_000),
    "outage of 600 s (503)": (lambda seed: providers.Outage(seed), 2_000),
    "5 % random 500": (lambda seed: providers.RandomErrors(seed), 2_000),
    "rpm 600, refused charged, headers": (lambda seed: providers.Bucket(seed, charge_refused=True), 2_000),
    "rpm 600, refused charged, bare": (
        lambda seed: providers.Bucket(seed, charge_refused=True, with_headers=False),
        2_000,
    ),
}

# What starts with the whole concurrency: on a server that refuses nothing this is a fixed semaphore.
QUEUES = {"FIFO queue of 64, known by its preset"}


class Simulation:
    """One run of `rows` rows; events are (time, number, callback)."""

    def __init__(
        self, provider: providers.Provider, rows: int, seed: int, *, start: int = START_WINDOW
    ) -> None:
        self._provider = provider
        self._rng = random.Random(seed + 1)
        self.controller = RateController(
            EndpointLimits(concurrency=CONCURRENCY, start=start), now=0.0, rng=random.Random(seed)
        )
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._waiting: deque[tuple[int, int]] = deque((row, 1) for row in range(rows))
        self._now = 0.0
        self._timer = math.inf
        self.outcome = Outcome(rows, 0, 0, 0, 0.0, provider.ideal_s(rows, CONCURRENCY), 0, 0, 0)

    def run(self) -> Outcome:
        """Runs to the end, or for a virtual day."""
        self._send()
        while self._events and self._now < GIVE_UP_S:
            self._now, _, callback = heapq.heappop(self._events)
            callback()
            self._send()
        out = self.outcome
        assert out.requests == out.done + out.refused + self.controller.in_flight, (
            "a request is answered or refused"
        )
        return out

    def _at(self, when: float, callback: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, callback))

    def _send(self) -> None:
        while self._waiting:
            closed = self._now < self.controller.gate_until
            got = self.controller.try_acquire(self._now, int(providers.PROMPT), 1_000)
            if not isinstance(got, Permit):
                if math.isfinite(got) and self._now + got < self._timer - 1e-9:
                    self._timer = self._now + got
                    self._at(self._timer + 1e-4, self._woken)
                return
            self.outcome.sent_while_closed += closed
            row, attempt = self._waiting.popleft()
            self._dispatch(row, attempt, got)

    def _woken(self) -> None:
        self._timer = math.inf

    def _dispatch(self, row: int, attempt: int, permit: Permit) -> None:
        self.outcome.requests += 1
        answer = self._provider.submit(self._now)
        self._provider.in_service += answer.status == 200
        self.outcome.worst_in_flight = max(self.outcome.worst_in_flight, self.controller.in_flight)
        self._at(self._now + answer.after_s, lambda: self._answered(row, attempt, permit, answer))

    def _answered(self, row: int, attempt: int, permit: Permit, answer: providers.Answer) -> None:
        self.outcome.refused += answer.status != 200
        if answer.status == 200:
            self._provider.in_service -= 1
            self.controller.succeeded(permit, self._now, int(answer.tokens), answer.headers)
            self.outcome.done += 1
            self.outcome.makespan_s = self._now
        elif answer.status in {429, 503}:
            self.controller.limited(permit, self._now, answer.retry_after_s, status=answer.status)
            self._waiting.appendleft((row, attempt))
        else:
            self.controller.failed(permit, self._now)
            if attempt >= MAX_ATTEMPTS:
                self.outcome.lost += 1
            else:
                wait = self._rng.uniform(0, min(60.0, 2.0**attempt))
                self._at(self._now + wait, lambda: self._waiting.appendleft((row, attempt + 1)))


def simulate(name: str, seed: int, *, rows: int | None = None) -> Outcome:
    """One run of a model."""
    make, usual = MODELS[name]
    start = CONCURRENCY if name in QUEUES else START_WINDOW
    outcome = Simulation(make(seed), rows or usual, seed, start=start).run()
    outcome.lost = outcome.rows - outcome.done
    return outcome


def main() -> None:
    """Prints the table."""
    given = options(__doc__, seeds=20, first=1001, only="")
    print(f"seeds {given.first}-{given.first + given.seeds - 1}, concurrency {CONCURRENCY}")
    table_head(
        "provider model", "rows lost", "requests per row: mean (worst)", "makespan ÷ ideal: mean (worst)"
    )
    wrong = []
    for name in MODELS:
        if given.only not in name:
            continue
        runs = [simulate(name, seed) for seed in range(given.first, given.first + given.seeds)]
        lost = sum(run.lost for run in runs)
        per_row = [run.requests / run.rows for run in runs]
        makespan = [run.makespan_s / run.ideal_s for run in runs]
        table_row(
            name,
            lost,
            f"{statistics.mean(per_row):.3f} ({max(per_row):.3f})",
            f"{statistics.mean(makespan):.2f} ({max(makespan):.2f})",
        )
        wrong += [f"{name}: {lost} rows lost"] if lost else []
    ended(wrong)


if __name__ == "__main__":
    main()

"""How right the forecast is that a run keeps from its first rows, against a simulated queue.

    python -m tests.proofs.costs.early --seeds 100

Rows take lognormal times in a window that starts at 4 and grows by one an answer, as on a provider that
never refuses; the forecast sees what a progress display sees, four times a second or at each answer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from statistics import fmean, median

import numpy as np

from batchlab.run_state import RunState
from batchlab.runner.rows.first_rows import FirstRows
from batchlab.totals import Totals
from tests.proofs.arguments import ended, options, table_head, table_row

START_S, LATENCY_S = 0.3, 1.0
SIGMAS = (0.05, 0.3, 0.6, 1.0)
RUNS = ((40, 4), (100, 4), (200, 16), (500, 16), (500, 64), (2_000, 64))  # rows, concurrency


def states(latencies: np.ndarray, concurrency: int, *, before: int = 0) -> Iterator[RunState]:
    """How far a run is at its start and after each answer; `before` rows more were final when it began."""
    rows, window, begun, now = len(latencies), min(4, concurrency), 0, START_S
    ends: list[float] = []
    yield _state(before, rows, 0, 0, 0.0)
    for done in range(rows + 1):
        while begun < rows and len(ends) < window:
            heapq.heappush(ends, now + float(latencies[begun]))
            begun += 1
        yield _state(before, rows, done, len(ends), now)
        if ends:
            now = heapq.heappop(ends)
            window = min(window + 1, concurrency)


def _state(before: int, rows: int, done: int, in_flight: int, now: float) -> RunState:
    return RunState(
        rows=before + rows,
        earlier=Totals(rows=before, ok=before),
        added=Totals(rows=done, ok=done, rows_without_cost=done),
        synced=done,
        window=in_flight,
        in_flight=in_flight,
        elapsed_s=now,
    )


def ratios(rows: int, concurrency: int, sigma: float, seed: int) -> tuple[float, float] | None:
    """The forecast ÷ the truth, and that of the time so far ÷ share of rows; None without a forecast."""
    latencies = np.random.default_rng(seed).lognormal(math.log(LATENCY_S), sigma, rows)
    watching, made = FirstRows(), None
    for state in states(latencies, concurrency):
        if made is None and (made := watching.forecast(state)) is not None:
            by_pace = state.elapsed_s / made.share
    return None if made is None else (made.elapsed_s / state.elapsed_s, by_pace / state.elapsed_s)


def error(found: list[float]) -> float:
    """How far off, up or down, as a factor: 1.0 is right."""
    return math.exp(fmean(abs(math.log(ratio)) for ratio in found))


def main() -> None:
    """Prints a table; exits with 1 when the forecast is worse than the mere pace."""
    given = options(__doc__, seeds=100)
    table_head("rows, concurrency", "latency sigma", "forecast ÷ truth, median (off by)", "mere pace")
    every: list[tuple[float, float]] = []
    for rows, concurrency in RUNS:
        for sigma in SIGMAS:
            found = [pair for seed in range(given.seeds) if (pair := ratios(rows, concurrency, sigma, seed))]
            every += found
            cells = [f"{median(one):.2f} ({error(list(one)):.2f} ×)" for one in zip(*found, strict=True)]
            table_row(f"{rows:,}, {concurrency}", sigma, *cells)
    ours, pace = (error(list(one)) for one in zip(*every, strict=True))
    print(f"all: off by {ours:.2f} ×, the mere pace {pace:.2f} ×")
    ended([] if ours < pace else ["the forecast is no better than the mere pace"])


if __name__ == "__main__":
    main()

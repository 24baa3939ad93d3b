"""How often the 90 % interval of a pilot contains the truth, over simulated jobs with skewed lengths.

    python -m tests.proofs.costs.coverage --jobs 400

Each job draws prompts and answers, a pilot samples some rows, and tokens, cost and duration of all
rows are compared with the forecast. The duration is that of a queue with so many places in flight.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

import numpy as np

from batchlab.costs.forecast import Forecast, Measured, forecast, strata
from batchlab.costs.price import Price
from batchlab.records import Usage
from tests.proofs.arguments import ended, options, table_head, table_row

PRICE = Price(0.5, 2.0)
CONCURRENCY = 32
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def lognormal(sigma: float) -> Draw:
    """Answers whose length does not depend on the prompt."""

    def draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.lognormal(5, 0.6, rows), rng.lognormal(5, sigma, rows).clip(1, 4_096)

    return draw


def following(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are longer for longer prompts."""
    prompts = rng.lognormal(6, 1.0, rows)
    return prompts, (prompts * rng.lognormal(-1, 0.5, rows)).clip(1, 8_192)


def two_kinds(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Nine short answers for one long one."""
    long = rng.random(rows) < 0.1
    return rng.lognormal(5, 0.4, rows), np.where(
        long, rng.normal(900, 150, rows), rng.normal(40, 8, rows)
    ).clip(1)


JOBS: dict[str, Draw] = {
    "lognormal, sigma 0.5": lognormal(0.5),
    "lognormal, sigma 1.0": lognormal(1.0),
    "lognormal, sigma 1.5, capped at 4,096": lognormal(1.5),
    "longer prompt, longer answer": following,
    "nine short, one long": two_kinds,
}


def job(draw: Draw, seed: int, rows: int, pilot: int) -> dict[str, tuple[bool, float]]:
    """For tokens, cost and duration of one job: whether the truth is inside, and the width ÷ truth."""
    rng = np.random.default_rng(seed)
    prompts, answers = (values.round().astype(int) + 1 for values in draw(rng, rows))
    latency = 0.4 + answers * 0.02 * rng.lognormal(0, 0.2, rows)
    sizes = {row: int(size) * 4 for row, size in enumerate(prompts)}
    found = strata(sizes, pilot, random.Random(seed))
    usages = [
        Usage(prompt_tokens=int(p), completion_tokens=int(a)) for p, a in zip(prompts, answers, strict=True)
    ]
    costs = [PRICE.cost_usd(usage) or 0.0 for usage in usages]
    measured = {
        row: Measured(int(prompts[row]), int(answers[row]), costs[row], float(latency[row]))
        for stratum in found
        for row in stratum.sampled
    }
    said: Forecast = forecast(found, measured, concurrency=CONCURRENCY, seen=None, rpm=None, tpm=None)
    assert said.cost_usd is not None
    truths = {
        "prompt tokens": (said.prompt_tokens, float(prompts.sum())),
        "completion tokens": (said.completion_tokens, float(answers.sum())),
        "cost": (said.cost_usd, sum(costs)),
        "duration": (said.duration_s, makespan(latency)),
    }
    return {
        name: (given.low <= truth <= given.high, (given.high - given.low) / truth)
        for name, (given, truth) in truths.items()
    }


def makespan(latency: np.ndarray) -> float:
    """How long a queue with CONCURRENCY places takes, in input order."""
    free = [0.0] * CONCURRENCY
    for seconds in latency:
        heapq.heapreplace(free, free[0] + float(seconds))
    return max(free)


def coverage(draw: Draw, jobs: int, rows: int, pilot: int) -> dict[str, tuple[float, float]]:
    """Share of jobs whose truth was inside, and the mean width ÷ truth, for each quantity."""
    inside: Counter[str] = Counter()
    widths: Counter[str] = Counter()
    for seed in range(jobs):
        for name, (hit, width) in job(draw, seed, rows, pilot).items():
            inside[name] += hit
            widths[name] += width
    return {name: (inside[name] / jobs, widths[name] / jobs) for name in widths}


def main() -> None:
    """Prints the table; exits with 1 when any share is under 85 %."""
    given = options(__doc__, jobs=400, rows=2_000, pilot=100)
    rare = []
    what = f"lengths ({given.jobs} jobs of {given.rows:,} rows, pilot of {given.pilot})"
    table_head(what, "completion tokens", "cost", "duration")
    for name, draw in JOBS.items():
        found = coverage(draw, given.jobs, given.rows, given.pilot)
        cells = [
            f"{share:.0%} (±{width / 2:.0%})"
            for share, width in (found[key] for key in ("completion tokens", "cost", "duration"))
        ]
        rare += [f"{name}: {key} in {share:.0%} of jobs" for key, (share, _) in found.items() if share < 0.85]
        table_row(name, *cells)
    ended(rare)


if __name__ == "__main__":
    main()

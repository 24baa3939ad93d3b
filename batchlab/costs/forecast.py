"""What a run will come to, from a stratified random sample of its rows that were really sent.

The interval is a stratified bootstrap-t with finite-population correction (Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, ch. 12): answer lengths are skewed, and a plain percentile
bootstrap of so few rows is too narrow.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from batchlab.costs.lengths import Lengths, coarse
from batchlab.costs.pilot_pace import SeenPace

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.9
RESAMPLES = 2_000
MOST_STRATA, ROWS_A_STRATUM = 5, 8


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast: in 9 of 10 cases the truth is between `low` and `high`."""

    low: float
    middle: float
    high: float

    def plus(self, known: float) -> Range:
        """The range when `known` comes on top."""
        return Range(self.low + known, self.middle + known, self.high + known)

    def at_least(self, known: float) -> Range:
        """The range when so much is certain."""
        return Range(max(self.low, known), max(self.middle, known), max(self.high, known))

    def per(self, divisor: float) -> Range:
        """Each bound divided."""
        return Range(self.low / divisor, self.middle / divisor, self.high / divisor)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Rows with prompts of similar size: how many there are, and which of them are sampled.

    Attributes:
        size: of all its prompts together (UTF-8 bytes); `sizes` are those of the sampled rows.
    """

    rows: int
    size: int
    sampled: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one sampled row took; nothing for a row that failed unpaid."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the whole run comes to, earlier rows included; `cost_usd` is None for an unknown price."""

    sampled: int
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range | None
    duration_s: Range
    bound_by: str

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the run directory."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Forecast:
        """What `to_json` gave."""
        ranges = {
            name: Range(**data[name]) if data[name] is not None else None
            for name in ("prompt_tokens", "completion_tokens", "cost_usd", "duration_s")
        }
        return cls(**{**data, **ranges})


class Sizes(Protocol):
    """Rows and their prompt sizes, in row order, as often as they are asked for; a dict is one."""

    def items(self) -> Iterable[tuple[int, int]]:
        """(row, size) of each."""
        ...


def strata(sizes: Sizes, wanted: int, rng: random.Random) -> list[Stratum]:
    """A stratified random sample of about `wanted` rows; `sizes` gives each row's prompt size.

    Goes over the rows twice, and keeps none but those of the sample.
    """
    lengths = Lengths()
    for _, size in sizes.items():  # noqa: PERF102 - no dict
        lengths.add(size)
    counts = lengths.counts()
    # of the rows in order of size, and of row among equals: which place is next
    places = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
    rows = sum(counts.values())
    wanted = min(wanted, rows)
    count = max(1, min(MOST_STRATA, wanted // ROWS_A_STRATUM))
    starts = [rows * number // count for number in range(count + 1)]
    drawn: set[int] = set()
    for number in range(count):
        group = range(starts[number], starts[number + 1])
        share = wanted * (number + 1) // count - wanted * number // count
        drawn.update(rng.sample(group, min(share, len(group))))
    sums, sampled = [0] * count, [list[tuple[int, int]]() for _ in range(count)]
    for row, size in sizes.items():
        place = places[coarse(size)]
        places[coarse(size)] = place + 1
        number = bisect.bisect_right(starts, place, hi=count) - 1
        sums[number] += size
        if place in drawn:
            sampled[number].append((row, size))
    return [
        Stratum(
            starts[number + 1] - starts[number],
            sums[number],
            tuple(row for row, _ in found),
            tuple(size for _, size in found),
        )
        for number, found in enumerate(sampled)
    ]


def total_range(groups: Sequence[np.ndarray], rows: Sequence[int], more_variance: float = 0.0) -> Range:
    """The sum over all rows of all strata, of which the values in `groups` were measured.

    Args:
        more_variance: of something that is added to the sum and is uncertain too.
    """
    import numpy as np

    theta, variance = 0.0, more_variance
    drawn, spread = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    rng = np.random.default_rng(0)
    for values, count in zip(groups, rows, strict=True):
        n = len(values)
        if n == 0:
            continue
        theta += count * float(values.mean())
        if n < 2 or n == count:
            drawn += count * float(values.mean())
            continue
        scale = count**2 / n * (1 - n / count)
        variance += scale * float(values.var(ddof=1))
        again = values[rng.integers(0, n, (RESAMPLES, n))]
        drawn += count * again.mean(axis=1)
        spread += scale * again.var(axis=1, ddof=1)
    usable = spread > 0
    if variance <= 0 or not usable.any():
        return Range(theta, theta, theta)
    ratios = (drawn[usable] - theta) / np.sqrt(spread[usable])
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = math.sqrt(variance)
    return Range(theta - float(high) * error, theta, max(theta, theta - float(low) * error))


def forecast(
    found: Sequence[Stratum],
    measured: Mapping[int, Measured],
    *,
    concurrency: int,
    seen: SeenPace | None,
    rpm: float | None,
    tpm: float | None,
) -> Forecast:
    """The rows of all strata together.

    Args:
        concurrency: most requests in flight that the run may have.
        seen: how many the sample had, and whether the provider held it to that; None when it was too small
            to tell. What was not held may go as fast as the run may, or no faster than the sample.
    """
    import numpy as np

    rows = [stratum.rows for stratum in found]
    sizes, size = [one for stratum in found for one in stratum.sizes], sum(one.size for one in found)
    groups = [[measured.get(row, Measured()) for row in stratum.sampled] for stratum in found]

    def values_of(name: str) -> list[np.ndarray]:
        return [np.array([float(getattr(one, name)) for one in group]) for group in groups]

    def ranged(values: list[np.ndarray], slope: float = 0.0, deviation: float = 0.0) -> Range:
        """The total of values of which `slope` a byte of the prompt is known, give or take `deviation`."""
        rests = [
            group - slope * np.array(stratum.sizes) for group, stratum in zip(values, found, strict=True)
        ]
        ahead = size - sum(
            stratum.rows * sum(stratum.sizes) / len(stratum.sizes) for stratum in found if stratum.sizes
        )
        total = total_range(rests, rows, (deviation * ahead) ** 2).plus(slope * size)
        return total.at_least(sum(float(one.sum()) for one in values))

    every = [one for group in groups for one in group]
    prompts, answers = values_of("prompt_tokens"), values_of("completion_tokens")
    # prompts are known: only what a byte of them comes to is not
    slope, deviation = _slope(np.array(sizes), np.concatenate(prompts))
    prompt, completion = ranged(prompts, slope, deviation), ranged(answers)
    cost = None
    if all(one.cost_usd is not None for one in every):
        costs = values_of("cost_usd")
        usd = _usd_a_prompt_token(*map(np.concatenate, (prompts, answers, costs)))
        cost = ranged(costs, usd * slope, usd * deviation)
    busy = ranged(values_of("latency_s"))
    longest = _longest([one.latency_s for one in every], sum(rows))
    slots = min(concurrency, sum(rows))
    slowest = min(float(slots), seen.at_once) if seen is not None else float(slots)
    is_held = seen is not None and seen.is_held and slowest < slots
    quickest = slowest if is_held else float(slots)
    by = seen.described() if seen is not None and is_held else f"concurrency {concurrency}"
    candidates = {
        by: Range(
            busy.low / quickest, busy.middle / quickest + longest / 4, busy.high / max(1, slowest) + longest
        )
    }
    if rpm:
        paced = sum(rows) * 60 / rpm
        candidates[f"rpm {rpm:g}"] = Range(paced, paced, paced + longest)
    if tpm:
        tokens = Range(
            prompt.low + completion.low, prompt.middle + completion.middle, prompt.high + completion.high
        )
        candidates[f"tpm {tpm:g}"] = tokens.per(tpm / 60)
    binding = max(candidates, key=lambda name: candidates[name].middle)
    return Forecast(len(every), prompt, completion, cost, candidates[binding], binding)


def _slope(sizes: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """By how much a value grows with each byte of the prompt, by least squares, and its standard error."""
    centred = sizes - sizes.mean()
    spread = float((centred**2).sum())
    if spread <= 0:
        return 0.0, 0.0
    slope = float((centred * values).sum()) / spread
    rest = values - values.mean() - slope * centred
    return slope, math.sqrt(float((rest**2).sum()) / max(1, len(values) - 2) / spread)


def _usd_a_prompt_token(prompts: np.ndarray, answers: np.ndarray, costs: np.ndarray) -> float:
    """What one more prompt token costs; cost is linear in both kinds of tokens."""
    import numpy as np

    (usd, _), *_ = np.linalg.lstsq(np.column_stack([prompts, answers]), costs)
    return max(0.0, float(usd))


def _longest(latencies: Sequence[float], rows: int) -> float:
    """Seconds of the slowest of so many rows, as lognormal latencies would have it; it may come last."""
    logs = [math.log(latency) for latency in latencies if latency > 0]
    if not logs:
        return 0.0
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in logs) / max(1, len(logs) - 1))
    return max(*latencies, math.exp(mean + deviation * math.sqrt(2 * math.log(max(rows, 2)))))

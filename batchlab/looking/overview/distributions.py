"""How values are distributed: a histogram, and what half, 90 % and 99 % of the rows are below. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 30
SKEWED = 20  # p99 ÷ p50 from which an axis is logarithmic


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution.

    Attributes:
        edges: one more than `counts`.
        log: whether edges grow by a factor; what is less than the first one is in the first bin.
        n: values.
    """

    name: str
    title: str
    unit: str
    edges: Sequence[float]
    counts: Sequence[int]
    log: bool
    p50: float
    p90: float
    p99: float
    max: float
    n: int

    def json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


def distribution(
    name: str, title: str, unit: str, values: npt.NDArray[Any], *, is_whole: bool = False
) -> Distribution:
    """That of values that are not negative, and whole numbers if so; there is one at least."""
    p50, p90, p99 = (float(one) for one in np.quantile(values, [0.5, 0.9, 0.99]))
    low, high = float(values.min()), float(values.max())
    log = p50 > 0 and p99 / p50 > SKEWED
    if log:
        low = max(low, p50 / 1_000, 1e-9)
        edges: npt.NDArray[Any] = np.geomspace(low, max(high, low * 1.01), BINS + 1)
    elif is_whole:  # each bin holds as many whole numbers as any other
        width = int((high - low) // BINS) + 1
        edges = low - 0.5 + width * np.arange(int((high - low) // width) + 2)
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    inner = edges[1:-1] if is_whole else edges[1:-1].astype(values.dtype)  # or all values would be copied
    places = np.searchsorted(inner, values, side="right")
    counts = np.bincount(places, minlength=len(edges) - 1)
    return Distribution(
        name, title, unit, edges.tolist(), counts.tolist(), log, p50, p90, p99, high, len(values)
    )

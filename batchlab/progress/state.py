"""Where a run stands, how fast it goes, and what it will cost at that pace."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FORECAST_ROWS = 20  # fewer say nothing about the cost of the others
RATE_WINDOW_S = 30.0  # rows/s and tokens/s are those of the last half minute


@dataclass(frozen=True, slots=True)
class ProgressState:
    """Where a run stands. `saved` rows have a final result that is synced to disk.

    Attributes:
        ok, truncated, filtered, invalid, failed: rows by their status; `empty` is of those that are answered.
        cost_usd: so far, waste included; None when it is not known (`Totals.spent_usd`).
        unpriced: rows that cost something more, and nobody knows how much.
        oldest: id and age (s) of the oldest of the last rows, once no other is left to begin.
        copied: rows that got the answer to an identical request, unpaid; `copies` will have, as far as known.
        window: requests that may be in flight; `why` says what holds it down, "" if nothing.
    """

    saved: int
    total: int
    ok: int
    failed: int
    retried: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    window: int
    in_flight: int
    why: str
    elapsed_s: float
    oldest: tuple[tuple[str, float], ...] = ()
    copied: int = 0
    copies: int = 0
    truncated: int = 0
    filtered: int = 0
    invalid: int = 0
    empty: int = 0
    unpriced: int = 0

    @property
    def answered(self) -> int:
        """Rows with an answer of any status."""
        return self.ok + self.truncated + self.filtered + self.invalid


@dataclass(frozen=True, slots=True)
class Rates:
    """Rows and tokens a second of late, the seconds left at that pace, and what all rows will cost.

    `eta_s` and `final_cost_usd` are None while they are not known.
    """

    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    final_cost_usd: float | None = None


class Speed:
    """Rates over the last half minute; rows saved by earlier runs do not count."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()

    def rates(self, state: ProgressState) -> Rates:
        tokens = state.prompt_tokens + state.completion_tokens
        self._points.append((state.elapsed_s, state.saved, tokens))
        while len(self._points) > 2 and state.elapsed_s - self._points[0][0] > RATE_WINDOW_S:
            self._points.popleft()
        began, saved, tokens_then = self._points[0]
        seconds = state.elapsed_s - began
        if seconds <= 0:
            return Rates(0.0, 0.0, None, final_cost(state))
        rows = max(0.0, (state.saved - saved) / seconds)
        eta = (state.total - state.saved) / rows if rows else None
        return Rates(rows, max(0.0, (tokens - tokens_then) / seconds), eta, final_cost(state))


def final_cost(state: ProgressState) -> float | None:
    """What the whole run will cost if the other rows cost what those before them did; None if unknown."""
    done = state.answered + state.failed - state.copied
    if state.cost_usd is None or state.unpriced or done < FORECAST_ROWS:
        return None
    return state.cost_usd * (state.total - max(state.copied, state.copies)) / done

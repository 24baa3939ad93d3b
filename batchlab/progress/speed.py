"""How fast a run goes, and what is left of it at that pace."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from batchlab.run_state import RunState

PATIENCE_S = 5.0  # a pause without a row that takes longer leaves no pace to go by
RATE_WINDOW_S = 30.0  # rows/s and tokens/s are those of the last half minute


@dataclass(frozen=True, slots=True)
class Rates:
    """Rows and tokens a second of late, the seconds left at that pace, and what all rows will cost.

    `eta_s` and `final_cost_usd` are None while they are not known; so is `eta_s` while nothing comes because
    the provider does not answer: it would grow by the second. Of batches nobody knows when they end, and
    then many rows come at once.
    """

    rows_per_s: float
    tokens_per_s: float
    eta_s: float | None
    final_cost_usd: float | None = None


class Speed:
    """Rates over the last half minute; rows saved by earlier runs do not count."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()
        self._came_at, self._saved = 0.0, -1  # when the last row came, and how many had

    def rates(self, state: RunState) -> Rates:
        totals = state.totals
        tokens = totals.prompt_tokens + totals.completion_tokens
        self._points.append((state.elapsed_s, state.saved, tokens))
        while len(self._points) > 2 and state.elapsed_s - self._points[0][0] > RATE_WINDOW_S:
            self._points.popleft()
        if state.saved != self._saved:
            self._came_at, self._saved = state.elapsed_s, state.saved
        held = state.paused and state.elapsed_s - self._came_at > PATIENCE_S
        waits = bool(state.batches) or state.silent_s > 0 or held
        began, saved, tokens_then = self._points[0]
        seconds = state.elapsed_s - began
        if seconds <= 0:
            return Rates(0.0, 0.0, None, state.final_usd)
        rows = max(0.0, (state.saved - saved) / seconds)
        eta = (state.rows - state.saved) / rows if rows and not waits else None
        return Rates(rows, max(0.0, (tokens - tokens_then) / seconds), eta, state.final_usd)

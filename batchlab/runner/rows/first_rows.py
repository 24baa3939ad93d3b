"""What a run looks like coming to, by its own first rows."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.looking.phrases import duration, money
from batchlab.run_state import RunState
from batchlab.totals import Totals

EARLY_SHARE, EARLY_ROWS = 0.1, 20  # of the rows to send: from there on a forecast is kept


@dataclass(frozen=True, slots=True)
class EarlyForecast:
    """What a run looked like coming to when its first rows were done: cost, and time of this invocation."""

    share: float
    cost_usd: float | None
    elapsed_s: float

    def lines(self, totals: Totals, elapsed_s: float) -> list[str]:
        """How the run's end compares."""
        spent = totals.whole_usd
        cost, came = "", ""
        if self.cost_usd and spent is not None:
            cost, came = f"{money(self.cost_usd)} and ", f"{money(spent)} and "
        said = f"forecast at {self.share:.0%}: {cost}{duration(self.elapsed_s)}"
        return [f"{said}; it came to {came}{duration(elapsed_s)}"]


class FirstRows:
    """Watches the first rows of an invocation, and says once what all of them look like coming to.

    Time is not rows ÷ pace so far: the window grows, and what is in flight is half done. By Little's law
    a row takes as much work (seconds in flight) as was done for each row that is through, and the work
    left goes on at as many at once as of late.
    """

    def __init__(self) -> None:
        self._seen_s = 0.0
        self._in_flight = 0
        self._work_s = 0.0  # the integral of in_flight over time
        self._moment = 0.0  # that of in_flight x time, in which the latest counts most

    def forecast(self, state: RunState) -> EarlyForecast | None:
        """None too early, and also too late: once no row is left to begin, pace says nothing."""
        self._watch(state)
        done, to_do = state.asked_now, state.to_ask_now
        if done < EARLY_ROWS or done < EARLY_SHARE * to_do or done + state.in_flight >= to_do:
            return None
        at_once = max(state.in_flight, 2 * self._moment / state.elapsed_s**2)
        if at_once > 0:
            left_s = max(0.0, self._work_s / done * to_do - self._work_s) / at_once
        else:
            left_s = state.elapsed_s * (to_do / done - 1)
        return EarlyForecast(done / to_do, state.final_usd, state.elapsed_s + left_s)

    def _watch(self, state: RunState) -> None:
        now, before = state.elapsed_s, self._seen_s
        work_s = (now - before) * (state.in_flight + self._in_flight) / 2
        self._work_s += work_s
        self._moment += work_s * (now + before) / 2
        self._seen_s, self._in_flight = now, state.in_flight

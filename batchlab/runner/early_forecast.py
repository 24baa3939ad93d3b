"""The forecast that a pilot left in a run directory, and how the run compares with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from batchlab.costs.forecast import Forecast
from batchlab.looking.summary import duration, money
from batchlab.run_state import RunState
from batchlab.store.disk.files import atomic_write
from batchlab.totals import Totals

FILE = "forecast.json"


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


def save_forecast(run_dir: Path, made: Forecast, content_hash: str) -> None:
    """Keeps a forecast for the end of the run, if its input is then still the same."""
    data = {"content_hash": content_hash, "forecast": made.to_json()}
    atomic_write(run_dir / FILE, json.dumps(data).encode())


def saved_forecast(run_dir: Path, content_hash: str) -> Forecast | None:
    """The forecast that a pilot of the same input left in a run directory."""
    try:
        data = json.loads((run_dir / FILE).read_bytes())
        return Forecast.from_json(data["forecast"]) if data["content_hash"] == content_hash else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def outcome_lines(made: Forecast | None, totals: Totals, rows: int) -> list[str]:
    """How a finished run compares with the forecast of its pilot."""
    spent = totals.whole_usd
    if made is None or made.cost_usd is None or spent is None or totals.rows < rows:
        return []
    low, high = made.cost_usd.low, made.cost_usd.high
    where = "inside" if low <= spent <= high else "outside"
    said = f"forecast: {money(low)} to {money(high)}, from a pilot of {made.sampled} rows"
    return [f"{said}; {money(spent)} is {where}"]

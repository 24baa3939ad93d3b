"""The forecast that a pilot left in a run directory, and how the run compares with it."""

from __future__ import annotations

import json
from pathlib import Path

from batchlab.costs.forecast import Forecast
from batchlab.counts import counted
from batchlab.looking.phrases import money
from batchlab.store.disk.files import atomic_write, file_content
from batchlab.totals import Totals

FILE = "forecast.json"


def save_forecast(run_dir: Path, made: Forecast, content_hash: str) -> None:
    """Keeps a forecast for the end of the run, if its input is then still the same."""
    data = {"content_hash": content_hash, "forecast": made.to_json()}
    atomic_write(run_dir / FILE, json.dumps(data).encode())


def saved_forecast(run_dir: Path, content_hash: str) -> Forecast | None:
    """The forecast that a pilot of the same input left in a run directory."""
    try:
        data = json.loads(file_content(run_dir / FILE))
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
    said = f"forecast: {money(low)} to {money(high)}, from a pilot of {counted(made.sampled, 'row')}"
    return [f"{said}; {money(spent)} is {where}"]

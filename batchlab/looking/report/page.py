"""One self-contained HTML page about a run: it opens from disk, without a network."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from batchlab.finite import json_and_nulls
from batchlab.looking.report import plots
from batchlab.looking.report.data import ReportData, RowView

# control characters, and those that turn the direction of what is read
_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
UNKNOWN = "?"


def page(data: ReportData) -> str:
    """The page. Everything that comes from a provider or from the input is escaped."""
    rows = data.rows
    distributions = [
        (rows["latency_ms"] / 1_000, "Latency of a request", "seconds", "latency"),
        (rows["ttft_ms"] / 1_000, "Time to the first token", "seconds", "ttft"),
        (rows["prompt_tokens"], "Prompt tokens of a row", "tokens", "prompt"),
        (rows["completion_tokens"], "Completion tokens of a row", "tokens", "completion"),
    ]
    drawn = [
        Markup(plots.distribution(values, title, unit, name))  # noqa: S704 - matplotlib escapes its texts
        for values, title, unit, name in distributions
        if values.notna().any()
    ]
    over_time = None
    if rows["finished_at"].notna().any():
        over_time = Markup(plots.throughput(rows, data.history))  # noqa: S704
    by = [
        (column, Markup(plots.cost_by(column, table, f"by{number}")), _by_lines(table))  # noqa: S704
        for number, (column, table) in enumerate(data.by)
    ]
    sample = [_json_row(row) for row in data.sample]
    text = _template().render(
        data=data,
        over_time=over_time,
        distributions=drawn,
        by=by,
        statuses=sorted({row.status for row in data.sample}),
        sample=Markup(json_and_nulls(sample)[0].translate(_IN_SCRIPT)),  # noqa: S704
    )
    return _STEERING.sub("\ufffd", text)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"usd": _usd, "count": _count, "seconds": _seconds}
    return environment.from_string(
        (files("batchlab.looking.report") / "page.html.j2").read_text(encoding="utf-8")
    )


def _by_lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    lines = table.assign(value=[str(value) or "(none)" for value in table["value"]])
    return [{str(name): value for name, value in line.items()} for line in lines.to_dict("records")]


def _json_row(row: RowView) -> dict[str, Any]:
    texts = {
        name: _STEERING.sub("\ufffd", value) for name, value in asdict(row).items() if isinstance(value, str)
    }
    facts = [
        f"{_count(row.prompt_tokens)} prompt + {_count(row.completion_tokens)} completion tokens",
        _usd(row.cost_usd),
        _seconds(row.latency_s),
    ]
    return {"row": row.row_id, **texts, "facts": " · ".join(facts)}


def _usd(value: float | None) -> str:
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"${value:,.2f}" if value >= 100 else f"${value:,.6f}"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None or math.isnan(value) else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.2f} s"

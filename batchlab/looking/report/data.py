"""What a report page is made of, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RowView:
    """One row as the page shows it; texts are as they came, unescaped.

    Attributes:
        prompt: what was asked, as text; "" when it is not known.
        error: class and message of a failed row, "" for an answered one.
        cost_usd, latency_s, completion_tokens: None when not known.
    """

    row_id: int
    custom_id: str
    status: str
    prompt: str
    completion: str
    error: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class ErrorView:
    """One class of errors: how many rows, and a few of them as (custom_id, message)."""

    error_class: str
    rows: int
    examples: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a page shows.

    Attributes:
        title: name of the run.
        facts: headline numbers as (label, text), most important first.
        missing: sentences that say what the run does not have (no usage, no price, no answer, ...).
        rows: a line a row with `status` (str), `finished_at` (Unix s), `latency_ms`, `queue_ms`, `ttft_ms`,
            `prompt_tokens`, `completion_tokens`, `cost_usd`; all numbers float64, NaN when not known.
        history: a line a few seconds with `at` (Unix s), `window`, `in_flight`, `limited` and `errors`
            (counts since the line before), `paused` (bool); empty when the run left none.
        batches: a line each: (where, id, rows, ordered at, how long it took or "", what came of it).
        by: cost by column: (column, table with `value`, `rows`, `kept_usd`, `wasted_usd`,
            `prompt_tokens`, `completion_tokens`), at most 20 lines each.
        errors: most frequent first.
        slowest, dearest: up to 10 rows each.
        sample: rows to browse.
    """

    title: str
    facts: list[tuple[str, str]]
    rows: pd.DataFrame
    history: pd.DataFrame
    missing: list[str] = field(default_factory=list)
    batches: list[tuple[str, str, int, str, str, str]] = field(default_factory=list)
    by: list[tuple[str, pd.DataFrame]] = field(default_factory=list)
    errors: list[ErrorView] = field(default_factory=list)
    slowest: list[RowView] = field(default_factory=list)
    dearest: list[RowView] = field(default_factory=list)
    sample: list[RowView] = field(default_factory=list)

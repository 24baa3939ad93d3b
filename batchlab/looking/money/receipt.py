"""The receipt of a run that was answered by lanes: read from its parts, some rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from batchlab.arrow import pa
from batchlab.costs.price import Price
from batchlab.counts import agreeing, counted
from batchlab.job import Job
from batchlab.lanes.receipt import Answered, Lane, Line, Receipt, receipt
from batchlab.looking.money.answer_prices import Kind, prices_of
from batchlab.looking.money.why_live import WhyLive
from batchlab.looking.phrases import money
from batchlab.protocol.batches.table import dialect_of
from batchlab.records import Usage
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView

MINUTE_US = 60_000_000
_LANES: dict[str | None, Lane] = {"flex": "flex", "batch": "batch"}


class _Row(NamedTuple):
    """A row's columns that money depends on, by their names, and when it was asked (microseconds)."""

    status: str
    model: str | None
    endpoint: str | None
    lane: str | None
    usage_raw: str | None
    cost_usd: float | None
    cost_wasted_usd: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    wasted_prompt_tokens: int | None
    wasted_completion_tokens: int | None
    row_id: int
    asked_us: int | None

    @property
    def minute(self) -> int | None:
        """In which it was asked: no price changes within one."""
        return None if self.asked_us is None else self.asked_us // MINUTE_US

    @property
    def asked_at(self) -> float | None:
        """When it was asked (Unix seconds)."""
        return None if self.asked_us is None else self.asked_us / 1e6


def receipt_of(run: RunView, job: Job, *, by_rows: bool = False) -> Receipt | None:
    """The receipt of a finished run; None for one whose rows were all asked live.

    Args:
        job: what the run went on with last.
        by_rows: look for other lanes in the rows themselves, whatever the job says: each part is read.
    """
    asked = {job.limits_at(endpoint).lane for endpoint in job.endpoint}
    by_lanes = asked != {"live"} or run.layout.batches.exists()
    if not by_lanes and not by_rows:
        return None
    limits = job.limits
    had_deadline = limits.deadline_s is not None or limits.deadline_at is not None
    made = receipt(_answered(run, job), had_deadline=had_deadline)
    return made if by_lanes or {line.lane for line in made.lines} - {"live"} else None


def receipt_lines(made: Receipt | None) -> list[str]:
    """What it says to a person; nothing of what nobody knows."""
    if made is None or not made.rows:
        return []
    lines = []
    saved = made.saved_usd
    if made.is_assumed and made.list_usd is not None:
        lines.append(
            f"list price: {money(made.list_usd)}; paid at most {money(made.paid_usd)}: nobody states a price "
            "of batches, so they count as live calls ({price.batch} states it)"
        )
    if saved is not None and made.list_usd is not None:
        share = f" ({saved / made.list_usd:.0%})" if made.list_usd > 0 and saved >= 0 else ""
        word = "saved" if saved >= 0 else "more by"
        paid = f"paid {money(made.paid_usd)}, {word} {money(abs(saved))}{share}"
        lines.append(f"list price: {money(made.list_usd)}; {paid}")
    several = len({line.endpoint for line in made.lines}) > 1
    lines.append(f"by lane: {'; '.join(_line(line, several=several) for line in made.lines)}")
    if made.deadline_usd:
        rows = f"{counted(made.hurried, 'row')} {agreeing(made.hurried, 'was', 'were')}"
        lines.append(
            f"the deadline cost {money(made.deadline_usd)}: {rows} not left to wait for a cheaper lane"
        )
    return lines


def _line(line: Line, *, several: bool) -> str:
    at = f" at {line.endpoint}" if several else ""
    paid = "" if line.paid_usd is None else f", {money(line.paid_usd)}"
    return f"{line.lane}{at} {counted(line.rows, 'row')}{paid}"


@dataclass(slots=True)
class _Sum:
    """Rows of a lane of an endpoint; what is unknown of one is NaN in the sum."""

    rows: int = 0
    is_assumed: bool = False
    paid: float = 0.0
    list: float = 0.0
    least: float = 0.0


def _answered(run: RunView, job: Job) -> Iterator[Answered]:
    sums: dict[tuple[str, Lane, bool], _Sum] = {}
    prices, reasons = _Prices(job), WhyLive(run)
    for row in _rows(run):
        is_kept = row.status != "failed"
        has_waste = bool(row.wasted_prompt_tokens or row.wasted_completion_tokens)
        silent = row.prompt_tokens is None and row.completion_tokens is None
        if is_kept and silent and row.cost_usd == 0.0:
            continue  # a copy of another row's answer
        if not is_kept and not has_waste:
            continue
        used, paid = [], 0.0
        if is_kept:
            used.append(_usage(row))
            paid += _or_nan(row.cost_usd)
        if has_waste:
            used.append(Usage(row.wasted_prompt_tokens or 0, row.wasted_completion_tokens or 0))
            paid += _or_nan(row.cost_wasted_usd)
        listed, others, is_stated = prices.of(row.model, row.endpoint, row.minute)
        lane = _LANES.get(row.lane, "live")
        is_hurried = lane != "batch" and reasons.is_hurried(row.row_id, row.asked_at)
        total = sums.setdefault((row.endpoint or "?", lane, is_hurried), _Sum())
        total.rows += is_kept
        total.is_assumed |= lane == "batch" and not is_stated
        total.paid += paid
        total.list += _usd(listed, used)
        total.least += min([paid, *(_usd(one, used) for one in others)])
    for (endpoint, lane, is_hurried), one in sums.items():
        yield Answered(
            endpoint,
            lane,
            one.rows,
            _known(one.paid),
            _known(one.list),
            _known(one.least),
            is_hurried,
            one.is_assumed,
        )


class _Prices:
    """The list price of an answer, those of cheaper lanes that it could have waited for, and whether somebody
    states what it costs in a batch."""

    def __init__(self, job: Job) -> None:
        price_of = prices_of(job)
        ways: dict[str, list[str]] = {}
        for endpoint in job.endpoint:
            if job.limits_at(endpoint).lane == "cheapest":
                own = ways[endpoint.name] = ["flex"] if endpoint.flex_tier is not None else []
                own += ["batch"] if dialect_of(job, endpoint) is not None else []

        @cache
        def of(
            model: str | None, endpoint: str | None, minute: int | None
        ) -> tuple[Price | None, list[Price], bool]:
            kind = Kind(model, endpoint, None, (minute or 0) * 60.0, "live")
            others = [price_of(kind, way) for way in ways.get(endpoint or "", ())]
            is_stated = price_of(kind, "batch") is not None
            return price_of(kind), [one for one in others if one is not None], is_stated

        self.of = of


def _rows(run: RunView) -> Iterator[_Row]:
    prefix, names = run.manifest.prefix, _Row._fields[:-1]
    for index in sorted(run.sealed()):
        for table in part_tables(run.part(index), [prefix + name for name in (*names, "started_at")]):
            have = set(table.column_names)  # a part of before there were lanes has no such column
            columns = [
                table[prefix + name].to_pylist() if prefix + name in have else [None] * table.num_rows
                for name in names
            ]
            asked_us = table[prefix + "started_at"].cast(pa.int64()).to_pylist()
            yield from map(_Row._make, zip(*columns, asked_us, strict=True))


def _usage(row: _Row) -> Usage:
    return Usage(
        row.prompt_tokens,
        row.completion_tokens,
        cached_tokens=row.cached_tokens,
        cache_write_tokens=row.cache_write_tokens,
        reasoning_tokens=row.reasoning_tokens,
        raw=row.usage_raw,
    )


def _usd(price: Price | None, used: list[Usage]) -> float:
    return sum(_or_nan(None if price is None else price.cost_usd(one)) for one in used)


def _or_nan(usd: float | None) -> float:
    return math.nan if usd is None else usd


def _known(usd: float) -> float | None:
    return None if math.isnan(usd) else usd

"""What charts are drawn from, of some rows: sums by group, times, and the values that are distributed.

A tally of each shard is kept, about 25 bytes a row, so that a run that grows is not read again; all of
them together make that of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from batchlab.arrow import pa, pc
from batchlab.protocol.finish import unknown_finish
from batchlab.totals import Totals

# distributed, each with its title and unit
VALUES: Mapping[str, tuple[str, str]] = {
    "latency_ms": ("Latency", "ms"),
    "queue_ms": ("Wait for a slot", "ms"),
    "ttft_ms": ("Time to the first token", "ms"),
    "prompt_tokens": ("Prompt tokens", "tokens"),
    "completion_tokens": ("Completion tokens", "tokens"),
    "cost_usd": ("Cost of a row", "USD"),
}
GROUPS = ("status", "model", "endpoint", "lane", "service_tier", "day")
READ = (
    "status", "error_class", "finish_reason", "model", "endpoint", "lane", "service_tier", "started_at",
    "finished_at", "wasted_prompt_tokens", "wasted_completion_tokens", "cost_wasted_usd", *VALUES,
)  # fmt: skip
MOST_VALUES = 1_000  # of a column by which rows are grouped: with more it is none
VALUE_CHARS = 200
DAY_S, MICRO = 86_400, 1_000_000
_SUMMED = (
    "rows", "failed", "reused", "rows_without_cost", "waste_without_cost", "prompt_tokens",
    "completion_tokens", "cost_usd", "cost_wasted_usd",
)  # fmt: skip
Floats: TypeAlias = npt.NDArray[np.float64]
Whole: TypeAlias = npt.NDArray[np.int64]


@dataclass(slots=True)
class Tally:
    """What some rows with a final result come to.

    Attributes:
        groups: by column, by value: the sums of `_SUMMED`.
        values: by name of `VALUES`, those that are known; float32.
        seconds: when rows were finished, Unix seconds in order; `done` and `failed` are how many then.
        began: Unix seconds when the first request was sent.
        errors: failed rows by class.
        odd: rows by (what, finish word) of those whose answers are not as they should be.
    """

    rows: int = 0
    groups: dict[str, dict[str, Floats]] = field(default_factory=dict)
    values: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)
    seconds: Whole = field(default_factory=lambda: np.empty(0, np.int64))
    done: Whole = field(default_factory=lambda: np.empty(0, np.int64))
    failed: Whole = field(default_factory=lambda: np.empty(0, np.int64))
    began: float | None = None
    errors: Counter[str] = field(default_factory=Counter)
    odd: Counter[tuple[str, str]] = field(default_factory=Counter)

    def totals(self, column: str) -> dict[str, Totals]:
        """The sums of each value of a column."""
        return {value: _totals(sums) for value, sums in self.groups.get(column, {}).items()}


def together(tallies: Iterable[Tally]) -> Tally:
    """Those of several shards, as one."""
    made, times = Tally(), list[tuple[Whole, Whole, Whole]]()
    over: set[str] = set()
    for one in tallies:
        made.rows += one.rows
        for column, values in one.groups.items():
            mine = made.groups.setdefault(column, {})
            for value, sums in values.items():
                mine[value] = mine[value] + sums if value in mine else sums
            if len(mine) > MOST_VALUES:
                over.add(column)
        for name, arrays in one.values.items():
            made.values.setdefault(name, []).extend(arrays)
        times.append((one.seconds, one.done, one.failed))
        made.began = min((at for at in (made.began, one.began) if at is not None), default=None)
        made.errors.update(one.errors)
        made.odd.update(one.odd)
    for column in over:
        del made.groups[column]
    if times:
        made.seconds, done, failed = (np.concatenate(column) for column in zip(*times, strict=True))
        made.seconds, (made.done, made.failed) = _by_second(made.seconds, [done, failed])
    return made


def tally_of(table: pa.Table, columns: Sequence[str] = (), *, model: str = "?") -> Tally:
    """That of a table with the result columns of `READ` by their bare names; pending rows do not count.

    Args:
        columns: of the input or the job's schema, to group by; their names are not those of `READ`.
        model: which answered where the provider named none.
    """
    status = _plain(table["status"])
    table = table.filter(pc.not_equal(status, "pending"))
    made = Tally(rows=table.num_rows)
    if not table.num_rows:
        return made
    status = _plain(table["status"])
    is_failed = pc.equal(status, "failed").to_numpy()
    sums = _sums(table, is_failed)
    finished = _seconds(table, "finished_at")
    keys = {name: _plain(table[name]) for name in (*GROUPS, *columns) if name in table.column_names}
    keys["model"] = pc.fill_null(keys["model"], model) if "model" in keys else keys["status"]
    for name, key in keys.items():
        made.groups[name] = _grouped(key, sums)
    made.groups["day"] = _days(finished, sums)
    for name in VALUES:
        if name in table.column_names:
            known = _numbers(table, name)
            known = known[known >= 0]  # NaN is not
            if len(known):
                made.values[name] = [known.astype(np.float32)]
    known = ~np.isnan(finished)
    seconds = np.floor(finished[known]).astype(np.int64)
    ones = np.ones(len(seconds), np.int64)
    made.seconds, (made.done, made.failed) = _by_second(seconds, [ones, is_failed[known].astype(np.int64)])
    began = _seconds(table, "started_at")
    if (~np.isnan(began)).any():
        made.began = float(np.nanmin(began))
    _judge(made, table, status)
    return made


def _sums(table: pa.Table, is_failed: npt.NDArray[np.bool_]) -> list[Floats | None]:
    """A weight for each of `_SUMMED`, None for 1 a row: as `columns.results.columns_totals` counts them."""
    prompt, completion = _numbers(table, "prompt_tokens"), _numbers(table, "completion_tokens")
    cost, wasted_usd = _numbers(table, "cost_usd"), _numbers(table, "cost_wasted_usd")
    reused = np.isnan(prompt) & np.isnan(completion) & (cost == 0.0) & ~is_failed
    tokens = (_numbers(table, name) for name in ("wasted_prompt_tokens", "wasted_completion_tokens"))
    wasted = sum(np.nan_to_num(one) for one in tokens) > 0
    return [
        None,
        is_failed.astype(np.float64),
        reused.astype(np.float64),
        (~is_failed & np.isnan(cost)).astype(np.float64),
        (wasted & np.isnan(wasted_usd)).astype(np.float64),
        *(np.nan_to_num(one) for one in (prompt, completion, cost, wasted_usd)),
    ]


def _grouped(key: pa.ChunkedArray, sums: Sequence[Floats | None]) -> dict[str, Floats]:
    encoded = key.combine_chunks().dictionary_encode(null_encoding="encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    words = encoded.dictionary.to_pylist()
    if len(words) > MOST_VALUES:
        return {str(number): np.zeros(len(_SUMMED)) for number in range(MOST_VALUES + 1)}  # too many to tell
    counted = np.array([np.bincount(codes, weights, len(words)) for weights in sums]).T
    made: dict[str, Floats] = {}
    for word, own in zip(words, counted, strict=True):
        value = "" if word is None else str(word)[:VALUE_CHARS]
        made[value] = made[value] + own if value in made else own
    return made


def _days(finished: Floats, sums: Sequence[Floats | None]) -> dict[str, Floats]:
    """By the day on which a row was finished, in UTC."""
    days = np.where(np.isnan(finished), -1, np.floor(np.nan_to_num(finished) / DAY_S)).astype(np.int64)
    numbers, codes = np.unique(days, return_inverse=True)
    counted = np.array([np.bincount(codes, weights, len(numbers)) for weights in sums]).T
    return {_day(int(number)): own for number, own in zip(numbers, counted, strict=True)}


def _day(number: int) -> str:
    if number < 0:
        return ""
    try:
        return datetime.fromtimestamp(number * DAY_S, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "?"


def _judge(made: Tally, table: pa.Table, status: pa.ChunkedArray) -> None:
    """Counts what is wrong: errors, and answers that are not as they should be."""

    def pairs(name: str) -> Counter[tuple[str, str]]:
        if name not in table.column_names:
            return Counter()
        both = pa.table({"status": status, "word": pc.fill_null(_plain(table[name]), "")})
        counts = both.group_by(["status", "word"]).aggregate([([], "count_all")])
        columns = (counts[column].to_pylist() for column in ("status", "word", "count_all"))
        return Counter({(one, word): count for one, word, count in zip(*columns, strict=True)})

    for (one, word), count in pairs("error_class").items():
        if one == "failed":
            made.errors[word or "?"] += count
        elif word == "empty":
            made.odd["empty", ""] += count
    for (one, word), count in pairs("finish_reason").items():
        if one in ("truncated", "filtered", "invalid"):
            made.odd[one, word[:VALUE_CHARS]] += count
        if one != "failed" and unknown_finish(word) is not None:
            made.odd["unknown finish", word[:VALUE_CHARS]] += count


def _by_second(seconds: Whole, counts: Sequence[Whole]) -> tuple[Whole, list[Whole]]:
    """Each second once, in order, with the sums of its counts."""
    if not len(seconds):
        return seconds, list(counts)
    distinct, places = np.unique(seconds, return_inverse=True)
    return distinct, [np.bincount(places, one, len(distinct)).astype(np.int64) for one in counts]


def _numbers(table: pa.Table, name: str) -> Floats:
    """A column as numbers, NaN where it is null or not there."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _seconds(table: pa.Table, name: str) -> Floats:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    micros = table[name].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return np.asarray(micros.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64) / MICRO


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text."""
    return column.cast(pa.string())


def _totals(sums: Floats) -> Totals:
    counted = dict(zip(_SUMMED, sums.tolist(), strict=True))
    usd = {name: counted.pop(name) for name in ("cost_usd", "cost_wasted_usd")}
    return Totals(**{name: round(count) for name, count in counted.items()}, **usd)

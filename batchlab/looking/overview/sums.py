"""Sums over a run's rows by any column, from what its index holds: `Totals` of each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from batchlab.looking.browse.columns import UNREADABLE, WORDS
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.overview.groups import Groups
from batchlab.totals import Totals

CHUNK_ROWS = 1 << 17  # that are summed at a time: a dozen weights of each are held
DAY_S = 86_400
MOST_DAYS = 3_660
_SUMMED = (
    "rows", "failed", "reused", "rows_without_cost", "waste_without_cost", "prompt_tokens",
    "completion_tokens", "cost_usd", "cost_wasted_usd",
)  # fmt: skip
Sums = Mapping[str, Totals]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def final_rows(index: RowIndex) -> Mask:
    """Which rows have a final result that can be read."""
    return ~np.isin(index["status"], index.codes("status", ["pending", UNREADABLE]))


def sums_by(index: RowIndex, groups: Groups, is_final: Mask, model: str) -> dict[str, Sums]:
    """The totals of each value, by column: of the index's words, of days, and of the columns of `groups`.

    Args:
        is_final: which rows count.
        model: which answered where the provider named none.
    """
    names: dict[str, list[str]] = {}
    for word in WORDS:
        unsaid = model if word == "model" else ""
        names[word] = [unsaid if name is None else name for name in index.words[word].names]
    for name in groups.names:
        column = groups.coded(name)
        assert column is not None, "it is one of its names"
        names[name] = list(column.values)
    first_day, days = _days(index, is_final)
    names["day"] = ["", *(_day(first_day + number) for number in range(days))]
    made = {name: np.zeros((len(_SUMMED), len(values))) for name, values in names.items()}
    for rows in _chunks(index.rows):
        final = is_final[rows]
        if not final.any():
            continue
        weights = _weights(index, groups, rows, final)
        for name, sums in made.items():
            codes = _codes(index, groups, name, rows, first_day, days)[final]
            for number, weight in enumerate(weights):
                own = np.bincount(codes, weight, sums.shape[1])
                sums[number] += own[: sums.shape[1]]
    return {name: _told(names[name], sums) for name, sums in made.items()}


def counts_by_two(index: RowIndex, is_final: Mask, first: str, second: str) -> dict[tuple[str, str], int]:
    """How many rows have two words of the index at once; a word that was not said is ""."""
    wide = len(index.words[second].names)
    names = [[name or "" for name in index.words[one].names] for one in (first, second)]
    found: dict[tuple[str, str], int] = {}
    for rows in _chunks(index.rows):
        both = index[first][rows].astype(np.int64) * wide + index[second][rows]
        codes, counts = np.unique(both[is_final[rows]], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            pair = names[0][code // wide], names[1][code % wide]
            found[pair] = found.get(pair, 0) + count
    return found


def _chunks(rows: int) -> Iterator[slice]:
    for first in range(0, rows, CHUNK_ROWS):
        yield slice(first, min(rows, first + CHUNK_ROWS))


def _weights(index: RowIndex, groups: Groups, rows: slice, final: Mask) -> list[Floats | None]:
    """What each row counts for in each of `_SUMMED`, None for 1: as `columns_totals` of a part has it."""
    prompt, completion = (index[name][rows][final] for name in ("prompt_tokens", "completion_tokens"))
    cost, wasted_usd = (index[name][rows][final] for name in ("cost_usd", "cost_wasted_usd"))
    failed = np.isin(index["status"][rows][final], index.codes("status", ["failed"]))
    unpriced = np.isnan(cost)
    flags = [
        failed,
        (prompt < 0) & (completion < 0) & (cost == 0.0) & ~failed,
        ~failed & unpriced,
        groups.wasted[rows][final] & np.isnan(wasted_usd),
    ]
    sums: list[Any] = [
        np.maximum(prompt, 0),
        np.maximum(completion, 0),
        *map(np.nan_to_num, (cost, wasted_usd)),
    ]
    return [None, *(one.astype(np.float64) for one in (*flags, *sums))]


def _codes(
    index: RowIndex, groups: Groups, name: str, rows: slice, first_day: int, days: int
) -> npt.NDArray[Any]:
    if name == "day":
        finished = index["finished_at"][rows]
        return np.where(np.isnan(finished), 0, np.clip(_day_numbers(finished) - first_day, 0, days - 1) + 1)
    column = groups.coded(name) if name not in WORDS else None
    return index[name][rows] if column is None else column.codes[rows]


def _days(index: RowIndex, is_final: Mask) -> tuple[int, int]:
    """The first day on which a row was finished, since 1970 in UTC, and how many there are from it on."""
    finished = index["finished_at"][is_final]
    if not len(finished) or np.isnan(finished).all():
        return 0, 0
    low, high = (float(one) for one in (np.nanmin(finished), np.nanmax(finished)))
    first = int(low // DAY_S)
    return first, min(MOST_DAYS, int(high // DAY_S) - first + 1)


def _day_numbers(finished: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = np.floor(np.nan_to_num(finished) / DAY_S).astype(np.int64)
    return numbers


def _day(number: int) -> str:
    try:
        return datetime.fromtimestamp(number * DAY_S, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "?"


def _told(names: list[str], sums: Floats) -> Sums:
    """The totals of those values that a row has."""
    found: dict[str, Totals] = {}
    for name, own in zip(names, sums.T, strict=True):
        counted = dict(zip(_SUMMED, own.tolist(), strict=True))
        if counted["rows"]:
            usd = {one: counted.pop(one) for one in ("cost_usd", "cost_wasted_usd")}
            totals = Totals(**{one: round(count) for one, count in counted.items()}, **usd)
            found[name] = found[name] + totals if name in found else totals
    return found

"""The books of runs, and of any Parquet file with usage columns: loaded for `cost` and `report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batchlab.costs.price import DETAIL, Price
from batchlab.counts import counted
from batchlab.errors import UsageError
from batchlab.looking.labels.placed import LABEL, NOTE, READ, column_names, labelled
from batchlab.looking.labels.store import Labels
from batchlab.looking.money.answer_prices import Kind, prices_of
from batchlab.looking.money.cost_table import (
    LOST,
    NUMBERS,
    WAYS,
    WORDS,
    cost_table,
    prepared,
    without_price,
)
from batchlab.looking.money.given_up import given_up_lines
from batchlab.looking.money.receipt import receipt_lines, receipt_of
from batchlab.looking.opening import run_at, unchanged_input
from batchlab.looking.phrases import price_command
from batchlab.protocol.redact import printable
from batchlab.records import Shard
from batchlab.remote.storage import filesystem, store_errors
from batchlab.remote.urls import checked_url, is_url, scheme_of
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.integrity.lost import lost_records
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView
from batchlab.totals import Totals

DERIVED = ("day", "run")  # columns to group by that no file has
BY_RESULT = ("corrections", "parsed_note")  # result columns to group by that the books do not need
MOST_MODELS = 3  # that are named when their prices are not known
_WANTED = (*NUMBERS, *WORDS, "started_at", "finished_at")
# the cost that OpenRouter and others state inside the usage object, in USD
_STATED = r'"cost":\s*(?P<usd>[0-9][0-9.eE+-]*)'


@dataclass(frozen=True, slots=True)
class Costs:
    """The table of `looking.money.cost_table.cost_table`, and what a person should know of it.

    Attributes:
        receipt: lines of what lanes came to, of one finished run.
    """

    table: pd.DataFrame
    notes: list[str]
    receipt: list[str] = field(default_factory=list)


def cost_of(
    paths: Sequence[str],
    *,
    by: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    prices: Mapping[str, Price] | None = None,
    what_if: str | None = None,
) -> Costs:
    """The cost of runs and Parquet files together.

    Args:
        columns: our name → theirs, for files that name usage columns otherwise.
        prices: to try, by model.
        what_if: way to try, one of `looking.money.cost_table.WAYS`, for models without a price in `prices`.

    Raises:
        UsageError: a path is neither, or a column to group by is nowhere.
    """
    frames, books = [], []
    told: list[str] = []
    lost: list[str] = []
    for path in paths:
        run = run_at(path)
        if run is not None:
            frames += [run_frame(run, by), *_lost_frame(run)]
            books.append(prices_of(run.manifest.job))
            if len(paths) == 1 and len(run.sealed()) == len(run.manifest.plan.shards):
                told = receipt_lines(receipt_of(run, run.manifest.job, by_rows=True))
            lost += given_up_lines(run.layout)
        else:
            frames.append(_foreign_frame(path, by, columns or {}))
    rows = prepared(pd.concat(frames, ignore_index=True))
    if len(paths) == 1 and "run" not in by:
        rows = rows.drop(columns="run")

    def price_of(kind: Kind, way: str | None = None) -> Price | None:
        for book in books:
            if (price := book(kind, way)) is not None:
                return price
        return (prices or {}).get(kind.model or "", (prices or {}).get("*")) if not books else None

    way = WAYS[what_if] if what_if is not None else None
    notes = []
    if way is not None:
        notes = [
            f"what if {what_if}: no such price of {model}; its answers are not in what_if_usd"
            for model in without_price(rows, price_of, prices or {}, way)
        ]
    notes += lost
    if way is None and not prices:
        notes += _unpriced_notes(rows, paths)
    return Costs(cost_table(rows, by, price_of=price_of, what_if=prices, way=way), notes, told)


def _unpriced_notes(rows: pd.DataFrame, paths: Sequence[str]) -> list[str]:
    """How to try a price of answers that have none, though their tokens are known; none when all have one."""
    counted_tokens = rows["prompt_tokens"].notna() & rows["completion_tokens"].notna()
    missing = rows[counted_tokens & rows["cost_usd"].isna() & ~rows["status"].isin(["failed", LOST])]
    if not len(missing):
        return []
    models = sorted({model for model in missing["model"] if isinstance(model, str)})
    given = models if 0 < len(models) <= MOST_MODELS and missing["model"].notna().all() else ["*"]
    named = f" of {', '.join(printable(one) for one in models[:MOST_MODELS])}" if models else ""
    how = f"what they come to at IN and OUT USD per 1M tokens: {price_command(paths, given)}"
    return [f"?: no price{named} was known for {counted(len(missing), 'row')}; {how}"]


def run_frame(run: RunView, by: Sequence[str] = (), *, more: Sequence[str] = ()) -> pd.DataFrame:
    """Usage columns of a run's rows that have a final result, input columns named in `by`, and
    the result columns named in `more`."""
    job, plan, prefix = run.manifest.job, run.manifest.plan, run.manifest.prefix
    columns = run.manifest.expanded
    expanded = columns.names if columns is not None else []
    more = (*more, *(name for name in by if name in BY_RESULT and name not in more))
    names = column_names(run.manifest)
    called = dict(zip((LABEL, NOTE, *names), (*names, *names), strict=True))
    by_label = [name for name in by if name in called and name not in plan.columns]
    others = [name for name in by if name not in (*_WANTED, *DERIVED, *BY_RESULT, *by_label)]
    extra = _known(others, [*plan.columns, *expanded], run.path)
    ours = dict.fromkeys(name for name in (*_WANTED, *more) if name in RESULT_COLUMNS)
    wanted = [prefix + name for name in ours] + extra
    told = [prefix + name for name in READ if name not in ours] if by_label else []
    labels = Labels(run).all() if by_label else {}
    needed = any(name not in expanded for name in extra)
    sealed = run.sealed()

    def read() -> Iterator[pa.Table]:
        for shard in plan.shards:
            if shard.index in sealed:
                yield from part_tables(run.part(shard.index), [*wanted, *told])
            else:
                yield from run.shard_tables(shard, partial(input_table, run, shard, needed=needed))

    def tables() -> Iterator[pa.Table]:
        for table in labelled(run, read(), labels):
            made = _usage(table.select(wanted), prefix)
            for name in by_label:
                is_there = called[name] in table.column_names
                said = table[called[name]] if is_there else pa.nulls(table.num_rows, pa.string())
                made = made.append_column(name, said)
            yield made

    parts = list(tables())
    table = pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({"status": []})
    frame: pd.DataFrame = table.filter(pc.not_equal(table["status"], "pending")).to_pandas()
    if "model" in frame:  # a provider that names no model answered with the one that was asked
        # asked for by the job, or by every line of a batch file; of several nobody can tell
        named = plan.models[0] if len(plan.models) == 1 else "?"
        frame["model"] = frame["model"].fillna(job.request.model or named)
    return frame.assign(run=run.path.name)


def _lost_frame(run: RunView) -> list[pd.DataFrame]:
    """What a run has paid for results that were lost and given up; none when there are no such."""
    sums = [record["totals"] for record in lost_records(run.layout)]
    waste = ("attempts", "cut_off", "wasted_prompt_tokens", "wasted_completion_tokens")
    rows = [
        {name: getattr(one, name) for name in waste}
        | {"status": LOST, "run": run.path.name, "cost_wasted_usd": one.wasted_usd}
        for one in sums
        if one != Totals()
    ]
    return [pd.DataFrame(rows)] if rows else []


def input_table(run: RunView, shard: Shard, *, needed: bool) -> pa.Table:
    """The input rows of a shard; a table without their columns where the input is gone and not needed.

    Raises:
        UsageError: the input cannot be read, or is not what it was, and is needed.
    """
    try:
        return unchanged_input(run).table(shard, run.manifest.plan)
    except UsageError:
        if needed:
            raise
        return pa.table({"input": pa.nulls(shard.rows)})


def _usage(table: pa.Table, prefix: str) -> pa.Table:
    """Our names without the prefix, words as plain text, and the cost that the provider states."""
    given = table.column_names
    bare = [name.removeprefix(prefix) for name in given]
    names = [one if one in RESULT_COLUMNS else name for one, name in zip(bare, given, strict=True)]
    table = table.rename_columns(names)
    for index, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(index, column.name, table[column.name].cast(pa.string()))
    if "usage_raw" in names:
        stated = pc.struct_field(pc.extract_regex(table["usage_raw"].cast(pa.string()), _STATED), "usd")
        raw = table["usage_raw"].cast(pa.string())
        # of other answers the usage object tells no price: it is not kept
        kept = pc.if_else(pc.match_substring_regex(raw, DETAIL), raw, pa.scalar(None, pa.string()))
        table = table.set_column(names.index("usage_raw"), "usage_raw", kept)
        table = table.append_column("provider_usd", pc.cast(stated, pa.float64()))
    return table


def _foreign_frame(path: str, by: Sequence[str], columns: Mapping[str, str]) -> pd.DataFrame:
    """Usage columns of a Parquet file, or a directory of them, that somebody else may have made."""
    try:
        if is_url(path):
            with store_errors(path):
                place = filesystem(scheme_of(checked_url(path)))
                found = ds.dataset(path.partition("://")[2], format="parquet", filesystem=place)
        else:
            found = ds.dataset(path, format="parquet")
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(f"{path}: neither a run directory nor Parquet ({reason}).") from error
    have = found.schema.names
    missing = [theirs for theirs in columns.values() if theirs not in have]
    if missing:
        raise UsageError(f"{path}: {{cost.columns}}: no column {missing[0]!r}; found: {', '.join(have)}.")
    ours = {name: name for name in _WANTED if name in have} | dict(columns)
    if not any(name in ours for name in ("prompt_tokens", "completion_tokens", "cost_usd")):
        raise UsageError(
            f"{path}: no usage column; found: {', '.join(have)}. "
            "Say which is which: {cost.columns=prompt_tokens=NAME,completion_tokens=NAME}."
        )
    extra = _known([name for name in by if name not in (*ours, *WORDS, *DERIVED)], have, Path(path))
    try:
        table = found.to_table(columns=[*dict.fromkeys([*ours.values(), *extra])])
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{path}: cannot be read ({(str(error).splitlines() or ['damaged'])[0]})."
        ) from error
    picked = {name: table[theirs] for name, theirs in ours.items()} | {name: table[name] for name in extra}
    table = _usage(pa.table(picked), "")
    if "status" in table.column_names:
        table = table.filter(pc.not_equal(pc.fill_null(table["status"], "ok"), "pending"))
    frame: pd.DataFrame = table.to_pandas()
    return frame.assign(run=Path(path).name)


def _known(names: Sequence[str], have: Sequence[str], path: Path) -> list[str]:
    unknown = [name for name in names if name not in have]
    if unknown:
        raise UsageError(
            f"{path}: {unknown[0]}: no such column; there are model, status, endpoint, lane, service_tier, "
            f"day, run, error_class, {', '.join(BY_RESULT)} and {', '.join(have)}."
        )
    return list(names)

"""The rows of a run with their results, as tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from batchlab.arrow import pa, pc
from batchlab.errors import UsageError
from batchlab.inputs.sources.arrow_files.rows import arrow_rows
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.inputs.templates import RowFault
from batchlab.looking.opening import unchanged_input
from batchlab.records import Shard
from batchlab.store.view import RunView

INPUT_GONE = "input"  # the column that stands for an input which cannot be read


def run_tables(run: RunView, source: Callable[[], Source]) -> Iterator[pa.Table]:
    """Input columns and result columns of every row, in input order, a table a shard at most.

    `source` is asked for only when a shard is not sealed: sealed ones hold their input columns.
    """
    plan = run.manifest.plan
    own_ids = has_own_ids(plan)
    sealed, inputs = run.sealed(), plan.schema

    def input_table(shard: Shard) -> pa.Table:
        return source().table(shard, plan)

    for shard in plan.shards:
        tables = (_as_planned(one, inputs) for one in run.shard_tables(shard, partial(input_table, shard)))
        if own_ids and shard.index not in sealed:
            ids = line_ids(source(), shard, plan)
            yield from (with_ids(table, ids) for table in tables)
        else:
            yield from tables


def input_table(run: RunView, shard: Shard) -> tuple[pa.Table, list[Any] | None]:
    """A shard's input columns; one that says nothing when the input has gone or is another now.

    And the ids of its lines, where rows are lines of a batch file.
    """
    plan = run.manifest.plan
    try:
        with contextlib.closing(unchanged_input(run)) as source:
            return source.table(shard, plan), line_ids(source, shard, plan) if has_own_ids(plan) else None
    except UsageError:
        return pa.table({INPUT_GONE: pa.nulls(shard.rows)}), None


def row_at(table: pa.Table, index: int) -> dict[str, Any]:
    """One row's values, as a prompt of the run was made of them; what cannot be read says so in its place."""
    [row] = arrow_rows(table.slice(index, 1).combine_chunks().to_batches()[0])

    def value(name: str) -> Any:
        try:
            return row[name]
        except RowFault as fault:
            return f"({fault})"

    return {name: value(name) for name in row}


def _as_planned(table: pa.Table, inputs: pa.Schema) -> pa.Table:
    """The table with the input's columns and metadata as they were; Parquet keeps nearly all of that."""
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        index = inputs.get_field_index(field.name)
        planned = inputs.field(index) if index >= 0 else _without_field_id(field)
        fields.append(planned)
        columns.append(_as_type(column, planned.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=inputs.metadata))


def _without_field_id(field: pa.Field) -> pa.Field:
    kept = {key: value for key, value in (field.metadata or {}).items() if key != b"PARQUET:field_id"}
    return field.with_metadata(kept or None)


def _as_type(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.type.equals(wanted, check_metadata=True):
        return column
    if pa.types.is_dictionary(wanted) and not pa.types.is_dictionary(column.type):
        column = column.cast(wanted.value_type).dictionary_encode()
    return column.cast(wanted)


def has_own_ids(plan: InputPlan) -> bool:
    """Whether rows are lines of a batch file, whose ids are no input column of the parts."""
    return "custom_id" in plan.columns and "custom_id" not in plan.names_out


def line_ids(source: Source, shard: Shard, plan: InputPlan) -> list[Any]:
    """The ids of a shard's lines."""
    return [row.values.get("custom_id") for row in source.rows(shard, plan)]


def with_ids(table: pa.Table, ids: Sequence[Any]) -> pa.Table:
    """A table in which pending rows have the ids of their lines, one for each of its rows."""
    known = pa.array([one if isinstance(one, str) else None for one in ids], type=pa.string())
    pending = pc.equal(table["status"].cast(pa.string()), "pending")
    column = pc.if_else(pending, pc.coalesce(known, table["custom_id"]), table["custom_id"])
    return table.set_column(table.column_names.index("custom_id"), table.schema.field("custom_id"), column)

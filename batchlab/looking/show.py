"""Some rows of a run, whatever its state: what was asked, what was answered, and what it took.

Memory is bounded by a shard that is not sealed, and by a few rows of a part: of sealed shards only the
columns that choose rows are read as a whole, and then the groups of rows that hold chosen ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchlab.arrow import pa, pc
from batchlab.counts import counted
from batchlab.errors import BatchlabError
from batchlab.looking.rows.asked import Asked
from batchlab.looking.rows.conditions import Condition, status_mask
from batchlab.looking.rows.tables import INPUT_GONE, input_table, row_at, with_ids
from batchlab.records import Shard
from batchlab.result_columns import RESULT_COLUMNS, VECTOR_COLUMNS
from batchlab.store.parts import (
    BATCH_ROWS,
    PartFile,
    column_names,
    group_rows,
    part_schema,
    part_tables,
    whole_tables,
)
from batchlab.store.view import RunView

FEW_ROWS = 100  # of a part that are held whole at a time: an input may have images in its columns
SHOWN_NUMBERS = 6  # of an embedding
_ANSWERED_EARLY = 3  # shards that are looked into for one answer


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to show; of what is not named, all. Rows without a result only where they are named.

    Attributes:
        ranges: first and last row_id of each; None: to the end.
        ids: custom_ids.
    """

    ranges: Sequence[tuple[int, int | None]] = ()
    ids: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    conditions: Sequence[Condition] = ()

    @property
    def pending_too(self) -> bool:
        """Whether rows that have no result yet are asked for."""
        return "pending" in self.statuses if self.statuses else bool(self.ranges or self.ids)

    def touches(self, shard: Shard) -> bool:
        """Whether a shard may hold one of the rows."""
        if self.ids or not self.ranges:
            return True
        last = shard.first_row + shard.rows - 1
        return any(first <= last and (to is None or to >= shard.first_row) for first, to in self.ranges)

    def columns(self, prefix: str) -> list[str]:
        """The columns that tell which rows are meant."""
        names = [prefix + "row_id", prefix + "status"]
        names += [prefix + "custom_id"] if self.ids else []
        return list(dict.fromkeys([*names, *(one.column for one in self.conditions)]))

    def places(self, table: pa.Table, prefix: str) -> list[int]:
        """Where in a table the rows are that are meant."""
        mask = pa.chunked_array([pa.array([True] * table.num_rows, type=pa.bool_())])
        if self.statuses:
            mask = pc.and_(mask, status_mask(table, prefix + "status", self.statuses))
        elif not self.pending_too:
            mask = pc.and_(mask, pc.invert(status_mask(table, prefix + "status", frozenset({"pending"}))))
        if self.ranges or self.ids:
            mask = pc.and_(mask, self._named(table, prefix))
        for condition in self.conditions:
            mask = pc.and_(mask, condition.mask(table))
        places: list[int] = pc.indices_nonzero(mask).to_pylist()
        return places

    def _named(self, table: pa.Table, prefix: str) -> pa.ChunkedArray:
        row = table[prefix + "row_id"]
        named = pa.chunked_array([pa.array([False] * table.num_rows, type=pa.bool_())])
        for first, last in self.ranges:
            inside = pc.greater_equal(row, first)
            inside = inside if last is None else pc.and_(inside, pc.less_equal(row, last))
            named = pc.or_(named, inside)
        if self.ids:
            known = pa.array(sorted(self.ids), type=pa.string())
            named = pc.or_(named, pc.is_in(table[prefix + "custom_id"].cast(pa.string()), value_set=known))
        return named


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row, as it came.

    Attributes:
        asked: (who, what) of each message, or of each text of another request; () when it is not known.
        as_sent: False when what would be asked now is not what was: a template file has changed.
        answer: the completion, or what stands for it: tool calls, an embedding's first numbers.
        inputs: the row's own columns.
        results: the result columns by their bare names.
    """

    row_id: int
    custom_id: str
    status: str
    asked: tuple[tuple[str, str], ...]
    as_sent: bool
    answer: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """For a program: the input columns, what was asked, and each result that there is."""
        asked = [{"role": who, "content": text} for who, text in self.asked]
        results = {name: value for name, value in self.results.items() if value is not None}
        return {**results, "asked": asked, "input": dict(self.inputs)}


def shown_rows(run: RunView, wanted: Wanted, asked: Asked | None = None) -> Iterator[ShownRow]:
    """The rows that are meant, in the order of the input.

    Args:
        asked: makes what was asked; without it that is not told.

    Raises:
        CorruptRun: a part or a journal is damaged.
    """
    prefix, schema = run.manifest.prefix, run_schema(run)
    results = {prefix + name: name for name in (*RESULT_COLUMNS, *run.manifest.vectors)}
    for shard in run.manifest.plan.shards:
        if not wanted.touches(shard):
            continue
        for table in _chosen(run, shard, wanted, schema):
            # row by row: what a table of wide rows takes as Python values is many times what it is
            for place in range(table.num_rows):
                values = row_at(table, place)
                yield _shown(values, results, asked)


def run_schema(run: RunView) -> pa.Schema:
    """The columns of a run's rows, as `shown_rows` chooses among them."""
    manifest = run.manifest
    return part_schema(manifest.plan.schema, manifest.prefix, manifest.expanded, manifest.vectors)


def first_answer(run: RunView) -> ShownRow | None:
    """A row with a good answer, near the beginning; None when there is none, or it cannot be read."""
    wanted, schema = Wanted(statuses=frozenset({"ok"})), run_schema(run)
    results = {run.manifest.prefix + name: name for name in RESULT_COLUMNS}
    try:
        for shard in run.manifest.plan.shards[:_ANSWERED_EARLY]:
            for table in _chosen(run, shard, wanted, schema, batch_rows=1):
                for place in range(table.num_rows):
                    values = row_at(table, place)
                    row = _shown(values, results, None)
                    if row.answer.strip():
                        return row
    except (BatchlabError, OSError, pa.ArrowException):  # the run has ended well, and this is an extra
        return None
    return None


def _shown(values: Mapping[str, Any], results: Mapping[str, str], asked: Asked | None) -> ShownRow:
    found: dict[str, Any] = {bare: values.get(name) for name, bare in results.items()}
    inputs = {name: value for name, value in values.items() if name not in results and name != INPUT_GONE}
    made = None if asked is None else asked.of(found["row_id"], inputs, found)
    status = found["status"]
    return ShownRow(
        row_id=found["row_id"],
        custom_id=str(found["custom_id"] if found["custom_id"] is not None else found["row_id"]),
        status=status,
        asked=() if made is None else made.texts,
        as_sent=made is None or made.as_sent or status in {"pending", "failed"},
        answer=answer_text(found),
        inputs=inputs,
        results=found,
    )


def _chosen(
    run: RunView, shard: Shard, wanted: Wanted, schema: pa.Schema, batch_rows: int = FEW_ROWS
) -> Iterator[pa.Table]:
    """The rows of a shard that are meant, some at a time."""
    prefix = run.manifest.prefix
    if shard.index in run.sealed():
        yield from _chosen_of_part(run.part(shard.index), prefix, wanted, schema, batch_rows)
    elif shard.index in run.unsealed() or wanted.pending_too:
        inputs, ids = input_table(run, shard)
        for table in run.shard_tables(shard, lambda: inputs):
            told = table if ids is None else with_ids(table, ids)
            if places := wanted.places(_with_all(told, schema), prefix):
                yield told.take(places)


def _chosen_of_part(
    path: PartFile, prefix: str, wanted: Wanted, schema: pa.Schema, batch_rows: int
) -> Iterator[pa.Table]:
    counts, there = group_rows(path), set(column_names(path))
    columns = [name for name in wanted.columns(prefix) if name in there]
    places: list[int] = []
    read = 0
    for table in part_tables(path, columns):
        places += [read + place for place in wanted.places(_with_all(table, schema), prefix)]
        read += table.num_rows
    first = 0
    for group, count in enumerate(counts):
        inside = [place - first for place in places if first <= place < first + count]
        first += count
        if not inside:
            continue
        before = 0
        for table in whole_tables(path, prefix, groups=[group], batch_rows=min(batch_rows, BATCH_ROWS)):
            here = [place - before for place in inside if before <= place < before + table.num_rows]
            before += table.num_rows
            if here:
                yield table.take(here)
            if before > inside[-1]:
                break


def _with_all(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with nulls for what it lacks: an older part, or an input that is gone."""
    for one in schema:
        if one.name not in table.column_names:
            table = table.append_column(one.name, pa.nulls(table.num_rows, type=_plain(one.type)))
    return table


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def answer_text(results: Mapping[str, Any]) -> str:
    """What a row was answered, as text."""
    for name in ("completion", "refusal", "tool_calls"):
        if results[name]:
            return str(results[name])
    for name in VECTOR_COLUMNS:
        vector = results.get(name)
        if vector:
            several = name != VECTOR_COLUMNS[0]
            first = vector[0] if several else vector
            numbers = ", ".join(f"{number:.4f}" for number in first[:SHOWN_NUMBERS])
            head = f"{counted(len(vector), 'embedding')}, the first of " if several else ""
            return f"{head}{counted(len(first), 'dimension')}: {numbers}, …"
    return ""

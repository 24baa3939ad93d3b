"""The columns of a run's rows: their kinds, and which have few values, to group and to filter by."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from batchlab.arrow import pa
from batchlab.errors import CorruptRun
from batchlab.store.columns.results import result_schema
from batchlab.store.parts import PartFile, open_part
from batchlab.store.view import RunView

MOST_VALUES = 20  # a column with more is none to group by
READ_BYTES = 1 << 20  # of a column in one group of rows: what is larger has no few values
VALUE_CHARS = 80
_TRIED = 3  # parts, where the first ones are damaged
Sort: TypeAlias = Literal["text", "number", "time", "flag", "other"]


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """One column.

    Attributes:
        few: its values, as far as the first part has them, if they are few; None if not, or not known.
    """

    name: str
    kind: Sort
    few: tuple[str, ...] | None = None

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "kind": self.kind, "few": None if self.few is None else list(self.few)}


def input_columns(run: RunView) -> list[ShownColumn]:
    """The input's columns, in order. Reads a group of rows at most."""
    plan = run.manifest.plan
    kinds = {field.name: sort_of(field.type) for field in plan.schema}
    few = _few(run, plan.names_out)
    return [ShownColumn(name, kinds.get(name, "text"), few.get(name)) for name in plan.columns]


def answer_columns(run: RunView) -> list[ShownColumn]:
    """The result columns by the names that they have in this run, then those of the job's schema."""
    prefix = run.manifest.prefix
    found = [ShownColumn(prefix + field.name, sort_of(field.type)) for field in result_schema()]
    expanded = run.manifest.expanded
    if expanded is not None:
        few = _few(run, tuple(expanded.names))
        found += [ShownColumn(field.name, sort_of(field.type), few.get(field.name)) for field in expanded]
    return found


def sort_of(kind: pa.DataType) -> Sort:
    """How values of a type are compared and shown."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return "text" if is_text else "other"


def few_names(run: RunView) -> list[str]:
    """Columns of the input and of the job's schema that have few values, by a part that can be read."""
    expanded = run.manifest.expanded
    names = (*run.manifest.plan.names_out, *(expanded.names if expanded is not None else ()))
    return [name for name, values in _few(run, names).items() if len(values) > 1]


def _few(run: RunView, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    sealed = run.sealed()
    if not names:
        return {}
    # a part never changes, but for rows that are asked again, and these keep their input
    key = (run.place, run.manifest.run_id, run.manifest.generation)
    for index in sorted(sealed)[:_TRIED]:
        with contextlib.suppress(CorruptRun, pa.ArrowException):  # that is told where rows are read
            return dict(_few_in(key, _Part(run.part(index)), tuple(names)))
    return {}


class _Part:
    """A part that is the same for the cache as any other: its key tells them apart."""

    def __init__(self, path: PartFile) -> None:
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _few_in(key: tuple[str, str, int], part: _Part, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    del key
    with open_part(part.path) as file:
        if not file.num_row_groups:
            return {}
        group = file.metadata.row_group(0)
        chunks = [group.column(number) for number in range(group.num_columns)]
        sizes = {one.path_in_schema: one.total_uncompressed_size for one in chunks}
        small = [name for name in names if sizes.get(name, READ_BYTES) < READ_BYTES]
        table = file.read_row_group(0, columns=small)
    return {name: few for name in small if (few := _distinct(table[name])) is not None}


def _distinct(column: pa.ChunkedArray) -> tuple[str, ...] | None:
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
        return None
    distinct = column.unique()
    if not 1 <= len(distinct) <= MOST_VALUES or (len(distinct) == len(column) > 1):
        return None
    return tuple(sorted("" if one is None else str(one)[:VALUE_CHARS] for one in distinct.to_pylist()))

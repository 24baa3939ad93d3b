"""The columns by which a run's rows are grouped, beside those that its index holds: a byte or two a row.

They are those of the input and of the job's schema that have few values, and any that somebody has asked for.
A column that comes to have too many values is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batchlab.arrow import pa
from batchlab.counts import counted
from batchlab.errors import BatchlabError, UsageError
from batchlab.looking.browse.columns import HELD, ODD
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.overview.columns import few_names
from batchlab.looking.rows.tables import input_table
from batchlab.protocol.redact import printable
from batchlab.records import Shard
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.layout import part_name
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView

GROUPS = ("status", "model", "endpoint", "lane", "service_tier", "day")  # that every run has
MOST_VALUES, MOST_WANTED = 200, 5_000  # of a column with few values, and of one that was asked for
VALUE_CHARS = 200
BATCH_ROWS = 65_536  # of columns that hold no prompt and no answer
_WASTED = ("wasted_prompt_tokens", "wasted_completion_tokens")
Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(slots=True)
class Coded:
    """One column: each row's value as its place among `values`; 0 is that of no value, or none known."""

    codes: Codes
    values: dict[str, int]
    is_over: bool = False


class Groups:
    """The columns of one run by which its rows are grouped, read once and then as far as the run has grown.

    Attributes:
        wanted: columns that were asked for, whatever they hold.
        wasted: whether a row had attempts that were paid and not kept, as far as its shard is sealed.
        problems: what cannot be read, each in a line.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self.wanted = tuple(wanted)
        self.problems: list[str] = []
        self.wasted = np.zeros(0, np.bool_)
        self._index: RowIndex | None = None
        self._columns: dict[str, Coded] = {}
        self._read: dict[int, tuple[str, int]] = {}  # of each shard: from what, and which version of it

    def refresh(self, index: RowIndex) -> None:
        """Reads what is new of the run whose rows are in the index.

        Raises:
            UsageError: a wanted column is none of the run's.
        """
        self._begin(index)
        if not self._columns and not index.is_whole:
            return
        for shard in index.run.manifest.plan.shards:
            is_open = index.opened(shard) is not None
            if index.has_part(shard) and not index.is_unreadable(shard):
                now = ("part", index.version_of(shard) if not is_open else -1)
            elif is_open:
                now = ("input", 0)
            else:
                continue
            if self._read.get(shard.index) == now or (is_open and shard.index in self._read):
                continue
            self._read[shard.index] = now
            try:
                self._take(index.run, shard, now[0])
            except (BatchlabError, OSError, *ODD) as error:
                said = printable(str(error), 200)
                self.problems.append(f"{counted(shard.rows, 'row')} are grouped by no column: {said}")

    def coded(self, name: str) -> Coded | None:
        """A column; None of one that is not held here, or has too many values."""
        column = self._columns.get(name)
        return None if column is None or column.is_over else column

    @property
    def names(self) -> list[str]:
        """The columns that are held here."""
        return [name for name, column in self._columns.items() if not column.is_over]

    def _begin(self, index: RowIndex) -> None:
        """Begins anew with another index, and once a part tells which columns have few values."""
        if index is self._index and self._columns:
            return
        run = index.run
        wanted = [name for name in self.wanted if _is_column(run, name) and name not in (*GROUPS, *HELD)]
        few = [name for name in few_names(run) if name not in (*wanted, *GROUPS, *RESULT_COLUMNS)]
        if index is self._index and not few:
            return
        self._index, self._read, self.problems = index, {}, []
        self.wasted = np.zeros(index.rows, np.bool_)
        self._columns = {
            **{name: Coded(np.zeros(index.rows, np.uint16), {"": 0}) for name in wanted},
            **{name: Coded(np.zeros(index.rows, np.uint8), {"": 0}) for name in few},
        }

    def _take(self, run: RunView, shard: Shard, kind: str) -> None:
        prefix, first = run.manifest.prefix, shard.first_row
        if kind == "input":
            table, _ = input_table(run, shard)
            self._keep(table, first, {name: name for name in self._columns})
            return
        inputs = run.manifest.plan.names_out
        names = (*self._columns, *_WASTED)
        named = {name: name if name in inputs else _in_part(name, prefix) for name in names}
        for table in part_tables(run.part(shard.index), list(named.values()), batch_rows=BATCH_ROWS):
            self._keep(table, first, named)
            first += table.num_rows
        if first != shard.first_row + shard.rows:
            raise ValueError(f"{part_name(shard.index)} has other rows than were planned")

    def _keep(self, table: pa.Table, first: int, named: Mapping[str, str]) -> None:
        """Keeps the values of some rows; `named` says what the table calls a column."""
        rows, there = slice(first, first + table.num_rows), set(table.column_names)
        waste = [table[named[one]] for one in _WASTED if named.get(one) in there]
        if waste:
            above = [one.cast(pa.float64()).to_numpy() > 0 for one in waste]  # null is NaN
            self.wasted[rows] = np.logical_or.reduce(above)
        for name, column in self._columns.items():
            if named[name] in there and not column.is_over:
                most = MOST_WANTED if name in self.wanted else MOST_VALUES
                _code(column, table[named[name]], rows, most)


def _in_part(name: str, prefix: str) -> str:
    """What a part calls a column that is none of the input's."""
    return prefix + name if name in RESULT_COLUMNS else name


def _code(column: Coded, values: pa.ChunkedArray, rows: slice, most: int) -> None:
    """Keeps the values of some rows."""
    encoded = values.combine_chunks().cast(pa.large_string()).dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words = ["" if one is None else one[:VALUE_CHARS] for one in encoded.dictionary.to_pylist()]
    for word in words:
        column.values.setdefault(word, len(column.values))
    if len(column.values) > most:
        column.is_over, column.codes, column.values = True, column.codes[:0], {}
        return
    places = np.array([*(column.values[word] for word in words), 0], column.codes.dtype)
    column.codes[rows] = places[encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]


def _is_column(run: RunView, name: str) -> bool:
    """True of a name by which rows can be grouped. Raises UsageError of any other."""
    plan, expanded = run.manifest.plan, run.manifest.expanded
    have = (*plan.names_out, *(expanded.names if expanded is not None else ()))
    if name in have or name in RESULT_COLUMNS or name in GROUPS:
        return True
    raise UsageError(f"{run.place}: {name}: no such column; there are {', '.join((*GROUPS, *have))}.")

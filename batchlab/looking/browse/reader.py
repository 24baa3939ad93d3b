"""Reading rows of one piece: some columns, of some rows, a few at a time.

So many rows at a time that a column of images or of one repeated text stays small in memory.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.arrow import pa, pq
from batchlab.errors import CorruptRun
from batchlab.looking.browse.columns import ODD
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.rows.tables import INPUT_GONE, input_table, with_ids
from batchlab.records import Shard
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.journals.journal import result_of
from batchlab.store.parts import lacking_columns, reading, with_results
from batchlab.store.view import RunView

FEW_ROWS = 250  # that are held at a time
SMALL_BYTES = 64  # a row; of columns that take no more, a whole row group is
BATCH_BYTES = 8 << 20  # of which fewer are, if they have images
GIVE_BACK_S = 0.1
KEPT_FOOTERS = 16  # 0.3 MB each
_KEPT_BYTES = 32 << 20  # an input of an open shard that is larger is read again each time


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns are read.

    Attributes:
        others: names of columns of the input, and of what a schema has made of answers; None: all.
        results: bare names of result columns.
    """

    others: tuple[str, ...] | None
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a piece, in order.

    Attributes:
        ids: their row_ids.
        others: the columns that are no result columns; a wanted one that is not there is not.
        results: result columns by their bare names; of those wanted, all that the part has.
    """

    ids: Sequence[int]
    others: pa.Table
    results: pa.Table

    def taken(self, places: Sequence[int]) -> Rows:
        """Those at some places."""
        if len(places) == len(self.ids):
            return self
        return Rows(
            [self.ids[place] for place in places], self.others.take(places), self.results.take(places)
        )

    def result(self, name: str, place: int) -> Any:
        """One value of a result column; None where it is not there."""
        return self.results[name][place].as_py() if name in self.results.column_names else None


@dataclass(frozen=True, slots=True)
class _Footer:
    """What is kept of a part that was read, for the next time.

    Attributes:
        version: of its shard.
        names, lacking: its columns, and the result columns that it has not.
    """

    version: int
    metadata: pq.FileMetaData
    names: tuple[str, ...]
    lacking: tuple[str, ...]


class RowReader:
    """Reads rows where they are: in parts, or in journals and the input."""

    def __init__(self, run: RunView, index: RowIndex) -> None:
        self._run = run
        self._index = index
        self._prefix = run.manifest.prefix
        self._vectors = run.manifest.vectors
        self._footers: OrderedDict[int, _Footer] = OrderedDict()
        self._turn = threading.Lock()
        self._gave_back = threading.local()
        self._input: tuple[int, pa.Table, list[Any] | None] | None = (
            None  # of the open shard that was read last
        )

    def rows(self, piece: Piece, wanted: Wanted, ids: Sequence[int] | None = None) -> Iterator[Rows]:
        """The rows of a piece, or those of them that are named, some at a time.

        Raises:
            CorruptRun: it is damaged, or has gone; UsageError: a store cannot be read.
        """
        if self._index.is_unreadable(piece.shard):
            return
        try:
            if piece.group is None:
                yield from self._open(
                    piece, wanted, range(piece.first_row, piece.stop) if ids is None else ids
                )
            else:
                yield from self._sealed(piece.shard, piece.group, piece.first_row, wanted, ids)
        except ODD as error:
            text = (str(error).splitlines() or [type(error).__name__])[0]
            raise CorruptRun(f"{self._run.part(piece.shard.index)}: damaged ({text}).") from error
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """Returns what Arrow's allocator keeps of what this thread has freed: 60 MB after a few searches.

        Not after each piece: a third of a search would be spent on getting it again.
        """
        now = time.monotonic()
        if now - getattr(self._gave_back, "at", 0.0) > GIVE_BACK_S:
            self._gave_back.at = now
            pa.default_memory_pool().release_unused()

    def _sealed(
        self, shard: Shard, group: int, first: int, wanted: Wanted, ids: Sequence[int] | None
    ) -> Iterator[Rows]:
        """The rows of a row group whose first row is `first`."""
        left = None if ids is None else sorted(ids)
        with self._part(shard) as (part, footer):
            others, results = self._chosen(footer.names, footer.lacking, wanted)
            names = [*others, *(self._prefix + name for name in results)]
            for batch in part.iter_batches(
                batch_size=_batch_rows(part.metadata.row_group(group), names),
                row_groups=[group],
                columns=names,
                use_threads=False,
            ):
                table = pa.Table.from_batches([batch])
                ids_here = range(first, first + table.num_rows)
                first += table.num_rows
                found = Rows(ids_here, table.select(others), _bare(table, results, self._prefix))
                if left is None:
                    yield found
                    continue
                here = [row - ids_here.start for row in left if row < ids_here.stop]
                left = left[len(here) :]
                if here:
                    yield found.taken(here)
                if not left:
                    return

    @contextlib.contextmanager
    def _part(self, shard: Shard) -> Iterator[tuple[pq.ParquetFile, _Footer]]:
        """A shard's part while it is read; its footer, which takes longer than to open it, is kept."""
        version = self._index.version_of(shard)
        kept = self._footers.get(shard.index)
        known = kept if kept is not None and kept.version == version else None
        with reading(self._run.part(shard.index), known and known.metadata) as part:
            if known is None:
                names = tuple(part.schema_arrow.names)
                known = _Footer(version, part.metadata, names, tuple(lacking_columns(part, self._prefix)))
                with self._turn:
                    self._footers[shard.index] = known
                    while len(self._footers) > KEPT_FOOTERS:
                        self._footers.popitem(last=False)
            yield part, known

    def _chosen(
        self, there: Sequence[str], lacking: Sequence[str], wanted: Wanted
    ) -> tuple[list[str], list[str]]:
        """Names of the other columns, and bare names of the result columns, that a part has."""
        own = {self._prefix + name for name in (*RESULT_COLUMNS, *self._vectors) if name not in lacking}
        others = [name for name in there if name not in own]
        if wanted.others is not None:
            others = [name for name in others if name in wanted.others]
        return others, [name for name in wanted.results if self._prefix + name in own.intersection(there)]

    def _open(self, piece: Piece, wanted: Wanted, ids: Sequence[int]) -> Iterator[Rows]:
        """Rows of a shard that is not sealed: of its journals where these have them, else of its part."""
        opened, has_part = self._index.opened(piece.shard), self._index.has_part(piece.shard)
        in_part = [row for row in ids if has_part and (opened is None or row not in opened)]
        if in_part:
            yield from self._of_groups(piece.shard, wanted, in_part)
        others = sorted(set(ids).difference(in_part)) if in_part else sorted(ids)
        for first in range(0, len(others), FEW_ROWS):
            together = others[first : first + FEW_ROWS]
            try:
                found = [self._journalled(piece.shard, wanted, together)]
            except ODD:  # a result that batchlab has not written: the others are read all the same
                found = list(self._one_by_one(piece.shard, wanted, together))
            yield from found

    def _one_by_one(self, shard: Shard, wanted: Wanted, rows: Sequence[int]) -> Iterator[Rows]:
        for row in rows:
            with contextlib.suppress(*ODD):
                yield self._journalled(shard, wanted, [row])

    def _of_groups(self, shard: Shard, wanted: Wanted, rows: Sequence[int]) -> Iterator[Rows]:
        with self._part(shard) as (part, _):
            counts = [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)]
        first = shard.first_row
        for group, count in enumerate(counts):
            here = [row for row in rows if first <= row < first + count]
            if here:
                yield from self._sealed(shard, group, first, wanted, here)
            first += count

    def _journalled(self, shard: Shard, wanted: Wanted, rows: Sequence[int]) -> Rows:
        """Rows with what the journals hold of them; those without a result are pending.

        The row_id of these tables is none, and the custom_id of a pending row only where its line has one.
        """
        opened, manifest = self._index.opened(shard), self._run.manifest
        results = []
        for row in rows:
            record = None if opened is None else opened.record(row)
            results.append(None if record is None else result_of(record))
        places = [row - shard.first_row for row in rows]
        whole, ids = self._inputs(shard)
        inputs = whole.take(places)
        table = with_results(inputs, results, 0, manifest.prefix, manifest.expanded, manifest.vectors)
        if ids is not None:
            table = with_ids(table, [ids[place] for place in places])
        others, names = self._chosen(table.column_names, (), wanted)
        others = [name for name in others if name != INPUT_GONE or INPUT_GONE in manifest.plan.names_out]
        return Rows(rows, table.select(others), _bare(table, names, self._prefix))

    def _inputs(self, shard: Shard) -> tuple[pa.Table, list[Any] | None]:
        kept = self._input
        if kept is not None and kept[0] == shard.index:
            return kept[1:]
        table, ids = input_table(self._run, shard)
        self._input = (shard.index, table, ids) if table.nbytes <= _KEPT_BYTES else None
        return table, ids


def _batch_rows(group: pq.RowGroupMetaData, names: Sequence[str]) -> int:
    """How many rows of some columns are read at a time."""
    wanted = set(names)
    columns = (group.column(place) for place in range(group.num_columns))
    size: int = sum(
        one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] in wanted
    )
    count = int(group.num_rows)
    most = FEW_ROWS if size > SMALL_BYTES * count else count
    return max(1, min(most, BATCH_BYTES * count // max(size, 1)))


def _bare(table: pa.Table, names: Sequence[str], prefix: str) -> pa.Table:
    """Result columns of a table under their bare names."""
    return table.select([prefix + name for name in names]).rename_columns(list(names))

"""The index of a run's rows: what is held of each, in memory only, growing while the run does.

Made from the small columns of the parts and from the journals. A part that is damaged, lost or deleted leaves
its rows `unreadable`, which is said once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batchlab.arrow import pa
from batchlab.counts import counted
from batchlab.errors import CorruptRun, UsageError
from batchlab.looking.browse.columns import (
    HELD,
    ODD,
    UNREADABLE,
    Numbers,
    arrow_column,
    held_values,
    new_words,
    null_of,
)
from batchlab.looking.browse.opened import OpenShard
from batchlab.records import Shard
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.columns.results import result_columns
from batchlab.store.journals.journal import ResultValues
from batchlab.store.layout import part_name
from batchlab.store.parts import PartFile, lacking_columns, reading
from batchlab.store.view import RunView

MOST_ROWS = 100_000_000  # 7 GB
Signature = tuple[int, ...]  # tells a part from the one that takes its place


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are read together.

    Attributes:
        group: number of the row group of the shard's part; None of a shard that is not sealed.
    """

    shard: Shard
    group: int | None
    first_row: int
    rows: int

    @property
    def stop(self) -> int:
        """The row after its last one."""
        return self.first_row + self.rows


@dataclass(slots=True)
class _Loaded:
    """What the index has of a shard.

    Attributes:
        part: which part was read; None for none.
        groups: how many rows each of its row groups has.
        opened: of a shard that is not sealed, what its journals hold.
        version: grows with each change.
        is_known: whether it was looked at.
    """

    part: Signature | None = None
    groups: tuple[int, ...] = ()
    opened: OpenShard | None = None
    is_unreadable: bool = False
    version: int = 0
    is_known: bool = False


class RowIndex:
    """What is held of all rows of a run: about 70 bytes each.

    `refresh` makes it what the run is now; another thread may read meanwhile.

    Raises:
        UsageError: it has more rows than `MOST_ROWS`.

    Attributes:
        rows: of the run.
        version: grows with each change.
        is_whole: whether every shard was looked at.
    """

    def __init__(self, run: RunView) -> None:
        if run.manifest.plan.rows > MOST_ROWS:
            rows = run.manifest.plan.rows
            many = counted(rows, "row")
            raise UsageError(f"{run.place}: {many}, and no more than {MOST_ROWS:,} can be held here.")
        self.run = run
        self.rows = run.manifest.plan.rows
        self.version = 0
        self.is_whole = False
        self.words = new_words()
        # a column takes no memory as long as all of it is null
        self._values: dict[str, Numbers] = {
            name: np.broadcast_to(np.array(null_of(name), dtype=kind), self.rows)
            for name, kind in HELD.items()
        }
        self._keep(
            "status", slice(None), np.full(self.rows, self.words["status"].code("pending"), dtype="u1")
        )
        self._shards = run.manifest.plan.shards
        self._starts = np.array([shard.first_row for shard in self._shards] or [0])
        self._loaded = [_Loaded() for _ in self._shards]
        self._known_rows = 0
        self._problems: dict[str, str] = {}
        # names of parts that should be there, and are not; None: checksums.log is to be asked
        self._due: frozenset[str] | None = None
        self._turn = threading.Lock()  # who holds it changes the columns

    def __getitem__(self, name: str) -> Numbers:
        """A column of `columns.HELD`, of all rows; of those not looked at yet, as of pending ones."""
        return self._values[name]

    @property
    def problems(self) -> list[str]:
        """What cannot be read, a line each."""
        return list(self._problems.values())

    @property
    def known_rows(self) -> int:
        """Rows of the shards that were looked at."""
        return self._known_rows

    def arrow(self, name: str) -> pa.Array:
        """A column as Arrow has it in a part, nulls and all."""
        return arrow_column(name, self._values[name], self.words)

    def codes(self, name: str, words: Sequence[str | None]) -> list[int]:
        """The codes of those of some words that occur."""
        known = self.words[name]
        return [
            0 if word is None else known.codes[word] for word in words if word is None or word in known.codes
        ]

    def word(self, name: str, row: int) -> str | None:
        """The word of a row."""
        return self.words[name].names[int(self._values[name][row])]

    def count(self, name: str, row: int) -> int | None:
        """A row's count; None when it is not known."""
        value = int(self._values[name][row])
        return None if value < 0 else value

    def number(self, name: str, row: int) -> float | None:
        """Another number of a row; None when it is not known."""
        value = float(self._values[name][row])
        return None if value != value else value

    def shard_of(self, row: int) -> Shard:
        """The shard that a row is in."""
        return self._shards[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def opened(self, shard: Shard) -> OpenShard | None:
        """What the journals of a shard hold; None of one that has none."""
        return self._loaded[shard.index].opened

    def is_unreadable(self, shard: Shard) -> bool:
        """Whether nothing of a shard can be read."""
        return self._loaded[shard.index].is_unreadable

    def has_part(self, shard: Shard) -> bool:
        """Whether there is a part to be read."""
        return self._loaded[shard.index].part is not None

    def version_of(self, shard: Shard) -> int:
        """Grows with each change of the shard."""
        return self._loaded[shard.index].version

    def pieces(self) -> Iterator[Piece]:
        """All rows in pieces, in order."""
        for shard in self._shards:
            yield from self.pieces_of(shard)

    def pieces_of(self, shard: Shard) -> Iterator[Piece]:
        """The rows of a shard in pieces, in order."""
        loaded = self._loaded[shard.index]
        groups = loaded.groups  # that another thread may be about to change
        if loaded.opened is not None or not groups:
            yield Piece(shard, None, shard.first_row, shard.rows)
            return
        first = shard.first_row
        for group, rows in enumerate(groups):
            if rows:
                yield Piece(shard, group, first, rows)
            first += rows

    def piece_of(self, row: int) -> Piece:
        """The piece that a row is in."""
        return next(piece for piece in self.pieces_of(self.shard_of(row)) if row < piece.stop)

    def by_piece(self, rows: Iterable[int]) -> list[tuple[Piece, list[int]]]:
        """Rows by the pieces that they are in."""
        pieces: dict[int, tuple[Piece, list[int]]] = {}
        for row in rows:
            piece = self.piece_of(row)
            pieces.setdefault(piece.first_row, (piece, []))[1].append(row)
        return list(pieces.values())

    def unreadable(self, piece: Piece, problem: str) -> None:
        """Something of a piece could not be read, which is kept to be said."""
        self._problems.setdefault(part_name(piece.shard.index), problem)

    def refresh(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Reads what is new: parts, and what has come in journals. Cheap where nothing has.

        Raises:
            UsageError: the store of a run at a URL cannot be read.
        """
        # in this order: a shard that is sealed in between is in both
        opened, parts = self.run.unsealed(), set(self.run.part_sizes())
        if self._due is None:
            self._due = self._missing(parts)
        known = 0
        for shard in self._shards:
            if stopped():
                return
            known += shard.rows
            self._refresh(shard, has_part=shard.index in parts, is_open=shard.index in opened)
            self._known_rows = max(self._known_rows, known)
        self.is_whole = True

    def look_at(self, rows: Iterable[int]) -> None:
        """Reads the shards of some rows now, those that were not looked at."""
        shards = {shard.index: shard for shard in map(self.shard_of, rows)}
        new = [shard for shard in shards.values() if not self._loaded[shard.index].is_known]
        if not new:
            return
        opened, parts = self.run.unsealed(), self.run.part_sizes()
        for shard in new:
            self._refresh(shard, has_part=shard.index in parts, is_open=shard.index in opened)

    def _missing(self, parts: set[int]) -> frozenset[str]:
        try:
            noted = self.run.noted().parts
        except OSError as error:  # of the others it says nothing: they are there
            self._problems["checksums.log"] = f"{error.filename or self.run.place}: {error.strerror}"
            return frozenset()
        there = {part_name(index) for index in parts}
        return frozenset(name for name, notes in noted.items() if notes.is_due and name not in there)

    def _refresh(self, shard: Shard, *, has_part: bool, is_open: bool) -> None:
        with self._turn:
            loaded = self._loaded[shard.index]
            signature = _signature(self.run.part(shard.index)) if has_part else None
            # sealed, or written anew
            is_other = loaded.opened is not None and (not is_open or loaded.opened.begins_again())
            if is_other or signature != loaded.part:
                loaded.opened, loaded.part = None, signature
                if signature is not None:
                    self._load_part(shard, loaded)
                else:
                    self._reset(shard, loaded)
                    if not is_open:
                        self._due = self._missing(set(self.run.part_sizes()))
            if is_open:
                self._load_journals(shard, loaded)
            elif (
                signature is None and part_name(shard.index) in (self._due or ()) and not loaded.is_unreadable
            ):
                self._lose(shard, loaded, f"{part_name(shard.index)} is gone")
            loaded.is_known = True

    def _reset(self, shard: Shard, loaded: _Loaded) -> None:
        """Its rows are as if they were pending."""
        loaded.groups = ()
        self._blank(shard, "pending")
        self._is_fine(shard, loaded)

    def _blank(self, shard: Shard, status: str) -> None:
        rows = slice(shard.first_row, shard.first_row + shard.rows)
        for name, kind in HELD.items():
            value = self.words["status"].code(status) if name == "status" else null_of(name)
            self._keep(name, rows, np.full(shard.rows, value, dtype=kind))

    def _keep(self, name: str, rows: slice | list[int], values: Numbers) -> None:
        """Puts values into a column, which is made when the first of them is not null."""
        column = self._values[name]
        if not column.flags.writeable:
            null = null_of(name)
            if np.isnan(values).all() if null != null else (values == null).all():
                return
            column = self._values[name] = column.copy()
        column[rows] = values

    def _is_fine(self, shard: Shard, loaded: _Loaded) -> None:
        self._problems.pop(part_name(shard.index), None)
        loaded.is_unreadable = False
        self._changed(loaded)

    def _changed(self, loaded: _Loaded) -> None:
        loaded.version += 1
        self.version += 1

    def _lose(self, shard: Shard, loaded: _Loaded, problem: str) -> None:
        loaded.is_unreadable, loaded.groups = True, ()
        self._problems[part_name(shard.index)] = f"{problem}: {counted(shard.rows, 'row')} cannot be read."
        self._blank(shard, UNREADABLE)
        self._changed(loaded)

    def _load_part(self, shard: Shard, loaded: _Loaded) -> None:
        path, prefix = self.run.part(shard.index), self.run.manifest.prefix
        try:
            with reading(path) as part:
                groups = [part.metadata.row_group(number).num_rows for number in range(part.num_row_groups)]
                if sum(groups) != shard.rows:
                    many = counted(sum(groups), "row")
                    raise CorruptRun(f"{path}: damaged (it has {many}, not {shard.rows:,}).")
                lacking = set(lacking_columns(part, prefix))
                there = set(part.schema_arrow.names)
                names = [name for name in HELD if name not in lacking and prefix + name in there]
                if "status" not in names:
                    raise CorruptRun(f"{path}: damaged (its columns are not those of a part).")
                table = part.read(columns=[prefix + name for name in names], use_threads=False)
                columns = {name: held_values(name, table[prefix + name], self.words) for name in names}
        except (CorruptRun, *ODD) as error:
            loaded.part = _signature(path)
            self._lose(shard, loaded, str(error).rstrip("."))
            return
        # over what is there: nobody who looks now sees its rows as pending
        for name, kind in HELD.items():
            values = columns[name] if name in columns else np.full(shard.rows, null_of(name), dtype=kind)
            self._keep(name, slice(shard.first_row, shard.first_row + shard.rows), values)
        loaded.groups = tuple(groups)
        self._is_fine(shard, loaded)

    def _load_journals(self, shard: Shard, loaded: _Loaded) -> None:
        if loaded.opened is None:
            loaded.opened = OpenShard(self.run, shard, self._of_part(shard, loaded))
        grown = loaded.opened.grown()
        if loaded.opened.trouble:  # the rest of the run goes on
            self._problems[f"journals {shard.index}"] = loaded.opened.trouble
        else:
            self._problems.pop(f"journals {shard.index}", None)
        if grown:
            for row, values in sorted(grown.items()) if not self._take(grown) else ():
                if not self._take({row: values}):
                    self._problems.setdefault(f"row {row}", f"row {row}: its result cannot be read.")
            self._changed(loaded)

    def _of_part(self, shard: Shard, loaded: _Loaded) -> dict[int, tuple[bool, bool]]:
        """What may take the place of the results that its part holds, by row."""
        if loaded.part is None or loaded.is_unreadable:
            return {}
        status, error = self.words["status"].names, self.words["error_class"].names
        found = {}
        for row in range(shard.first_row, shard.first_row + shard.rows):
            word = status[int(self._values["status"][row])]
            if word == "pending":
                continue
            replaceable = word in {"failed", "invalid"}
            is_empty = error[int(self._values["error_class"][row])] == "empty"
            found[row] = replaceable, replaceable or is_empty or word in {"truncated", "filtered"}
        return found

    def _take(self, grown: dict[int, ResultValues]) -> bool:
        """Keeps what some results hold; False when there are values of a wrong kind among them."""
        rows = sorted(grown)
        try:
            columns = dict(
                zip(RESULT_COLUMNS, result_columns([grown[row] for row in rows], rows), strict=True)
            )
            held = {name: held_values(name, columns[name], self.words) for name in HELD}
        except ODD:
            return False
        for name, values in held.items():
            self._keep(name, rows, values)
        return True


def _signature(path: PartFile) -> Signature | None:
    """What tells a part from one that takes its place; None when it has gone. One at a URL stays as it is."""
    if not isinstance(path, Path):
        return ()
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns
    return None

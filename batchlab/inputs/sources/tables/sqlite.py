"""SQLite: a table or a query of a database file, which is only read."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import ColumnTypes, json_text
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.records import Pass, RecordSource
from batchlab.inputs.sources.source import (
    AGAIN,
    CheckRow,
    InputPlan,
    OnProgress,
    Reading,
    file_size,
    file_stat,
    unreadable,
)
from batchlab.records import Row, Shard

if TYPE_CHECKING:
    import sqlite3

MAGIC = b"SQLite format 3\0"
REPORT_EVERY = 5_000
_PAGE_BYTES = [1 << power for power in range(9, 17)]
# a writer's log may hold what the file itself does not have yet
_BESIDE = ("-wal",)
_QUERY = re.compile(r"\s*(select|with|values|from|table)\b", re.IGNORECASE)


def is_query(inside: str) -> bool:
    """Whether what is meant inside of a database is a query, and not a table's name."""
    return _QUERY.match(inside) is not None and not inside.isidentifier()


def chosen_table(tables: Sequence[str], path: str) -> str:
    """The one table of a database that has one. Raises InputError."""
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise InputError(path, "has no table")
    raise InputError(
        path,
        f"has the tables {', '.join(tables[:20])}",
        f"Name one, or a query: '{path}::{tables[0]}', '{path}::SELECT …'.",
    )


def quoted(name: str) -> str:
    """A name as SQL writes one."""
    return '"' + name.replace('"', '""') + '"'


def refuse_twins(names: Sequence[str], shown_as: str) -> None:
    """Raises InputError where two columns have one name."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(shown_as, f"two columns are named {name!r}", "Rename one: SELECT … AS other.")


class SqliteSource(RecordSource):
    """Rows of a table or a query, as SQLite gives them: a value has its own type, a column none."""

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        path = files[0].file
        if not isinstance(path, Path):
            raise InputError(shown_as, "a database is read from a local file only", "Download it first.")
        self._path = path
        self._files = [*files, *(DataFile(beside) for beside in _besides(path))]
        self._inside = reading.inside.strip()
        self._is_query = is_query(self._inside)

    def peek(self) -> tuple[str, ...]:
        """The columns' names."""
        with self._connected() as connection:
            return self._names(self._asked(connection))

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`. A query runs twice: one that gives other rows each time is refused."""
        scan, types = Pass(shard_rows, check, limit, several=False), ColumnTypes()
        with self._connected() as connection:
            cursor = self._asked(connection)
            names = self._names(cursor)
            digest = hashlib.blake2b("\0".join(names).encode(), digest_size=16)
            types.see(dict.fromkeys(names))
            for cells in cursor:
                if scan.full:
                    break
                _hash(digest, cells)
                values, problem = _values(names, cells)
                if problem is None and not types.knows(values):
                    types.see(values)
                scan.row(values, problem, scan.rows + 1, {"row": scan.rows})
                if on_progress is not None and scan.rows % REPORT_EVERY == 0:
                    on_progress(scan.rows, None)
            if self._is_query:
                self._refuse_moving(connection, names, scan.rows, digest.digest())
        return scan.builder.plan(
            scan.rows, types.kinds(), digest.hexdigest(), [one.file for one in self._files]
        )

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """See `Source.unchanged`. A log that was there and is empty now is no change of its own."""
        self._files = [self._files[0], *(DataFile(beside) for beside in _besides(self._path))]
        return super().unchanged(plan, racy_ok=racy_ok)

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        del plan
        row_id = shard.position["row"]
        with self._connected() as connection:
            cursor = self._asked(connection)
            names = self._names(cursor)
            for _ in zip(range(row_id), cursor, strict=False):
                pass
            for cells in cursor:
                values, problem = _values(names, cells)
                yield Row(row_id, values, problem)
                row_id += 1

    def _refuse_moving(
        self, connection: sqlite3.Connection, names: Sequence[str], rows: int, first: bytes
    ) -> None:
        digest = hashlib.blake2b("\0".join(names).encode(), digest_size=16)
        for _, cells in zip(range(rows), self._asked(connection), strict=False):
            _hash(digest, cells)
        if digest.digest() != first:
            raise InputError(
                self.path,
                "the query gives other rows each time it runs, and a run reads them several times",
                "Order them by a key, or make a table of them first.",
            )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # not for a run over JSON Lines

        _refuse_cut(self._path, self.path, alone=len(self._files) == 1)
        try:
            # a shard's rows may be asked for in one thread, and its columns in another, which seals it
            connection = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?mode=ro", uri=True, check_same_thread=False
            )
            connection.text_factory = _text
            with contextlib.closing(connection):
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a column's name may be no text
            raise InputError(self.path, f"SQLite: {error}") from error

    def _asked(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        if self._is_query:
            return connection.execute(self._inside)
        table = self._inside
        if not table:
            found = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' "
                "ORDER BY name"
            )
            names = [str(name) for (name,) in found]
            if not names and len(self._files) == 1 and _header_of(self._path)[18:19] == b"\x02":
                log = f"{self._path.name}-wal"
                raise InputError(
                    self.path, f"has no table: they may be in its log, {log}", "Copy that beside it, too."
                )
            table = chosen_table(names, self.path)
        return connection.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608 - quoted

    def _names(self, cursor: sqlite3.Cursor) -> tuple[str, ...]:
        if cursor.description is None:
            raise InputError(self.path, "the query gives no rows", "Write a SELECT.")
        names = tuple(str(one[0]) for one in cursor.description)
        refuse_twins(names, self.path)
        return names


class _NoText(str):
    """Stands for text that is no UTF-8."""

    __slots__ = ()


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _NoText(raw.decode("utf-8", "replace"))


def _values(names: Sequence[str], cells: Sequence[Any]) -> tuple[dict[str, Any], str | None]:
    for name, cell in zip(names, cells, strict=True):
        if type(cell) is _NoText:
            return {}, f"column {name!r} is not UTF-8 text"
    return dict(zip(names, cells, strict=True)), None


def _hash(digest: hashlib.blake2b, cells: Sequence[Any]) -> None:
    digest.update(json_text([[type(cell).__name__, cell] for cell in cells]).encode())


def _header_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except OSError as error:
        raise unreadable(str(path), error) from error


def _refuse_cut(path: Path, shown_as: str, *, alone: bool) -> None:
    """Raises InputError where a database has fewer pages than its header says: SQLite reads some of the
    values of such a file as null. (https://sqlite.org/fileformat.html, section 1.3.)

    Args:
        alone: there is no writer's log, which may hold the others.
    """
    header = _header_of(path)
    page, changed, pages, valid_for = (
        int.from_bytes(header[start:stop], "big") for start, stop in ((16, 18), (24, 28), (28, 32), (92, 96))
    )
    page_bytes = 65_536 if page == 1 else page
    if page_bytes not in _PAGE_BYTES:
        return  # SQLite says what is wrong with it
    if alone and changed == valid_for and file_size(path) < pages * page_bytes:
        raise InputError(shown_as, "cut-off SQLite file: it ends before its last page", AGAIN)


def _besides(path: Path) -> list[Path]:
    found = [path.with_name(path.name + ending) for ending in _BESIDE]
    return [one for one in found if one.is_file() and file_stat(one)["size"]]

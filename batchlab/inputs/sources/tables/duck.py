"""DuckDB: a table or a query of a database file, which is only read, as Arrow batches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.batches import BATCH_ROWS, ArrowSource
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.source import CheckRow, InputFile, InputPlan, OnProgress, Reading
from batchlab.inputs.sources.tables.sqlite import chosen_table, is_query, quoted

MAGIC = b"DUCK"
MAGIC_OFFSET = 8


class DuckSource(ArrowSource):
    """Rows of a table or a query."""

    storable = False
    trouble = ("holds a value that Arrow does not", "Cast its column to text in a query.")

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        path = files[0].file
        if not isinstance(path, Path):
            raise InputError(shown_as, "a database is read from a local file only", "Download it first.")
        log = path.with_name(path.name + ".wal")
        super().__init__([files[0]], shown_as, reading)
        self._with_log = [*files, *([DataFile(log)] if log.is_file() else [])]
        self._inside = reading.inside.strip().rstrip(";")
        self._rows: int | None = None

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`. A query runs twice: one that gives other rows each time is refused."""
        before = self._digest()
        plan = super().scan(shard_rows, on_progress=on_progress, check=check, limit=limit)
        if is_query(self._inside) and self._digest() != before:
            raise InputError(
                self.path,
                "the query gives other rows each time it runs, and a run reads them several times",
                "Order them by a key, or make a table of them first.",
            )
        return plan

    def _schema_of(self, path: InputFile) -> pa.Schema:
        with self._asked(path, "LIMIT 0") as reader:
            return reader.schema

    def _count(self, path: InputFile) -> int:
        if self._rows is None:
            self._rows = sum(batch.num_rows for batch in self._read(path, 0))
        return self._rows

    def _read(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        with self._asked(path) as reader:
            for batch in reader:
                if skip < batch.num_rows:
                    yield batch.slice(skip)
                skip = max(0, skip - batch.num_rows)

    def _digest(self) -> bytes:
        digest, rows = hashlib.blake2b(digest_size=16), 0
        for batch in self._read(self._files[0].file, 0):
            rows += batch.num_rows
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            digest.update(sink.getvalue())
        self._rows = rows
        return digest.digest()

    @contextlib.contextmanager
    def _asked(self, path: InputFile, more: str = "") -> Iterator[Any]:
        try:
            import duckdb
        except ImportError:
            raise InputError(
                self.path, "is a DuckDB database", "To read it: pip install 'batchlab[duckdb]'."
            ) from None
        try:
            # one thread: rows come in the same order each time
            with duckdb.connect(str(path), read_only=True, config={"threads": 1}) as connection:
                query = self._inside if is_query(self._inside) else self._table(connection)
                asked = f"SELECT * FROM ({query}) {more}" if more else query  # noqa: S608 - the user's own
                relation = connection.sql(asked)
                if relation is None:
                    raise InputError(self.path, "the query gives no rows", "Write a SELECT.")
                yield relation.to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise InputError(self.path, f"DuckDB: {str(error).splitlines()[0].rstrip('.! ')}") from error

    def _table(self, connection: Any) -> str:
        found = connection.execute(
            "SELECT table_schema = current_schema(), table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_database() ORDER BY NOT 1, 2, 3"
        ).fetchall()
        names = {
            name if usual else f"{schema}.{name}": f"{quoted(schema)}.{quoted(name)}"
            for usual, schema, name in found
        }
        table = self._inside or chosen_table(list(names), self.path)
        return f"SELECT * FROM {names.get(table, quoted(table))}"  # noqa: S608 - quoted

"""What one pass over an input finds out, and what every source can do."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from batchlab.arrow import pa
from batchlab.errors import InputError, file_trouble
from batchlab.inputs.sources.column_types import Kind, kind_of_json, schema_of
from batchlab.records import Row, Shard
from batchlab.remote.storage import RemoteFile, StorageError

SHOWN = 20  # malformed lines kept for the report
RACY_S = 2.0  # a file written this shortly before it was read may change again within one time stamp

OnProgress = Callable[[int, int | None], None]
CheckRow = Callable[[int, Mapping[str, Any], int], None]  # row_id, values, number as an editor shows it
InputFile: TypeAlias = Path | RemoteFile


@dataclass(frozen=True, slots=True)
class Reading:
    """What a job says of how its input is to be read, beside its path.

    Attributes:
        delimiter: of CSV cells; found in the file when None.
        quotes: whether CSV cells may be quoted.
        encoding: of a text file; UTF-8, or what its byte order mark says, when None.
        inside: what is meant inside of the file, after `::` in its path: a sheet, a table, a query.
        notes: what is worth telling of how its files were found.
    """

    delimiter: str | None = None
    quotes: bool = True
    encoding: str | None = None
    inside: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputPlan:
    """One input, cut into shards by position.

    Attributes:
        columns: names of the input's columns, in order.
        types: Arrow types of those that come out again, serialized, or the kind of each, from which its
            type follows: of all but the custom_id of a batch file, which is a result column too.
        content_hash: BLAKE2b of the (decompressed) content.
        stat: path, size, mtime_ns and inode of each file when it was read; path, size and tag of an
            object at a URL.
        scanned_at: Unix seconds when that was.
        malformed: (row number as an editor shows it, problem) of the first malformed rows.
        models: those that the bodies of a batch file name (at most 100).
        vectors: the result columns that requests for embeddings need, of `result_columns.VECTOR_COLUMNS`.
    """

    rows: int
    shards: tuple[Shard, ...]
    columns: tuple[str, ...]
    types: bytes | dict[str, Kind]
    content_hash: str
    stat: tuple[dict[str, Any], ...]
    scanned_at: float
    malformed: tuple[tuple[int, str], ...] = ()
    malformed_count: int = 0
    models: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the input columns that come out again."""
        if isinstance(self.types, bytes):
            return pa.ipc.read_schema(pa.py_buffer(self.types))
        return schema_of(self.types)

    @property
    def names_out(self) -> tuple[str, ...]:
        """Names of the input columns that come out again."""
        return tuple(self.types) if isinstance(self.types, dict) else tuple(self.schema.names)

    def without(self, name: str) -> InputPlan:
        """The plan of an input whose column `name` does not come out again."""
        if isinstance(self.types, dict):
            types = {column: kind for column, kind in self.types.items() if column != name}
            return replace(self, types=types)
        schema = self.schema
        if name not in schema.names:
            return self
        return replace(self, types=schema.remove(schema.names.index(name)).serialize().to_pybytes())

    def to_json(self) -> dict[str, Any]:
        """Plain data for run.json; a shard is [rows, position], its number and first row follow."""
        types = (
            {"schema": base64.b64encode(self.types).decode()}
            if isinstance(self.types, bytes)
            else {"kinds": self.types}
        )
        return {
            "rows": self.rows,
            "shards": [[shard.rows, shard.position] for shard in self.shards],
            "columns": list(self.columns),
            **types,
            "content_hash": self.content_hash,
            "stat": list(self.stat),
            "scanned_at": self.scanned_at,
            "malformed": [list(item) for item in self.malformed],
            "malformed_count": self.malformed_count,
            "models": list(self.models),
            "vectors": list(self.vectors),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> InputPlan:
        """The plan that `to_json` described."""
        shards, first = [], 0
        for index, (rows, position) in enumerate(data["shards"]):
            shards.append(Shard(index, first, rows, position))
            first += rows
        return cls(
            rows=data["rows"],
            shards=tuple(shards),
            columns=tuple(data["columns"]),
            types=(
                base64.b64decode(data["schema"])
                if "schema" in data
                else {name: kind_of_json(kind) for name, kind in data["kinds"].items()}
            ),
            content_hash=data["content_hash"],
            stat=tuple(data["stat"]),
            scanned_at=data["scanned_at"],
            malformed=tuple((row, problem) for row, problem in data["malformed"]),
            malformed_count=data["malformed_count"],
            models=tuple(data.get("models", ())),
            vectors=tuple(data.get("vectors", ())),
        )


class Source(Protocol):
    """An input that can be read again and again, a shard at a time, without being held.

    Attributes:
        notes: what is worth telling of how it is read; those of a pass are there after it.
    """

    path: str
    notes: list[str]

    def peek(self) -> tuple[str, ...]:
        """Columns as far as the start of the input tells; () when it has no rows."""
        ...

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """One pass over the input; `check(row_id, values, number)` sees every row that can be read.

        Raises:
            InputError: it cannot be read at all.
        """
        ...

    def rows(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        """The shard's rows, in order."""
        ...

    def table(self, shard: Shard, plan: InputPlan) -> pa.Table:
        """The shard's input columns with the plan's types; a malformed row is all null."""
        ...

    def unchanged(self, plan: InputPlan, *, racy_ok: bool = False) -> bool:
        """Whether the files are, by size, time and inode, those the plan was made from.

        A file that was written just before the plan was made may have changed again within the
        same time stamp; it counts as unchanged only with `racy_ok`.
        """
        ...

    def close(self) -> None:
        """Closes what is still open of the input."""
        ...


@dataclass(slots=True)
class PlanBuilder:
    """Collects what a pass over an input sees; shared by all sources.

    Attributes:
        positions: where each shard's first row starts. A shard starts at every row whose row_id is a
            multiple of `shard_rows`; the source adds its bookmark there.
    """

    shard_rows: int
    positions: list[dict[str, Any]] = field(default_factory=list)
    malformed: list[tuple[int, str]] = field(default_factory=list)
    malformed_count: int = 0

    def bad(self, number: int, problem: str) -> None:
        """One more row that cannot be read."""
        self.malformed_count += 1
        if len(self.malformed) < SHOWN:
            self.malformed.append((number, problem))

    def plan(
        self, rows: int, types: pa.Schema | dict[str, Kind], content_hash: str, paths: Sequence[InputFile]
    ) -> InputPlan:
        """The finished plan of `rows` rows."""
        columns = tuple(types) if isinstance(types, dict) else tuple(types.names)
        shards = tuple(
            Shard(index, first, min(self.shard_rows, rows - first), position)
            for index, position in enumerate(self.positions)
            for first in [index * self.shard_rows]
        )
        return InputPlan(
            rows=rows,
            shards=shards,
            columns=columns,
            types=types if isinstance(types, dict) else types.serialize().to_pybytes(),
            content_hash=content_hash,
            stat=tuple(file_stat(path) for path in paths),
            scanned_at=time.time(),
            malformed=tuple(self.malformed),
            malformed_count=self.malformed_count,
        )


def file_stat(path: InputFile) -> dict[str, Any]:
    """What tells a file from a changed one without reading it."""
    if isinstance(path, RemoteFile):
        return path.identity()
    stat = path.stat()
    return {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def file_size(path: InputFile) -> int:
    """Bytes of a file."""
    return path.size if isinstance(path, RemoteFile) else path.stat().st_size


def files_unchanged(paths: Sequence[InputFile], plan: InputPlan, *, racy_ok: bool) -> bool:
    """What `Source.unchanged` asks, of these files.

    Raises:
        InputError: a store cannot be asked. That is no sign of a change.
    """
    try:
        now = tuple(file_stat(path) for path in paths)
    except StorageError as error:
        raise unreadable(str(error.filename), error) from error
    except OSError:
        return False
    if now != plan.stat:
        return False
    # a store gives each version of an object a tag of its own, so only a file's time can deceive
    return racy_ok or all(stat.get("mtime_ns", 0) / 1e9 < plan.scanned_at - RACY_S for stat in now)


def unreadable(path: str, error: OSError) -> InputError:
    """The one line for a file that cannot be opened or read."""
    return InputError(path, f"cannot be read: {file_trouble(path, error)}")

"""JSON Lines: `.jsonl` and `.ndjson`, plain or compressed, one file or several."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from batchlab.counts import counted
from batchlab.inputs.sources.batch_lines import BODY, is_batch_line
from batchlab.inputs.sources.column_types import ColumnTypes, Kind, kind_of_key
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.hashing import Hasher
from batchlab.inputs.sources.json_files.values import exact, parse_line, read_object
from batchlab.inputs.sources.records import Pass, RecordSource
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Reading
from batchlab.inputs.sources.text_files.compression import read_errors
from batchlab.inputs.sources.text_files.file import TextFile
from batchlab.records import Row, Shard

BLOCK_BYTES = 160 * 1024  # read and split at a time; larger ones gain nothing


class JsonlSource(RecordSource):
    """Rows of JSON Lines files, one object a line; blank lines are skipped."""

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        several = len(files) > 1
        self._texts = [
            TextFile.at(one.file, str(one) if several else shown_as, reading.encoding) for one in files
        ]

    def peek(self) -> tuple[str, ...]:
        """Keys of the first good line."""
        for one, text in zip(self._files, self._texts, strict=True):
            with text.open() as file, read_errors(text.shown_as):
                for line in file:
                    values, problem = parse_line(line)
                    if problem is None and values:
                        return tuple({**values, **one.keys})
        return ()

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        scan = JsonPass(shard_rows, check, limit, several=len(self._files) > 1)
        total = None
        if all(text.plain for text in self._texts):
            total = sum(text.total or 0 for text in self._texts)
        with Hasher(scan.digest) as hasher:
            for number, (one, text) in enumerate(zip(self._files, self._texts, strict=True)):
                scan.begin(number, one)
                with text.open() as file, read_errors(text.shown_as):
                    # whole lines, and a line of any length is read once
                    while not scan.full and (block := file.read(BLOCK_BYTES)):
                        block += file.readline()
                        taken = scan.take(text, block)
                        hasher.update(block if taken == len(block) else block[:taken])
                        if on_progress is not None:
                            on_progress(scan.taken, total)
        self._tell([*(text.described() for text in self._texts), *scan.notes(self.path), *self._judged(scan)])
        return scan.builder.plan(
            scan.rows, scan.kinds(self._files), scan.digest.hexdigest(), [one.file for one in self._files]
        )

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        del plan
        first, row_id = shard.position.get("file", 0), shard.first_row
        for number in range(first, len(self._texts)):
            text, keys = self._texts[number], self._files[number].keys
            with text.open(shard.position["offset"] if number == first else 0) as file:
                for line in iter(file.readline, b""):
                    if line.isspace():
                        continue
                    values, problem = parse_line(line)
                    yield Row(row_id, {**keys, **values} if keys and not problem else values, problem)
                    row_id += 1


class JsonPass(Pass):
    """One pass over JSON objects: rows, where shards start, column types, malformed ones.

    Attributes:
        taken: bytes taken so far, of all files.
    """

    def __init__(self, shard_rows: int, check: CheckRow | None, limit: int | None, *, several: bool) -> None:
        super().__init__(shard_rows, check, limit, several=several)
        self.types = ColumnTypes()
        self._seen_one = False
        self.digest = hashlib.blake2b(digest_size=16)
        self.taken = 0
        self._offset = 0
        self._lines = 0
        self._replaced = 0
        self._first_replaced = 0

    def begin(self, number: int, file: DataFile) -> None:
        """See `Pass.begin`."""
        super().begin(number, file)
        self._offset = self._lines = 0

    def take(self, text: TextFile, block: bytes) -> int:
        """Takes whole lines. Returns how many bytes it took, all of them short of the limit.

        A row costs a microsecond beyond its parsing, so nothing is made for it here, no Row either.
        """
        loads, check, first = orjson.loads, self.checker(), self._lines + 1
        knows = self.types.knows if self._seen_one else _knows_nothing
        rows, shard_at = self.rows, len(self.builder.positions) * self.builder.shard_rows
        limit = self.most
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        index = 0
        for index, line in enumerate(lines):
            if rows >= limit:
                break
            problem = None
            try:
                values = loads(line)
            except ValueError:
                if not line or line.isspace():
                    continue
                values = None
            if type(values) is not dict or not knows(values):
                values, problem = (
                    self._reread(text, line, first + index)
                    if type(values) is not dict
                    else exact(values, line)
                )
                if problem is None:
                    self.see(values)
                else:
                    self.bad(first + index, problem, rows)
            if rows == shard_at:
                self.builder.positions.append(
                    self.bookmark({"offset": self._offset + _bytes_of(lines[:index])})
                )
                shard_at += self.builder.shard_rows
            if check is not None and problem is None:
                check(rows, values, first + index)
            rows += 1
        else:
            index += 1
        taken = min(_bytes_of(lines[:index]), len(block))  # the last line may have no end
        self._lines += index
        self._offset += taken
        self.taken += taken
        self.rows = rows
        return taken

    def see(self, values: dict[str, Any]) -> None:
        """Takes in the types of one row."""
        if not self._seen_one:
            self._seen_one = True
            if is_batch_line(values):  # a body as Arrow structs would lose its keys' order and its nulls
                self.types = ColumnTypes(as_json=(BODY,))
        self.types.see(values)

    def replaced(self, number: int) -> None:
        """One more row in which half a surrogate pair was replaced."""
        self._replaced += 1
        self._first_replaced = self._first_replaced or number

    def kinds(self, files: Sequence[DataFile]) -> dict[str, Kind]:
        """The columns of all rows; the folders' keys come last, unless the files have such a column."""
        kinds = self.types.kinds()
        if not kinds:
            return kinds
        for one in files:
            for name, value in one.keys.items():
                kinds[name] = kind_of_key(kinds.get(name, "null"), value)
        return kinds

    def notes(self, shown_as: str) -> list[str]:
        """What is worth telling of the pass."""
        if not self._replaced:
            return []
        where = f"{counted(self._replaced, 'row')} (the first: {self._first_replaced})"
        return [f"{shown_as}: half surrogate pairs, which are no text, were replaced by U+FFFD in {where}"]

    def _reread(self, text: TextFile, line: bytes, number: int) -> tuple[dict[str, Any], str | None]:
        values, problem, replaced = read_object(line)
        if problem is not None:
            self.no_text.look(text, number, line)
        if replaced:
            self.replaced(number)
        return values, problem


def _bytes_of(lines: list[bytes]) -> int:
    """With their ends."""
    return sum(map(len, lines)) + len(lines)


def _knows_nothing(values: dict[str, Any]) -> bool:
    del values
    return False

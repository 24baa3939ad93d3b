"""Plain text: a prompt a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from batchlab.inputs.sources.column_types import Kind, kind_of_key
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.records import Pass, RecordSource
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Reading
from batchlab.inputs.sources.text_files.compression import read_errors
from batchlab.inputs.sources.text_files.file import TextFile
from batchlab.inputs.sources.text_files.no_text import Undecoded
from batchlab.records import Row, Shard

COLUMN = "prompt"
REPORT_EVERY = 5_000


class TextSource(RecordSource):
    """Each line that is not blank is a row, in a column named `prompt`, with the spaces it has."""

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        self._texts = [
            TextFile.at(one.file, str(one) if len(files) > 1 else shown_as, reading.encoding) for one in files
        ]
        self._tell(text.described() for text in self._texts)

    def peek(self) -> tuple[str, ...]:
        """The one column, and the folders' keys."""
        return tuple(self._kinds())

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        digest = hashlib.blake2b(digest_size=16)
        scan = Pass(shard_rows, check, limit, several=len(self._files) > 1)
        for number, (one, text) in enumerate(zip(self._files, self._texts, strict=True)):
            scan.begin(number, one)
            with text.open() as file, read_errors(text.shown_as):
                offset = 0
                for line_number, line in enumerate(file, 1):
                    if scan.full:
                        break
                    digest.update(line)
                    if not _is_blank(line):
                        prompt, undecoded = _prompt(text, line_number, line)
                        problem = None
                        if undecoded is not None:
                            problem = undecoded.problem()
                            scan.no_text.see(undecoded)
                        scan.row({COLUMN: prompt}, problem, line_number, {"offset": offset})
                    offset += len(line)
                    if on_progress is not None and line_number % REPORT_EVERY == 0:
                        on_progress(offset, text.total if len(self._files) == 1 else None)
        self._tell([*(text.described() for text in self._texts), *self._judged(scan)])
        return scan.builder.plan(
            scan.rows, self._kinds(), digest.hexdigest(), [one.file for one in self._files]
        )

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        del plan
        first, row_id = shard.position.get("file", 0), shard.first_row
        for number in range(first, len(self._files)):
            keys = self._files[number].keys
            text = self._texts[number]
            with text.open(shard.position["offset"] if number == first else 0) as file:
                for line in file:
                    if _is_blank(line):
                        continue
                    prompt, undecoded = _prompt(text, 0, line)
                    if undecoded is None:
                        yield Row(row_id, {**keys, COLUMN: prompt})
                    else:
                        yield Row(row_id, {}, undecoded.problem())
                    row_id += 1

    def _kinds(self) -> dict[str, Kind]:
        kinds: dict[str, Kind] = {COLUMN: "str"}
        for one in self._files:
            for name, value in one.keys.items():
                kinds[name] = kind_of_key(kinds.get(name, "null"), value)
        return kinds


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(b"\xef\xbb\xbf").strip()


def _prompt(text: TextFile, number: int, line: bytes) -> tuple[str, Undecoded | None]:
    if (undecoded := Undecoded.of(text, number, line)) is not None:
        return "", undecoded
    return line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n"), None

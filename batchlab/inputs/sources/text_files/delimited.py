"""CSV and TSV. Every column is text, exactly as written; an empty cell is "", not null."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from batchlab.counts import agreeing, counted
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import Kind, kind_of_key
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.records import Pass, RecordSource
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Reading
from batchlab.inputs.sources.text_files.compression import read_errors
from batchlab.inputs.sources.text_files.csv_lines import NO_QUOTES, Digest, Lines, stray
from batchlab.inputs.sources.text_files.dialect import Dialect, dialect_of, with_ends
from batchlab.inputs.sources.text_files.file import HEAD_BYTES, TextFile
from batchlab.records import Row, Shard

REPORT_EVERY = 5_000
MAX_FIELD_BYTES = 256 * 1024 * 1024
HASH_ROWS = 500
MANY_LINES = 10  # of one record: then it is worth looking whether they are records of their own
# cells, and what is wrong with them, from an offset and the line of that number on
_Record: TypeAlias = "tuple[int, int, list[str], str | None]"


class DelimitedSource(RecordSource):
    """Rows of CSV or TSV files with a header line. Quoted cells may hold line ends."""

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        self._texts = [
            TextFile.at(one.file, str(one) if len(files) > 1 else shown_as, reading.encoding) for one in files
        ]
        self._quotes = reading.quotes
        given = _checked(shown_as, reading.delimiter)
        self._dialects = [
            self._dialect(one, text, given) for one, text in zip(files, self._texts, strict=True)
        ]
        csv.field_size_limit(MAX_FIELD_BYTES)

    def peek(self) -> tuple[str, ...]:
        """The headers' names, and the folders' keys."""
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
        digest = Digest()
        scan = Pass(shard_rows, check, limit, several=len(self._files) > 1)
        tally = _Tally()
        kinds = self._kinds()
        for number, (one, text) in enumerate(zip(self._files, self._texts, strict=True)):
            scan.begin(number, one)
            total = text.total if len(self._files) == 1 else None
            lines = Lines(text.open(), text, seen=digest.see)
            with lines.file, read_errors(text.shown_as):
                records = self._records(number, lines)
                names = self._header(number, records, lines)
                tally.lines -= 1
                checked = _checked_cells(records, names, self._dialects[number].spare)
                self._take(scan, checked, names, lines, digest, tally, on_progress, total)
            tally.lines += lines.number
        found = [
            f"{text.shown_as}: {dialect.described()}"
            for text, dialect in zip(self._texts, self._dialects, strict=True)
            if dialect.found
        ]
        found += [
            f"{text.shown_as}: {left_out}"
            for text, dialect in zip(self._texts, self._dialects, strict=True)
            if (left_out := dialect.left_out()) is not None
        ]
        self._tell(
            [
                *(text.described() for text in self._texts),
                *found,
                *tally.described(self.path, scan.rows),
                *self._judged(scan),
            ]
        )
        return scan.builder.plan(scan.rows, kinds, digest.hexdigest(), [one.file for one in self._files])

    def _take(
        self,
        scan: Pass,
        records: Iterator[_Record],
        names: tuple[str, ...],
        lines: Lines,
        digest: Digest,
        tally: _Tally,
        on_progress: OnProgress | None,
        total: int | None,
    ) -> None:
        """Takes in the rows of one file."""
        check, shard_rows = scan.checker(), scan.builder.shard_rows
        rows, most = scan.rows, scan.most
        for offset, number, cells, problem in records:
            if rows >= most:
                break
            if rows % shard_rows == 0:
                scan.builder.positions.append(scan.bookmark({"offset": offset, "line": number}))
            if lines.number != number:
                tally.see(number, lines.number)
            if problem is not None:
                scan.bad(number, problem, rows)
                if lines.no_text is not None:
                    scan.no_text.see(lines.no_text)
            elif check is not None:
                check(rows, dict(zip(names, cells, strict=True)), number)
            rows += 1
            if rows % HASH_ROWS == 0:
                digest.flush()
                if on_progress is not None and rows % REPORT_EVERY == 0:
                    on_progress(lines.offset, total)
        scan.rows = rows

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        first, row_id = shard.position.get("file", 0), shard.first_row
        several = len(self._files) > 1
        for number in range(first, len(self._files)):
            text, keys = self._texts[number], self._files[number].keys
            if number > first or several:
                lines = Lines(text.open(), text)
                with lines.file, read_errors(text.shown_as):
                    names = self._header(number, self._records(number, lines), lines)
                start, line = lines.offset, lines.number + 1
            if number == first:
                start, line = shard.position["offset"], shard.position["line"]
                if not several:
                    names = plan.columns[: len(plan.columns) - len(keys)] if keys else plan.columns
            lines = Lines(text.open(start), text, offset=start, number=line - 1)
            with lines.file:
                dialect = self._dialects[number]
                records = self._records(number, lines, width=len(names) + dialect.unnamed)
                for _, _, cells, problem in _checked_cells(records, names, dialect.spare):
                    values: dict[str, Any] = {}
                    if problem is None:
                        values = dict(zip(names, cells, strict=True))
                        if keys:
                            values = {**keys, **values}
                    yield Row(row_id, values, problem)
                    row_id += 1

    def _kinds(self) -> dict[str, Kind]:
        """The columns of all files in order of first appearance, then those of the folders' names."""
        kinds: dict[str, Kind] = {}
        for number, text in enumerate(self._texts):
            lines = Lines(text.open(), text)
            with lines.file, read_errors(text.shown_as):
                kinds |= dict.fromkeys(self._header(number, self._records(number, lines), lines), "str")
        own = frozenset(kinds)
        for one in self._files:
            for name, value in one.keys.items():
                if name not in own:
                    kinds[name] = kind_of_key(kinds.get(name, "null"), value)
        return kinds

    def _dialect(self, one: DataFile, text: TextFile, given: str | None) -> Dialect:
        head = text.head()
        name = one.file.name.lower()
        whole = len(head) < HEAD_BYTES
        if b"\n" not in head and head.count(b"\r") > 1:
            raise InputError(
                text.shown_as,
                "its lines end in CR alone, as on old Macs",
                f"Convert it: tr '\\r' '\\n' < {text.shown_as} > rows.csv.",
            )
        usual = "\t" if any(ending in name for ending in (".tsv", ".tab")) else ","
        start = head.decode("utf-8", "replace")
        if given is not None:
            dialect = Dialect(given)
        else:
            dialect = dialect_of(start, usual=usual, quotes=self._quotes, whole=whole)
        return with_ends(dialect, start, quotes=self._quotes, whole=whole)

    def _records(self, number: int, lines: Lines, *, width: int = 0) -> Iterator[_Record]:
        """The records of a file; blank lines are skipped.

        Args:
            width: how many cells they have; 0 at the header, which says it.

        Raises InputError where one record has the lines of many.
        """
        dialect = self._dialects[number]
        decoded = iter(lines)
        if dialect.skip and not width:
            next(decoded, None)
        reader = csv.reader(
            decoded,
            delimiter=dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if self._quotes else csv.QUOTE_NONE,
            strict=True,
        )
        while True:
            offset, first = lines.offset, lines.number + 1
            lines.begin(first)
            problem = None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells, problem = [], _not_csv(error)
            if lines.inner or lines.no_text is not None:
                if lines.inner:
                    problem = self._looked_at(lines, first, width, dialect.delimiter, problem)
                    lines.inner.clear()
                if lines.no_text is not None and problem is None:
                    problem = lines.no_text.problem(f" of line {lines.no_text.number}")
            if cells or problem is not None:
                width = width or len(cells)
                yield offset, first, cells, problem

    def _looked_at(
        self, lines: Lines, first: int, width: int, delimiter: str, problem: str | None
    ) -> str | None:
        """What is wrong with a record of several lines.

        A quote that only one end of a cell has takes in the lines up to the next quote, or to the end.
        """
        last, inner = lines.number, lines.inner
        if problem is not None:
            if len(inner) >= MANY_LINES:
                raise stray(lines.text.shown_as, first, last, f"are {problem.split('; if')[0]}")
            return f"{problem} (lines {first} to {last})"
        if width > 1 and len(inner) >= MANY_LINES:
            alike = sum(line.count(delimiter) == width - 1 for line in inner)
            if alike >= 0.8 * len(inner):
                raise stray(
                    lines.text.shown_as, first, last, f"look like rows of {counted(width, 'cell')} each"
                )
        return None

    def _header(self, number: int, records: Iterator[_Record], lines: Lines) -> tuple[str, ...]:
        text = self._texts[number]
        first = next(records, None)
        if first is None:
            raise InputError(text.shown_as, "has no header line and no rows")
        _, line, names, problem = first
        if lines.no_text is not None:
            raise lines.no_text.wrong_header()
        if problem is not None:
            raise InputError(text.shown_as, problem, row=line)
        names = names[: len(names) - self._dialects[number].unnamed]
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise InputError(text.shown_as, f"two columns are named {name!r}", "Rename one.", row=line)
            seen.add(name)
        return tuple(names)


@dataclass(slots=True)
class _Tally:
    """Lines and the rows they made: who looks at a file counts its lines."""

    lines: int = 0
    records: int = 0
    longest: tuple[int, int] = (0, 0)

    def see(self, first: int, last: int) -> None:
        """A row of several lines."""
        self.records += 1
        if last - first > self.longest[1] - self.longest[0]:
            self.longest = first, last

    def described(self, shown_as: str, rows: int) -> list[str]:
        """For a person; nothing where each row is a line."""
        if not self.records:
            return []
        first, last = self.longest
        lines = f"{counted(self.lines, 'line')} {agreeing(self.lines, 'is', 'are')} {counted(rows, 'row')}"
        several = f"{counted(self.records, 'row')} {agreeing(self.records, 'has', 'have')} several lines"
        return [f"{shown_as}: {lines}: {several} (the longest: lines {first} to {last})"]


def _checked_cells(records: Iterator[_Record], names: Sequence[str], spare: int) -> Iterator[_Record]:
    """The records, and whether they have as many cells as the header has; `spare` empty ones are left out."""
    width = len(names)
    for record in records:
        offset, number, cells, problem = record
        if problem is None and len(cells) != width:
            if width < len(cells) <= width + spare and not any(cells[width:]):
                record = offset, number, cells[:width], None
            else:
                record = offset, number, cells, f"{counted(len(cells), 'cell')}, but the header has {width}"
        elif cells and cells[0][:1] == "\ufeff" and [cells[0][1:], *cells[1:]] == [*names]:
            record = offset, number, cells, "the header again: two files were put one after the other"
        yield record


def _not_csv(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "not valid CSV (a CR that ends no line is in a cell without quotes)"
    return f"not valid CSV ({error}); {NO_QUOTES}"


def _checked(path: str, delimiter: str | None) -> str | None:
    """The delimiter of a job. Raises InputError unless it is one character."""
    if delimiter is None:
        return None
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(
            path,
            f"the delimiter {delimiter!r} is not one character",
            "Write {input.delimiter=;} or {input.delimiter=tab}.",
        )
    return delimiter

"""How a delimited file separates its cells, where nobody says it."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace

from batchlab.counts import counted

CANDIDATES = (",", ";", "\t", "|")
NAMES = {"\t": "tab"}
LOOK_RECORDS = 50
_SEP_LINE = re.compile(r"\ufeff?sep=(.)\r?\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What was found.

    Attributes:
        skip: the first line says the delimiter and is no header: Excel's `sep=;`.
        unnamed: how many cells at the header's end have no name, where they are several: a spreadsheet's
            empty columns.
        ends: each row, but not the header, has a delimiter after its last cell.
        found: the delimiter is not the usual one of such a file; to be said.
    """

    delimiter: str
    skip: bool = False
    found: bool = False
    unnamed: int = 0
    ends: bool = False

    @property
    def spare(self) -> int:
        """How many empty cells a row may have beyond those that the header names."""
        return self.unnamed + self.ends

    def described(self) -> str:
        """For a person."""
        name = NAMES.get(self.delimiter, self.delimiter)
        return f"cells are taken to be separated by {name}, as the header and the first rows have it"

    def left_out(self) -> str | None:
        """For a person: which cells are no column."""
        if self.unnamed:
            return f"left out for want of a name: the last {counted(self.unnamed, 'column')}"
        return "each row ends in a delimiter, after which there is no column" if self.ends else None


def dialect_of(head: str, *, usual: str, quotes: bool, whole: bool) -> Dialect:
    """The delimiter that gives the first records of a file as many cells as its header.

    The usual one is kept unless another one fits the header and every record, and it does not.

    Args:
        head: the beginning of the file.
        whole: there is nothing beyond it.
    """
    said = _SEP_LINE.match(head)
    if said is not None:
        return Dialect(said[1], skip=True, found=said[1] != usual)
    shapes = {one: _shape(head, one, quotes=quotes, whole=whole) for one in (usual, *CANDIDATES)}
    if shapes[usual] > 1:
        return Dialect(usual)
    fitting = [one for one in CANDIDATES if shapes[one] > 1]
    if not fitting:
        return Dialect(usual)
    return Dialect(max(fitting, key=lambda one: shapes[one]), found=True)


def with_ends(dialect: Dialect, head: str, *, quotes: bool, whole: bool) -> Dialect:
    """The dialect with what the header and the first records say of cells beyond the named ones."""
    head = head.partition("\n")[2] if dialect.skip else head
    header, *records = _records(head, dialect.delimiter, quotes=quotes, whole=whole) or [[]]
    unnamed = 0
    while unnamed < len(header) and not header[-1 - unnamed]:
        unnamed += 1
    one_more = len(header) + 1
    return replace(
        dialect,
        unnamed=unnamed if 1 < unnamed < len(header) else 0,
        ends=bool(records) and all(len(cells) == one_more and not cells[-1] for cells in records),
    )


def _shape(head: str, delimiter: str, *, quotes: bool, whole: bool) -> int:
    """How many cells the header and every one of the first records have; 0 when they differ."""
    records = _records(head, delimiter, quotes=quotes, whole=whole)
    if not records:
        return 0
    cells = len(records[0])
    odd = sum(len(record) != cells for record in records)
    names = list(records[0])
    while len(names) > 2 and not names[-1]:  # a spreadsheet's empty columns
        names.pop()
    # one ragged record among many is that record's trouble
    return cells if odd * 10 <= len(records) and all(names) else 0


def _records(head: str, delimiter: str, *, quotes: bool, whole: bool) -> list[list[str]]:
    """The first records, as far as they can be read."""
    text = io.StringIO(head.removeprefix("\ufeff"), newline="")
    reader = csv.reader(
        text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, strict=True
    )
    records: list[list[str]] = []
    ended = False
    try:
        for record in reader:
            if record:
                records.append(record)
            if len(records) > LOOK_RECORDS:
                break
        else:
            ended = True
    except csv.Error:
        pass
    if ended and not whole and len(records) > 1:
        records.pop()  # which the look may have cut
    return records

"""A few failed rows of each error class, with what was said of them: read once, and from few places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import BatchlabError
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.browse.reader import RowReader, Rows, Wanted
from batchlab.looking.overview.sums import Mask

EXAMPLES = 3
CANDIDATES = 12  # failed rows of a class that are looked at: their messages may all be the same
MESSAGE_CHARS = 500
_TOLD = Wanted((), ("custom_id", "error_code", "error_message"))


@dataclass(frozen=True, slots=True)
class Example:
    """A failed row, and what was said of it."""

    row_id: int
    custom_id: str
    code: int | None
    message: str


class Examples:
    """The examples of a run's error classes. What was read is kept as long as the same rows would be."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], list[Example]] = {}

    def of(
        self, index: RowIndex, failed: Mask, classes: Sequence[str | None]
    ) -> dict[str | None, list[Example]]:
        """Up to three rows of each class, with different messages, the first ones."""
        found, before = {}, self._kept
        self._kept = {}
        for name in classes:
            mask = failed & np.isin(index["error_class"], index.codes("error_class", [name]))
            first = int(mask.argmax())
            # among the next rows: an early part of the run is enough, and a search through all is not
            rows = first + np.flatnonzero(mask[first : first + 1_000_000])[:CANDIDATES]
            pieces = index.by_piece(rows.tolist())
            of_parts = [piece.shard for piece, _ in pieces if piece.group is not None]
            versions = tuple(map(index.version_of, of_parts))
            key = (name, tuple(rows.tolist()), versions)
            self._kept[key] = before[key] if key in before else _read(RowReader(index.run, index), pieces)
            found[name] = self._kept[key]
        return found


def _read(reader: RowReader, pieces: Sequence[tuple[Piece, list[int]]]) -> list[Example]:
    found: list[Example] = []
    for piece, rows in pieces:
        try:
            told = [one for some in reader.rows(piece, _TOLD, rows) for one in _examples(some)]
        except BatchlabError:
            continue  # it is damaged: who reads it for more says so
        for one in told:
            if all(one.message != other.message for other in found):
                found.append(one)
            if len(found) == EXAMPLES:
                return found
    return found


def _examples(rows: Rows) -> Iterator[Example]:
    for place, row in enumerate(rows.ids):
        custom_id, code, message = (rows.result(name, place) for name in _TOLD.results)
        yield Example(row, str(custom_id or row), code, str(message or "")[:MESSAGE_CHARS])

"""A few failed rows of each error class, with what was said of them: read once, and from few places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import ODD
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.overview.sums import Mask
from batchlab.store.parts import part_tables

EXAMPLES = 3
CANDIDATES = 12  # failed rows of a class that are looked at: their messages may all be the same
MESSAGE_CHARS = 500
_TOLD = ("custom_id", "error_code", "error_message")


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
            pieces: dict[int, tuple[Piece, list[int]]] = {}
            for row in rows.tolist():
                piece = index.piece_of(row)
                pieces.setdefault(piece.first_row, (piece, []))[1].append(row)
            of_parts = [piece.shard for piece, _ in pieces.values() if piece.group is not None]
            versions = tuple(map(index.version_of, of_parts))
            key = (name, tuple(rows.tolist()), versions)
            self._kept[key] = before[key] if key in before else _read(index, list(pieces.values()))
            found[name] = self._kept[key]
        return found


def _read(index: RowIndex, pieces: Sequence[tuple[Piece, list[int]]]) -> list[Example]:
    found: list[Example] = []
    for piece, rows in pieces:
        try:
            told = (
                _of_part(index, piece, rows) if piece.group is not None else _of_journals(index, piece, rows)
            )
        except (BatchlabError, OSError, *ODD):
            continue  # it is damaged: another reader says so
        for one in told:
            if all(one.message != other.message for other in found):
                found.append(one)
            if len(found) == EXAMPLES:
                return found
    return found


def _of_part(index: RowIndex, piece: Piece, rows: Sequence[int]) -> list[Example]:
    assert piece.group is not None, "there is a part"
    prefix = index.run.manifest.prefix
    names = [prefix + name for name in _TOLD]
    found, first = [], piece.first_row
    for table in part_tables(index.run.part(piece.shard.index), names, groups=[piece.group]):
        for row in rows:
            if first <= row < first + table.num_rows:
                values = table.slice(row - first, 1).to_pylist()[0]
                found.append(_example(row, {name: values.get(prefix + name) for name in _TOLD}))
        first += table.num_rows
    return found


def _of_journals(index: RowIndex, piece: Piece, rows: Sequence[int]) -> list[Example]:
    opened = index.opened(piece.shard)
    records = [] if opened is None else [(row, opened.values(row)) for row in rows]
    return [_example(row, values) for row, values in records if values is not None]


def _example(row: int, values: Any) -> Example:
    code = values.get("error_code")
    message = str(values.get("error_message") or "")[:MESSAGE_CHARS]
    custom_id = values.get("custom_id")
    return Example(
        row, str(row if custom_id is None else custom_id), None if code is None else int(code), message
    )

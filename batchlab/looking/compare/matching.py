"""Which rows of two runs ask about the same: by their own ids, or by their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from batchlab.errors import BatchlabError
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.store.view import RunView

Rows = npt.NDArray[np.int64]
_IDS = Wanted((), ("custom_id",))


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs of rows, in the order of the first run.

    Attributes:
        a, b: row_ids of the pairs.
        only_a, only_b: rows that only one of the runs has.
        note: what a person should know of how they were matched.
    """

    a: Rows
    b: Rows
    by: Literal["row", "custom_id"]
    only_a: int
    only_b: int
    note: str = ""


def matched(a: RowIndex, b: RowIndex) -> Matched:
    """The pairs of two runs.

    By the place in the input where it is the same, or where it has no ids; else by id. Of several rows of one
    id the first of each run is taken.
    """
    one, other = a.run.manifest.plan, b.run.manifest.plan
    if one.content_hash != other.content_hash and _has_ids(a.run) and _has_ids(b.run):
        return _by_id(a, b)
    pairs = min(a.rows, b.rows)
    rows = np.arange(pairs, dtype=np.int64)
    note = ""
    if one.content_hash != other.content_hash and set(one.columns) != set(other.columns):
        note = (
            "The inputs differ, and have no ids: rows are matched by their places, and may ask about others."
        )
    elif one.content_hash != other.content_hash and pairs:
        note = "The inputs are not the same file, and have no ids: rows are matched by place."
    return Matched(rows, rows, "row", a.rows - pairs, b.rows - pairs, note)


def _has_ids(run: RunView) -> bool:
    return run.manifest.job.input.id is not None or "custom_id" in run.manifest.plan.columns


def _by_id(a: RowIndex, b: RowIndex) -> Matched:
    ids_a, ids_b = (_hashed_ids(index) for index in (a, b))
    known_a, first_a = np.unique(ids_a, return_index=True)
    known_b, first_b = np.unique(ids_b, return_index=True)
    _, in_a, in_b = np.intersect1d(known_a, known_b, assume_unique=True, return_indices=True)
    rows_a, rows_b = first_a[in_a].astype(np.int64), first_b[in_b].astype(np.int64)
    order = np.argsort(rows_a)
    pairs = len(order)
    return Matched(rows_a[order], rows_b[order], "custom_id", a.rows - pairs, b.rows - pairs)


def _hashed_ids(index: RowIndex) -> Rows:
    """A number for the id of each row, 8 bytes of memory instead of a text's 60; no id has another's place.

    A row whose id is not known, because its shard is not sealed or cannot be read, has one of its own.
    """
    # negative numbers are nobody's id: Python's hashes are shifted to be none of them
    ids = -1 - np.arange(index.rows, dtype=np.int64)
    for row, text in _ids(index):
        ids[row] = hash(text) & 0x7FFFFFFFFFFFFFFF
    return ids


def _ids(index: RowIndex) -> Iterator[tuple[int, str]]:
    reader = RowReader(index.run, index)
    for piece in index.pieces():
        try:
            for found in reader.rows(piece, _IDS):
                texts = found.results["custom_id"].to_pylist()
                yield from (
                    (row, text) for row, text in zip(found.ids, texts, strict=True) if text is not None
                )
        except (BatchlabError, KeyError):
            continue  # that is told where rows are read

"""Which rows are meant and in which order, by what is held of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from batchlab.arrow import pa, pc
from batchlab.looking.browse.columns import HELD, UNREADABLE, Numbers
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.query import RowQuery
from batchlab.looking.rows.conditions import Condition
from batchlab.protocol.finish import unknown_finish

_ODD_FIRST = ("failed", UNREADABLE, "invalid", "filtered", "truncated")

Label: TypeAlias = "tuple[str | None, str | None]"  # a label and a note
Labels: TypeAlias = "Callable[[], Mapping[int, Label]]"  # those of a run, by row


class Chooser:
    """Chooses rows of a run by its index.

    Args:
        prefix: of the names of result columns.
    """

    def __init__(self, index: RowIndex, prefix: str, labels: Labels) -> None:
        self._index = index
        self._prefix = prefix
        self._labels = labels
        self._order: tuple[str, bool, int, Numbers] | None = None  # by what rows were ordered last

    def split(self, conditions: Sequence[Condition]) -> tuple[list[Condition], list[Condition]]:
        """Those on columns that are held, and those on others."""
        held = [one for one in conditions if self._held(one.column) is not None]
        return held, [one for one in conditions if one not in held]

    def mask(self, query: RowQuery, held: Sequence[Condition]) -> Numbers:
        """Which rows are meant, as far as that takes no reading."""
        index = self._index
        mask = np.ones(index.rows, dtype=bool)
        words: dict[str, Iterable[str | None]] = {
            "status": query.statuses,
            "error_class": query.errors,
            "finish_reason": query.finishes,
            "lane": query.lanes,
        }
        for name, asked in words.items():
            if asked:
                allowed = np.zeros(np.iinfo(index[name].dtype).max + 1, dtype=bool)
                allowed[index.codes(name, list(asked))] = True
                mask &= allowed[index[name]]
        if query.ranges:
            mask &= self._inside(query.ranges)
        if query.labels:
            mask &= self._labelled(query.labels)
        for condition in held:
            made = condition.mask(pa.table({condition.column: self._column(condition.column)}))
            mask &= pc.fill_null(made, False).to_numpy().astype(bool)
        return mask

    def ordered(self, query: RowQuery, mask: Numbers) -> Numbers:
        """The rows of a mask, as they are asked for."""
        if query.sort == "row":
            rows = np.flatnonzero(mask).astype("i4")
            rows = rows[::-1] if query.is_descending else rows
        else:
            order = self._sorted(query.sort, is_descending=query.is_descending)
            rows = order[mask[order]]
        if query.odd:
            rows = rows[np.argsort(self._oddness()[rows], kind="stable")]
        return rows if query.most is None else rows[: query.most]

    def _held(self, column: str) -> str | None:
        """The bare name of a column that is held; None for any other."""
        name = column.removeprefix(self._prefix)
        return name if column == self._prefix + name and (name in HELD or name == "row_id") else None

    def _column(self, column: str) -> pa.Array:
        name = self._held(column) or "row_id"
        return pa.array(np.arange(self._index.rows)) if name == "row_id" else self._index.arrow(name)

    def _inside(self, ranges: Iterable[tuple[int, int | None]]) -> Numbers:
        inside = np.zeros(self._index.rows, dtype=bool)
        for first, last in ranges:
            inside[first : None if last is None else last + 1] = True
        return inside

    def _labelled(self, labels: frozenset[str | None]) -> Numbers:
        """Rows that have one of the labels; None: those that have none."""
        has_none = None in labels
        found = np.full(self._index.rows, has_none)
        for row, (label, _) in self._labels().items():
            if 0 <= row < len(found):
                found[row] = label in labels
        return found

    def _sorted(self, name: str, *, is_descending: bool) -> Numbers:
        """All rows by a column; null comes last, and equal ones in the order of the input."""
        version = self._index.version
        if self._order is not None and self._order[:3] == (name, is_descending, version):
            return self._order[3]
        values = self._index[name]
        keys = values.astype("f8" if name == "cost_usd" else "f4")
        if values.dtype.kind == "i":
            keys[values < 0] = np.nan
        if is_descending:
            np.negative(keys, out=keys)
        order = np.argsort(keys, kind="stable").astype("i4")
        self._order = (name, is_descending, version, order)  # a person sorts by one column at a time
        return order

    def _oddness(self) -> Numbers:
        """The rank of each row: 0 is the oddest."""
        index = self._index
        names = index.words["status"].names
        ranks = np.full(len(names), len(_ODD_FIRST) + 1, dtype="u1")
        for rank, word in enumerate(_ODD_FIRST):
            ranks[names.index(word)] = rank
        ranks[names.index("pending")] += 1
        found: Numbers = ranks[index["status"]]
        strange = np.array([unknown_finish(word) is not None for word in index.words["finish_reason"].names])
        is_ok = index["status"] == names.index("ok")
        found[is_ok & ((index["error_class"] > 0) | strange[index["finish_reason"]])] = len(_ODD_FIRST)
        return found

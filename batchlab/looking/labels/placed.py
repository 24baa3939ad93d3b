"""Labels at their rows: a label is of one answer, and one of an earlier answer is told from it.

Where an input has changed since, rows have moved: a label goes with what was asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.arrow import pa, pc
from batchlab.errors import CorruptRun
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.labels.label import Answer, Key, Label
from batchlab.store.manifest import Manifest
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView

LABEL, NOTE = "label", "label_note"
READ = ("row_id", "finished_at", "attempts", "request_hash")  # what tells which answer a row has
_OTHER_NAMES = "batchlab_"  # before them, where the input has columns that are called so


@dataclass(frozen=True, slots=True)
class Placed:
    """What is said of a row now.

    Attributes:
        label: of the answer that it has now.
        note: with what was said of an earlier answer, if that is what the label is of.
        is_earlier: whether it is.
    """

    label: str | None
    note: str | None
    is_earlier: bool = False


def placed(label: Label, *, is_same: bool) -> Placed:
    """A label at its row; `is_same` says whether the row still has the answer that is labelled."""
    if is_same:
        return Placed(label.label, label.note)
    said = ": ".join(filter(None, (label.label, label.note)))
    return Placed(None, f"of an earlier answer: {said}", is_earlier=True)


def labels_by_row(index: RowIndex, labels: Mapping[Key, Label], moved: Moved) -> dict[int, Placed]:
    """What is said of each row of a run that somebody has said something of.

    Args:
        moved: of the same labels; what it has looked for is not looked for again.
    """
    generation = index.run.manifest.generation
    now = {one.row: one for one in labels.values() if not one.against and one.generation == generation}
    said = {**moved.rows(index), **now}
    return {
        row: placed(label, is_same=label.answer.is_same(*now_of(index, row)))
        for row, label in said.items()
        if row < index.rows and not label.is_nothing
    }


def now_of(index: RowIndex, row: int) -> tuple[int | None, int | None]:
    """When a row's answer came, in µs, and its attempts."""
    at, attempts = float(index["finished_at"][row]), int(index["attempts"][row])
    return None if np.isnan(at) else round(at * 1e6), None if attempts < 0 else attempts


class Moved:
    """Labels of earlier generations of a run, at the rows that ask now what these had asked."""

    def __init__(self, labels: Mapping[Key, Label], generation: int) -> None:
        plain = (one for one in labels.values() if not one.against and one.generation != generation)
        self._waiting = _by_hash(plain)
        self._rows: dict[int, Label] = {}
        self._looked: set[int] = set()  # numbers of shards

    def rows(self, index: RowIndex) -> Mapping[int, Label]:
        """Those found so far, by row: in the shards that are sealed. Reads a column of each once."""
        if not self._waiting:
            return {}
        run = index.run
        for shard in run.manifest.plan.shards:
            if shard.index in self._looked or not index.has_part(shard) or index.is_unreadable(shard):
                continue
            self._looked.add(shard.index)
            name, first = run.manifest.prefix + "request_hash", shard.first_row
            try:
                for table in part_tables(run.part(shard.index), [name]):
                    for place, own in _found(table[name], self._waiting):
                        self._rows[first + place] = own.pop(0)
                    first += table.num_rows
            except CorruptRun:
                continue  # that is told where rows are read
        return self._rows


def _by_hash(labels: Iterable[Label]) -> dict[bytes, list[Label]]:
    waiting: dict[bytes, list[Label]] = defaultdict(list)
    for label in sorted(labels, key=lambda one: one.row):
        if label.answer.request_hash is not None:
            waiting[label.answer.request_hash].append(label)
    return waiting


def _found(hashes: pa.ChunkedArray, waiting: dict[bytes, list[Label]]) -> Iterator[tuple[int, list[Label]]]:
    """Places of rows that ask what a label was said of, each with the labels that wait for one."""
    plain = hashes.cast(pa.binary())
    mask = pc.is_in(plain, value_set=pa.array(list(waiting), pa.binary()))
    for place in pc.indices_nonzero(mask).to_pylist():
        if own := waiting.get(plain[place].as_py()):
            yield place, own


def column_names(manifest: Manifest) -> tuple[str, str]:
    """What the columns of labels are called beside a run's own: `label` and `label_note`, with the prefix of
    the result columns, or with `batchlab_` where the input has such a column."""
    have = {*manifest.plan.columns, *(manifest.expanded.names if manifest.expanded is not None else ())}
    names = manifest.prefix + LABEL, manifest.prefix + NOTE
    return names if have.isdisjoint(names) else (_OTHER_NAMES + LABEL, _OTHER_NAMES + NOTE)


def labelled(run: RunView, tables: Iterable[pa.Table], labels: Mapping[Key, Label]) -> Iterator[pa.Table]:
    """Tables of a run's rows, in their order, with the columns of labels at the end.

    They have the result columns `READ`. Without any label they are as they were.
    """
    plain = [one for one in labels.values() if not one.against]
    if not plain:
        yield from tables
        return
    manifest = run.manifest
    by_row = {one.row: one for one in plain if one.generation == manifest.generation}
    rows = np.array(sorted(by_row), np.int64)
    waiting = _by_hash(one for one in plain if one.generation != manifest.generation)
    names = [manifest.prefix + name for name in READ]
    for table in tables:
        row_ids = table[names[0]].to_numpy()
        here = np.flatnonzero(np.isin(row_ids, rows))
        found = {int(place): by_row[int(row_ids[place])] for place in here}
        if waiting:
            for place, own in _found(table[names[3]], waiting):
                moved = own.pop(0)
                found.setdefault(place, moved)
        found = {place: label for place, label in found.items() if not label.is_nothing}
        yield _with(table, _placed_in(table, names, found), column_names(manifest))


def _placed_in(table: pa.Table, names: Sequence[str], found: Mapping[int, Label]) -> dict[int, Placed]:
    if not found:
        return {}
    places = sorted(found)
    at = table[names[1]].take(places).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    attempts = table[names[2]].take(places).cast(pa.int64()).to_pylist()
    return {
        place: placed(found[place], is_same=found[place].answer.is_same(came, asked))
        for place, came, asked in zip(places, at, attempts, strict=True)
    }


def _with(table: pa.Table, said: Mapping[int, Placed], names: tuple[str, str]) -> pa.Table:
    columns: list[list[Any]] = [[None] * table.num_rows, [None] * table.num_rows]
    for place, one in said.items():
        columns[0][place], columns[1][place] = one.label, one.note
    for name, values in zip(names, columns, strict=True):
        table = table.append_column(name, pa.array(values, pa.string()))
    return table


def answer_of(values: Mapping[str, Any]) -> Answer:
    """Which answer a row has, by its result columns `READ`."""
    at = values.get("finished_at")
    hashed = values.get("request_hash")
    return Answer(None if at is None else round(at.timestamp() * 1e6), values.get("attempts"), hashed)

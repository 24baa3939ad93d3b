"""The lines of a page: what is held of its rows at once, their texts as soon as they are read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import ODD
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.browse.reader import RowReader, Rows, Wanted
from batchlab.looking.browse.snippets import Snippet, has, snippet
from batchlab.looking.rows.asked import Asked, asked_texts
from batchlab.looking.rows.tables import row_at
from batchlab.looking.show import answer_text
from batchlab.result_columns import VECTOR_COLUMNS

KEPT = 1_000  # lines whose texts are remembered, of 1 kB at most
_SHOWN = ("completion", "refusal", "tool_calls", *VECTOR_COLUMNS)
_ASIDE = ("reasoning", "choices")  # shown where only they have what is looked for
_READ = (*_SHOWN, *_ASIDE, "error_message", "custom_id", "status")


@dataclass(frozen=True, slots=True)
class Texts:
    """What is read for the line of a row; `problem` when it cannot be."""

    custom_id: str
    asked: Snippet | None = None
    answer: Snippet | None = None
    error_message: Snippet | None = None
    problem: str = ""


class Lines:
    """Reads the texts of lines, in the threads of a pool, and remembers those that were read last."""

    def __init__(self, index: RowIndex, reader: RowReader, asked: Asked, schema_names: Sequence[str]) -> None:
        self._index = index
        self._reader = reader
        self._asked = asked
        builder = asked.builder
        inputs = () if builder is None else tuple(name for name in schema_names if name in builder.columns)
        self._wanted = Wanted(inputs, _READ)
        self._kept: OrderedDict[tuple[int, int, str], Texts] = OrderedDict()
        self._turn = threading.Lock()

    def known(self, row: int, sought: str) -> Texts | None:
        """The texts of a row, if they were read."""
        key = (row, self._index.version_of(self._index.shard_of(row)), sought)
        with self._turn:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def read(
        self, rows: Sequence[int], sought: str, pool: Executor, seconds: float, is_wanted: Callable[[], bool]
    ) -> None:
        """Has the texts of rows read; returns once they are there, or after so many seconds."""
        pieces: dict[int, tuple[Piece, list[int]]] = {}
        for row in rows:
            piece = self._index.piece_of(row)
            pieces.setdefault(piece.first_row, (piece, []))[1].append(row)
        waiting: list[Future[None]] = [
            pool.submit(self._read, piece, ids, sought, is_wanted) for piece, ids in pieces.values()
        ]
        wait(waiting, timeout=seconds)

    def _read(self, piece: Piece, ids: Sequence[int], sought: str, is_wanted: Callable[[], bool]) -> None:
        left = [row for row in ids if self.known(row, sought) is None]
        if not left or not is_wanted():
            return
        version, made = self._index.version_of(piece.shard), {}
        problem = "its part cannot be read" if self._index.is_unreadable(piece.shard) else ""
        try:
            for found in self._reader.rows(piece, self._wanted, left):
                for place, row in enumerate(found.ids):
                    made[row] = self._texts(found, place, sought)
        except (BatchlabError, OSError, *ODD) as error:
            problem = str(error)
            self._index.unreadable(piece, problem)
        with self._turn:
            for row in left:
                self._kept[row, version, sought] = made.get(row) or Texts(str(row), problem=problem)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _texts(self, rows: Rows, place: int, sought: str) -> Texts:
        row = rows.ids[place]
        values: dict[str, Any] = {name: rows.result(name, place) for name in _READ}
        inputs = row_at(rows.others, place)
        pending = values["status"] in (None, "pending")
        request = self._asked.of(row, inputs, {**values, "custom_id": None if pending else values["custom_id"]}).request
        asked = None
        if request is not None:
            asked = _asked_line([text for _, text in asked_texts(request.body)], sought)
        own_id = request.custom_id if pending and request is not None else values["custom_id"]
        answer = answer_text(values)
        if sought and not has(answer, sought):
            answer = next((values[name] for name in _ASIDE if values[name] and has(values[name], sought)), answer)
        message = values["error_message"]
        return Texts(
            str(row if own_id is None else own_id),
            asked,
            snippet(answer, sought) if answer else None,
            snippet(message, sought) if message else None,
        )


def _asked_line(texts: Sequence[str], sought: str) -> Snippet | None:
    """The last text of a request, or the last that has what is looked for."""
    having = [text for text in texts if sought and has(text, sought)]
    return snippet((having or texts)[-1], sought) if texts else None

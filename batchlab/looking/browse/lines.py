"""The lines of a page: what is held of its rows at once, their texts as soon as they are read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.looking.browse.choosing import Label
from batchlab.looking.browse.columns import ODD, UNREADABLE
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.browse.reader import RowReader, Rows, Wanted
from batchlab.looking.browse.search.snippets import Snippet, has, snippet
from batchlab.looking.rows.asked import Asked, asked_texts
from batchlab.looking.rows.tables import has_own_ids, row_at
from batchlab.looking.show import answer_text
from batchlab.result_columns import VECTOR_COLUMNS
from batchlab.store.view import RunView

KEPT = 1_000  # lines whose texts are remembered, of 1 kB at most
MOST_ID_CHARS = 300
_SHOWN = ("completion", "refusal", "tool_calls", *VECTOR_COLUMNS)
_ASIDE = ("reasoning", "choices")  # shown where only they have what is looked for
_RESULTS = Wanted((), (*_SHOWN, *_ASIDE, "error_message", "custom_id", "status"))


@dataclass(frozen=True, slots=True)
class Texts:
    """What is read for the line of a row; `problem` when it cannot be."""

    custom_id: str
    asked: Snippet | None = None
    answer: Snippet | None = None
    error_message: Snippet | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a page.

    Attributes:
        texts: None until they were read.
    """

    row_id: int
    custom_id: str | None
    status: str
    error_class: str | None
    finish_reason: str | None
    lane: str | None
    latency_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    attempts: int | None
    label: str | None
    note: bool
    texts: Texts | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        found = {name: getattr(self, name) for name in self.__slots__ if name != "texts"}
        hits: dict[str, list[list[int]]] = {}
        for name in ("asked", "answer", "error_message"):
            one = getattr(self.texts, name, None)
            found[name] = one.text if one is not None else None
            if one is not None and one.hits:
                hits[name] = [list(hit) for hit in one.hits]
        known = {"read": self.texts is not None, "problem": self.texts.problem if self.texts else ""}
        return {**found, "hits": hits, **known}


class Lines:
    """Reads the texts of lines, in the threads of a pool, and remembers those that were read last."""

    def __init__(self, run: RunView, index: RowIndex, reader: RowReader, asked: Asked) -> None:
        self._index = index
        self._reader = reader
        self._asked = asked
        builder = asked.builder
        plan, job = run.manifest.plan, run.manifest.job
        inputs = () if builder is None else tuple(name for name in plan.names_out if name in builder.columns)
        self._are_lines = has_own_ids(plan)
        self._has_own_ids = job.input.id is not None or "custom_id" in plan.columns
        self._inputs = Wanted(inputs, ())
        self._kept: OrderedDict[tuple[int, int, str], Texts] = OrderedDict()
        self._turn = threading.Lock()

    def line(self, row: int, sought: str, label: Label) -> Line:
        """The line of a row, with its texts if they were read."""
        index, texts = self._index, self.known(row, sought)
        own_id = None if self._has_own_ids else str(row)
        return Line(
            row_id=row,
            custom_id=own_id if texts is None else texts.custom_id,
            status=index.word("status", row) or UNREADABLE,
            error_class=index.word("error_class", row),
            finish_reason=index.word("finish_reason", row),
            lane=index.word("lane", row),
            latency_ms=index.number("latency_ms", row),
            prompt_tokens=index.count("prompt_tokens", row),
            completion_tokens=index.count("completion_tokens", row),
            cost_usd=index.number("cost_usd", row),
            attempts=index.count("attempts", row),
            label=label[0],
            note=bool(label[1]),
            texts=texts,
        )

    def known(self, row: int, sought: str) -> Texts | None:
        """The texts of a row, if they were read."""
        key = (row, self._index.version_of(self._index.shard_of(row)), sought)
        with self._turn:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def read(
        self,
        pieces: Sequence[tuple[Piece, Sequence[int]]],
        sought: str,
        pool: Executor,
        seconds: float,
        is_wanted: Callable[[], bool],
    ) -> None:
        """Has the texts of rows of pieces read; returns once they are there, or after so many seconds."""
        waiting: list[Future[None]] = [
            pool.submit(self._read, piece, ids, sought, is_wanted) for piece, ids in pieces
        ]
        wait(waiting, timeout=seconds)

    def _read(self, piece: Piece, ids: Sequence[int], sought: str, is_wanted: Callable[[], bool]) -> None:
        left = [row for row in ids if self.known(row, sought) is None]
        if not left or not is_wanted():
            return
        version = self._index.version_of(piece.shard)
        made: dict[int, Texts] = {}
        problem = "its part cannot be read" if self._index.is_unreadable(piece.shard) else ""
        try:
            # one after the other: a row group of prompts and answers is 16 MB while it is read
            for found in self._reader.rows(piece, _RESULTS, left):
                made |= {row: self._answered(found, place, sought) for place, row in enumerate(found.ids)}
            if not self._inputs.others:  # nothing of a request comes from its row, or it cannot be told
                made = {row: self._asked_too(texts, row, {}, sought) for row, texts in made.items()}
            for found in self._reader.rows(piece, self._inputs, left) if self._inputs.others else ():
                for place, row in enumerate(found.ids):
                    made[row] = self._asked_too(made[row], row, row_at(found.others, place), sought)
        except (BatchlabError, OSError, *ODD) as error:
            problem = str(error)
            self._index.unreadable(piece, problem)
            made = {}
        with self._turn:
            for row in left:
                self._kept[row, version, sought] = made.get(row) or Texts(str(row), problem=problem)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def _answered(self, rows: Rows, place: int, sought: str) -> Texts:
        """What a row was answered; its id is "" where it comes with what was asked."""
        values: dict[str, Any] = {name: rows.result(name, place) for name in _RESULTS.results}
        own_id = values["custom_id"]
        if own_id is None or (values["status"] in (None, "pending") and not self._are_lines):
            own_id = ""
        answer, message = answer_text(values), values["error_message"]
        if sought and not has(answer, sought):
            aside = (values[name] for name in _ASIDE)
            answer = next((text for text in aside if text and has(text, sought)), answer)
        return Texts(
            str(own_id),
            answer=snippet(answer, sought) if answer else None,
            error_message=snippet(message, sought) if message else None,
        )

    def _asked_too(self, texts: Texts, row: int, inputs: Mapping[str, Any], sought: str) -> Texts:
        request = self._asked.of(row, inputs, {"custom_id": texts.custom_id or None}).request
        own_id = texts.custom_id or (str(row) if request is None else request.custom_id)
        asked = None
        if request is not None:
            asked = _asked_line([text for _, text in asked_texts(request.body)], sought)
        return replace(texts, custom_id=own_id[:MOST_ID_CHARS], asked=asked)


def _asked_line(texts: Sequence[str], sought: str) -> Snippet | None:
    """The last text of a request, or the last that has what is looked for."""
    having = [text for text in texts if sought and has(text, sought)]
    return snippet((having or texts)[-1], sought) if texts else None

"""What all requests of a run share, to be folded: found by holding one against others.

Where requests are made by templates, the others are made of columns that say something else: what is equal
then comes from no column. Elsewhere (whole messages in a column, lines of a batch file) they are rows of the
run, spread over all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import BatchlabError, UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.templates import RowProblem
from batchlab.looking.browse.columns import ODD
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.looking.rows.asked import Asked
from batchlab.looking.rows.tables import row_at
from batchlab.records import ChatRequest, Row
from batchlab.store.view import RunView

SAMPLE = 5  # rows that others are held against
_TEXTS = frozenset({"messages", "prompt", "input"})


@dataclass(frozen=True, slots=True)
class Common:
    """What a request shares with all others: places of messages, and names of parameters."""

    messages: frozenset[int]
    params: frozenset[str]


class SharedParts:
    """Tells what requests of a run have in common."""

    def __init__(self, run: RunView, index: RowIndex, reader: RowReader) -> None:
        self._run = run
        self._index = index
        self._reader = reader
        self._asked = Asked(run, media="left out")
        self._bodies: list[Mapping[str, Any]] | None = None

    def of(self, request: ChatRequest) -> Common:
        """What a request shares with all others."""
        if self._bodies is None:
            self._bodies = list(self._made_up()) or list(self._sampled())
        others = [body for body in self._bodies if body is not request.body]
        if not others:
            return Common(frozenset(), frozenset())
        messages = _messages(request.body)
        return Common(
            frozenset(
                place
                for place, message in enumerate(messages)
                if all(place < len(_messages(body)) and _messages(body)[place] == message for body in others)
            ),
            frozenset(
                name
                for name, value in request.body.items()
                if name not in _TEXTS and all(name in body and body[name] == value for body in others)
            ),
        )

    def _made_up(self) -> Iterator[Mapping[str, Any]]:
        """Two requests whose columns have nothing in common; none where such values make no request."""
        job, columns = self._run.manifest.job, self._run.manifest.plan.columns
        # what a row brings along of its own (parameters, a model, earlier turns) is not shared anyway
        plain = dataclasses.replace(
            job,
            input=dataclasses.replace(job.input, row_params=None, model=None, endpoint=None),
            request=dataclasses.replace(job.request, history=None, image=[], audio=[]),
        )
        try:
            builder = RequestBuilder(plain, columns, look_only=True)
            made = [builder.build(Row(0, dict.fromkeys(columns, text))).body for text in ("\ue000", "\ue001")]
        except (UsageError, RowProblem, KeyError, ValueError):
            return
        yield from made

    def _sampled(self) -> Iterator[Mapping[str, Any]]:
        builder = self._asked.builder
        if builder is None or self._index.rows < 2:
            return
        places = np.linspace(0, self._index.rows - 1, SAMPLE).astype(int)
        wanted = Wanted(tuple(builder.columns), ("custom_id",))
        for row in dict.fromkeys(places.tolist()):
            try:
                self._index.look_at([row])
                for found in self._reader.rows(self._index.piece_of(row), wanted, [row]):
                    request = self._asked.of(
                        row, row_at(found.others, 0), {"custom_id": found.result("custom_id", 0)}
                    ).request
                    if request is not None:
                        yield request.body
            except (BatchlabError, OSError, *ODD):
                continue


def _messages(body: Mapping[str, Any]) -> list[Any]:
    found = body.get("messages")
    return found if isinstance(found, list) else []

"""One row, whole: the request as it was sent, the answer, and what it took."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.looking.browse.attempts import Attempt, History
from batchlab.looking.browse.columns import ODD, UNREADABLE
from batchlab.looking.browse.copies import Copy, copy_of
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.markdown import MOST_CHARS as MOST_MARKDOWN
from batchlab.looking.browse.markdown import markdown_tree
from batchlab.looking.browse.plain import MOST_CHARS, cut, json_value, plain
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.looking.browse.shared import SharedParts
from batchlab.looking.rows.asked import Asked, content_text
from batchlab.looking.rows.tables import has_own_ids, row_at
from batchlab.looking.show import SHOWN_NUMBERS
from batchlab.protocol.redact import printable
from batchlab.records import ChatRequest
from batchlab.result_columns import RESULT_COLUMNS, VECTOR_COLUMNS
from batchlab.store.view import RunView

MOST_IMAGE_CHARS = 8 << 20  # of a data URL
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")
_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)
_ELSEWHERE = {"completion", "reasoning", "tool_calls", "choices", *VECTOR_COLUMNS}  # in fields of their own


@dataclass(frozen=True, slots=True)
class RowDetail:
    """One row, as plain data.

    Attributes:
        results: the result columns that are not elsewhere here; times are Unix seconds.
        asked, shared: messages, or texts of another request, the row's own and those that all rows share:
            `place` among them all, `role`, `text`, `parts`, and what else a message has.
        params, shared_params: the rest of the request in the same way.
        attempts: what is known of each request for it, and `attempts_note` of all of them.
        as_sent: False when what would be asked now is not what was: a template file has changed.
        problem: why something is missing, "" for nothing.
    """

    row_id: int
    results: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    asked: tuple[Mapping[str, Any], ...] = ()
    shared: tuple[Mapping[str, Any], ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    shared_params: Mapping[str, Any] = field(default_factory=dict)
    as_sent: bool = True
    answer: Mapping[str, Any] | None = None
    reasoning: Mapping[str, Any] | None = None
    tool_calls: Any = None
    choices: tuple[Mapping[str, Any], ...] | None = None
    vectors: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    attempts_note: str = ""
    copy: Copy | None = None
    label: str | None = None
    note: str | None = None
    problem: str = ""

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            **self.results,
            "row_id": self.row_id,
            "inputs": self.inputs,
            "asked": list(self.asked),
            "params": self.params,
            "shared": {"messages": list(self.shared), "params": self.shared_params},
            "as_sent": self.as_sent,
            "answer": self.answer,
            "reasoning": self.reasoning,
            "tool_calls": self.tool_calls,
            "choices": None if self.choices is None else list(self.choices),
            "vectors": self.vectors,
            "attempts_list": [one.json() for one in self.attempts],
            "attempts_note": self.attempts_note,
            "curl": None if self.copy is None else self.copy.curl(),
            "python": None if self.copy is None else self.copy.python(),
            "label": self.label,
            "note": self.note,
            "problem": self.problem,
        }


class Details:
    """Makes the details of a run's rows."""

    def __init__(self, run: RunView, index: RowIndex, reader: RowReader) -> None:
        self._run = run
        self._index = index
        self._reader = reader
        self._wanted = Wanted(None, (*RESULT_COLUMNS, *run.manifest.vectors))
        self._asked = Asked(run)
        self._whole = Asked(run, media="whole") if _has_media(self._asked) else self._asked
        self._shared = SharedParts(run, index, reader)
        self._history = History(run, index)
        self._are_lines = has_own_ids(run.manifest.plan)

    def of(self, row: int, label: str | None, note: str | None) -> RowDetail:
        """The detail of a row; of one that cannot be read, what is known of it."""
        problem = "Its part cannot be read."
        try:
            for found in self._reader.rows(self._index.piece_of(row), self._wanted, [row]):
                inputs = row_at(found.others, 0)
                values = {name: found.result(name, 0) for name in self._wanted.results}
                return self._made(row, inputs, values, label, note)
        except (BatchlabError, OSError, *ODD) as error:
            problem = str(error)
        held = {name: self._index.word(name, row) for name in ("error_class", "finish_reason", "lane")}
        results = {"custom_id": str(row), "status": UNREADABLE, **held}
        return RowDetail(row, results, label=label, note=note, problem=printable(problem))

    def _made(
        self,
        row: int,
        inputs: Mapping[str, Any],
        values: dict[str, Any],
        label: str | None,
        note: str | None,
    ) -> RowDetail:
        is_pending = values["status"] in (None, "pending")
        if is_pending and not self._are_lines:
            values["custom_id"] = None  # a row's id comes with its result
        made = self._whole.of(row, inputs, values)
        if made.request is None and self._whole is not self._asked:  # a file is gone: its place is shown
            made = self._asked.of(row, inputs, values)
        request = made.request
        if values["custom_id"] is None:
            values["custom_id"] = str(row) if request is None else request.custom_id
        asked: list[Mapping[str, Any]] = []
        same: list[Mapping[str, Any]] = []
        params: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        if request is not None:
            common = self._shared.of(request)
            for place, message in enumerate(_messages(request.body)):
                (same if place in common.messages else asked).append({"place": place, **message})
            for name, value in request.body.items():
                if name not in {"messages", "prompt", "input"}:
                    (shared if name in common.params else params)[name] = plain(value)
        attempts, attempts_note = self._history.of(row, values)
        problem = self._asked.problem or (
            "" if request is not None else "What was asked cannot be made again."
        )
        return RowDetail(
            row_id=row,
            results={name: _result(name, value) for name, value in values.items() if name not in _ELSEWHERE},
            inputs={name: plain(value) for name, value in inputs.items()},
            asked=tuple(asked),
            shared=tuple(same),
            params=params,
            shared_params=shared,
            as_sent=made.as_sent or values["status"] in {"failed", "pending"},
            answer=_text(values["completion"], parsed=values.get("parsed")),
            reasoning=_text(values["reasoning"]),
            tool_calls=_calls(values["tool_calls"]),
            choices=_choices(values.get("choices")),
            vectors=_vectors(values),
            attempts=tuple(attempts),
            attempts_note=attempts_note,
            copy=None if request is None else self._copy(request, values),
            label=label,
            note=note,
            problem=problem,
        )

    def _copy(self, request: ChatRequest, values: Mapping[str, Any]) -> Copy | None:
        return copy_of(
            self._run.manifest.job, request, answered_by=values.get("endpoint"), lane=values.get("lane")
        )


def _has_media(asked: Asked) -> bool:
    return asked.builder is not None and asked.builder.media is not None


def _result(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return round(value, 9)
    return json_value(value) if name == "usage_raw" and value else plain(value)


def _text(text: str | None, parsed: str | None = None, *, is_drawn: bool = True) -> dict[str, Any] | None:
    """A text of a model: as it is, as Markdown's tree, and as the JSON that it is if it is some.

    Args:
        is_drawn: whether a tree is made of it.
    """
    if text is None:
        return None
    value = json_value(text)
    tree = markdown_tree(text) if value is None and is_drawn else None
    return {
        "text": cut(text),
        "tree": tree,
        "json": value if value is not None else json_value(parsed),
        "cut": len(text) if len(text) > MOST_CHARS else None,
    }


def _calls(text: str | None) -> Any:
    """The tool calls, their arguments read where they are JSON; what is no list of them as it is."""
    calls = json_value(text)
    if not isinstance(calls, list):
        return calls if calls is not None or not text else cut(text)
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(arguments := function.get("arguments"), str):
            function["arguments_json"] = json_value(arguments)
    return calls


def _choices(text: str | None) -> tuple[dict[str, Any], ...] | None:
    """All answers of a row that asked for several."""
    choices = json_value(text)
    if not isinstance(choices, list) or len(choices) < 2:
        return None  # a single one is there for its pictures or its sound
    found: list[dict[str, Any]] = []
    drawn = 0  # characters: a second of work for what one answer may have, and hundreds of answers may come
    for choice in choices:
        message = choice.get("message", choice) if isinstance(choice, dict) else {}
        content = message.get("content", message.get("text")) if isinstance(message, dict) else None
        text_of = content if isinstance(content, str) else json.dumps(choice, ensure_ascii=False)
        ended = choice.get("finish_reason") if isinstance(choice, dict) else None
        made = _text(text_of, is_drawn=drawn < MOST_MARKDOWN) or {}
        drawn += len(text_of)
        found.append({**made, "finish_reason": ended})
    return tuple(found)


def _vectors(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many embeddings there are, of how many dimensions, and the first numbers of the first."""
    for name in VECTOR_COLUMNS:
        vector = values.get(name)
        if vector:
            vectors = [vector] if name == VECTOR_COLUMNS[0] else vector
            first = vectors[0] or []
            return {"count": len(vectors), "dimensions": len(first), "first": plain(first[:SHOWN_NUMBERS])}
    return None


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages of a request, or its other texts."""
    for message in body.get("messages") or ():
        if not isinstance(message, dict):
            yield {"role": "?", "text": cut(content_text(message)), "parts": []}
            continue
        content = message.get("content")
        # its tool calls, its name, and what else it may have; but nothing of ours
        others = {
            name: plain(value)
            for name, value in message.items()
            if name not in {"role", "content", "text", "parts", "place", "cut"}
        }
        parts = [_part(part) for part in content] if isinstance(content, list) else []
        yield {
            "role": cut(str(message.get("role", "?"))),
            "text": cut(content_text(content)),
            "parts": parts,
            **others,
        }
    for name in ("prompt", "input"):
        asked = body.get(name)
        for text in asked if isinstance(asked, list) else [asked]:
            if text is not None:
                said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
                yield {"role": name, "text": cut(said), "parts": []}


def _part(part: Any) -> dict[str, Any]:
    """A part of a message's content; an image only as data of a kind that runs nothing, or as a link."""
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": cut(text)}
        case {"type": "image_url", "image_url": {"url": str(url), **more}}:
            if _IMAGE.fullmatch(url) and len(url) <= MOST_IMAGE_CHARS:
                empty = url.endswith(",")
                return {"type": "image", "data": None if empty else url, "detail": plain(more.get("detail"))}
            if _LINK.fullmatch(url):
                return {"type": "image", "url": cut(url), "detail": plain(more.get("detail"))}
            return {"type": "image", "data": None, "alt": printable(url, 80)}
        case {"type": "input_audio", "input_audio": {"data": str(data), **more}}:
            return {"type": "audio", "bytes": len(data) * 3 // 4, "format": plain(more.get("format"))}
    return {"type": "other", "json": plain(part)}

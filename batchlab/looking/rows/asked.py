"""What rows of a run were asked, made again from its job and their columns: the one way to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchlab.errors import UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.templates import RowProblem
from batchlab.records import ChatRequest, Row
from batchlab.store.view import RunView


@dataclass(frozen=True, slots=True)
class AskedRow:
    """What one row was asked.

    Attributes:
        request: None when it cannot be told.
        as_sent: False when what would be asked now is not what was: a template file has changed.
    """

    request: ChatRequest | None
    as_sent: bool = True

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """(who, what) of each message, or of each text of another request; () when it is not known."""
        return () if self.request is None else tuple(asked_texts(self.request.body))


class Asked:
    """Makes again what rows of a run were asked.

    Args:
        media: what becomes of images and sounds: `named` (a place for each, and nothing is read but their
            heads), `whole`, or `left out` (their columns are not needed).

    Attributes:
        builder: None when a file that the job names is gone.
        problem: why there is none.
    """

    def __init__(self, run: RunView, *, media: str = "named") -> None:
        job, plan = run.manifest.job, run.manifest.plan
        self._own_ids = "custom_id" in plan.columns
        self._json = [one.name for one in plan.schema if (one.metadata or {}).get(b"batchlab.json") == b"1"]
        self._is_less = media == "left out" and bool(job.request.image or job.request.audio)
        self.builder: RequestBuilder | None = None
        self.problem = ""
        if self._is_less:
            job = dataclasses.replace(job, request=dataclasses.replace(job.request, image=[], audio=[]))
        try:
            self.builder = RequestBuilder(job, plan.columns, look_only=media != "whole")
        except UsageError as error:
            self.problem = str(error)

    def of(self, row_id: int, inputs: Mapping[str, Any], results: Mapping[str, Any]) -> AskedRow:
        """What a row was asked that has these columns."""
        if self.builder is None:
            return AskedRow(None)
        values = dict(inputs)
        if self._own_ids:
            values.setdefault("custom_id", results.get("custom_id"))
        for name in self._json:
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        try:
            request = self.builder.build(Row(row_id, values))
        except (RowProblem, KeyError, ValueError):
            return AskedRow(None)
        known = results.get("request_hash")
        # an image that is only looked at has no hash
        is_whole = self.builder.media is None and not self._is_less
        return AskedRow(request, known in (None, request.request_hash) or not is_whole)


def asked_texts(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who says what in a request's body."""
    for message in body.get("messages") or ():
        if isinstance(message, dict):
            yield str(message.get("role", "?")), content_text(message.get("content"))
        else:  # a line of a batch file is sent as written
            yield "?", content_text(message)
    for name in ("prompt", "input"):
        asked = body.get(name)
        for text in asked if isinstance(asked, list) else [asked]:
            if text is not None:
                yield name, text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)


def content_text(content: Any) -> str:
    """A message's content as text; what is none is named in brackets."""
    if isinstance(content, str) or content is None:
        return content or ""
    parts = content if isinstance(content, list) else [content]
    said = [
        part["text"]
        if isinstance(part, dict) and isinstance(part.get("text"), str)
        else f"[{part.get('type', '?') if isinstance(part, dict) else type(part).__name__}]"
        for part in parts
    ]
    return "\n".join(said)

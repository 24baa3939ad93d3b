"""Results of a batch as they are written: a line each, and what faults make of the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from batchlab.endpoints.simulator.answering import Outcome
from batchlab.endpoints.simulator.batches.faults import BatchFault

GONE = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed, as the batch was cancelled."),
}


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of one line.

    Attributes:
        status: of the answer; 0 where the line was never asked.
        body: the answer's JSON text.
        gone: `expired` or `cancelled`, where it was never asked.
    """

    custom_id: str
    request_id: str
    status: int
    body: bytes
    gone: str = ""
    usd: float | None = None

    @property
    def good(self) -> bool:
        """Whether it was answered."""
        return self.status == 200

    @classmethod
    def of(cls, custom_id: str, request_id: str, outcome: Outcome) -> LineResult:
        """From an answer; what is no JSON, or nothing at all, is an error of the server's."""
        wire = outcome.wire
        body, status = b"".join(wire.pieces), wire.status
        try:
            whole = not wire.silent and (wire.length is None or wire.length == len(body))
            valid = whole and isinstance(json.loads(body), dict)
        except ValueError:
            valid = False
        if not valid:
            status = 500
            body = b'{"error": {"message": "The server had an error.", "type": "server_error", "code": null}}'
        return cls(custom_id, request_id, status, body, usd=outcome.usd)


def openai_line(result: LineResult) -> bytes:
    """A line of OpenAI's output or error file.

    Source: OpenAI API reference, "The request output object" (`id`, `custom_id`, `response`, `error`).
    """
    made: dict[str, Any] = {"id": f"batch_req_{result.request_id}", "custom_id": result.custom_id}
    if result.gone:
        code, message = GONE[result.gone]
        made |= {"response": None, "error": {"code": code, "message": message}}
        return json.dumps(made).encode()
    head = json.dumps(made)[:-1]
    response = b'{"status_code": %d, "request_id": "%b", "body": %b}' % (
        result.status,
        result.request_id.encode(),
        result.body,
    )
    return b'%b, "response": %b, "error": null}' % (head.encode(), response)


def anthropic_line(result: LineResult) -> bytes:
    """A line of a Message Batch's results (anthropic `types/messages/message_batch_result.py`)."""
    head = json.dumps({"custom_id": result.custom_id})[:-1].encode()
    if result.gone:
        kind = "expired" if result.gone == "expired" else "canceled"
        return b'%b, "result": {"type": "%b"}}' % (head, kind.encode())
    if result.good:
        return b'%b, "result": {"type": "succeeded", "message": %b}}' % (head, result.body)
    return b'%b, "result": {"type": "errored", "error": %b}}' % (head, result.body)


def openrouter_line(result: LineResult) -> bytes:
    """A result of OpenRouter's, with its cost (openrouter `components/batchobject.py`, `Result`)."""
    made: dict[str, Any] = {"id": f"batch_req_{result.request_id}", "custom_id": result.custom_id}
    if result.gone:
        code, message = GONE[result.gone]
        return json.dumps({**made, "response": None, "error": _error(message, code)}).encode()
    body = json.loads(result.body)
    if not result.good:
        said = body.get("error") if isinstance(body.get("error"), dict) else {}
        error = _error(str(said.get("message")), str(said.get("type")))
        return json.dumps({**made, "response": None, "error": error}).encode()
    if isinstance(body.get("usage"), dict):
        body["usage"]["cost"] = result.usd
    response = {"status_code": result.status, "request_id": result.request_id, "body": body}
    return json.dumps({**made, "response": response, "error": None}, ensure_ascii=False).encode()


def _error(message: str, type_: str) -> dict[str, Any]:
    return {"message": message, "type": type_, "param": None}


LINES = {"anthropic": anthropic_line, "openrouter": openrouter_line}  # any other: openai_line


class ResultWriter:
    """Writes the lines of one batch into a file as they finish."""

    def __init__(self, path: Path, fates: Mapping[str, BatchFault]) -> None:
        self.path = path
        self.lines = 0
        self._fates = fates
        self._file: BinaryIO | None = None
        self._strikes: dict[str, int] = {}

    def write(self, line: bytes) -> None:
        """One line, as the fates of the batch have it."""
        if self._strikes_now("batch_missing"):
            return
        if self._strikes_now("batch_foreign"):
            self._put(line.replace(b'"custom_id": "', b'"custom_id": "foreign-', 1))
        if self._strikes_now("batch_doubled"):
            self._put(line)
        self._put(line[: len(line) // 2] if self._strikes_now("batch_cut") else line)

    def _strikes_now(self, kind: str) -> bool:
        fault = self._fates.get(kind)
        if fault is None or self._strikes.get(kind, 0) >= fault.count:
            return False
        self._strikes[kind] = self._strikes.get(kind, 0) + 1
        return True

    def _put(self, line: bytes) -> None:
        if self._file is None:
            self._file = self.path.open("wb")
        self._file.write(line + b"\n")
        self.lines += 1

    def close(self) -> int | None:
        """Ends the file; its size, or None when nothing was written."""
        if self._file is None:
            return None
        size = self._file.tell()
        self._file.close()
        if (cut := self._fates.get("batch_truncated")) is not None:
            size = int(size * cut.share)
            with self.path.open("r+b") as file:
                file.truncate(size)
        return size

"""Server-sent events, without I/O.

Framing follows WHATWG HTML § 9.2 (UTF-8, one BOM stripped, lines end in CRLF, LF or CR,
comments ignored, `data` lines joined by LF), with three tolerances: events separated by a
single newline, as ModelsLab's documentation shows them, a last event without its
blank line, and a field `error`, in which llama.cpp's server told of errors until 2025.
"""

from __future__ import annotations

import codecs
import re
from typing import Literal

from batchlab.protocol.values import ReplyProblem, parse_json

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
_LINE_END = re.compile(r"\r\n|\n|\r")


def body_kind(start: bytes) -> Literal["json", "sse", "other"] | None:
    """What a body is, by its first byte that is no blank, whatever its Content-Type says; None while
    that is still to come."""
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text:
        return None
    if text[:1] in (b"{", b"["):
        return "json"
    if text.startswith(_FIELDS):
        return "sse"
    return None if any(field.startswith(text) for field in _FIELDS) else "other"


def is_blank(start: bytes) -> bool:
    """Whether nothing of a body has come yet but blanks, or the mark before UTF-8."""
    return not start.removeprefix(codecs.BOM_UTF8).strip()


class ErrorEvent(str):
    """The data of an event that says by its name or its field that it is an error."""

    __slots__ = ()


class SseDecoder:
    """Bytes in, the `data` of each event out; any chunking gives the same events.

    Attributes:
        is_lossy: some bytes were not UTF-8 and became U+FFFD, or it stood there already.
    """

    def __init__(self) -> None:
        self.is_lossy = False
        self._is_error = False
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""  # an unfinished line
        self._data: list[str] = []
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """Events completed by `chunk`, oldest first."""
        text = self._text.decode(chunk)
        if not text.isascii() and "\ufffd" in text:
            self.is_lossy = True
        if self._first and text:
            text = text.removeprefix("\ufeff")
            self._first = False
        return self._lines(self._pending + text, last=False)

    def close(self) -> list[str]:
        """Events still pending at the end of the stream."""
        events = self._lines(self._pending + self._text.decode(b"", final=True), last=True)
        return events + self._dispatch()

    def _lines(self, text: str, *, last: bool) -> list[str]:
        events: list[str] = []
        start = 0
        if not self._data and not self._is_error and not last and "\r" not in text:
            # What nearly every provider sends: one data line an event, then a blank line.
            blocks = text.split("\n\n")
            rest = blocks.pop()
            if "\n" not in rest[:-1] and all(
                block.startswith("data: ") and "\n" not in block for block in blocks
            ):
                self._pending = rest
                return [block[6:] for block in blocks if len(block) > 6]
        for match in _LINE_END.finditer(text):
            if not last and match.group() == "\r" and match.end() == len(text):
                break  # the LF of a CRLF may be in the next chunk
            events += self._line(text[start : match.start()])
            start = match.end()
        self._pending = text[start:]
        if last and self._pending:
            events += self._line(self._pending)
            self._pending = ""
        return events

    def _line(self, line: str) -> list[str]:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "error":
            return [ErrorEvent(value)]
        if field == "event":
            self._is_error = value.strip() == "error"
        if field != "data":
            return []  # comments (": keep-alive"), id and retry carry nothing for us
        # A second data line belongs to the same event, unless that one is whole already and its
        # blank line is missing.
        done = self._dispatch() if self._data and _is_event("\n".join(self._data)) else []
        self._data.append(value)
        return done

    def _dispatch(self) -> list[str]:
        lines, self._data = self._data, []
        is_error, self._is_error = self._is_error, False
        joined = "\n".join(lines)
        if not joined:
            return []
        return [ErrorEvent(joined) if is_error else joined]


def _is_event(line: str) -> bool:
    if line == "[DONE]":
        return True
    try:
        return isinstance(parse_json(line), dict)
    except ReplyProblem:
        return False

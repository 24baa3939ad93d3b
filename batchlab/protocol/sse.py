"""Server-sent events without I/O, and the completion that a stream of them adds up to.

Framing follows WHATWG HTML § 9.2 (UTF-8, one BOM stripped, lines end in CRLF, LF or CR,
comments ignored, `data` lines joined by LF), with two tolerances: events separated by a
single newline, as ModelsLab's documentation shows them, and a last event without its
blank line.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from batchlab.protocol.chat import ReplyProblem, content_text, json_text, parse_json, parse_usage
from batchlab.records import NO_USAGE, Reply, Usage

_META = ("model", "id", "system_fingerprint")
_LINE_END = re.compile(r"\r\n|\n|\r")


class SseDecoder:
    """Bytes in, the `data` of each event out; any chunking gives the same events."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""  # an unfinished line
        self._data: list[str] = []
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """Events completed by `chunk`, oldest first."""
        text = self._text.decode(chunk)
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
        if not self._data and not last and "\r" not in text:
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
        if field != "data":
            return []  # comments (": keep-alive"), event, id and retry carry nothing for us
        value = value.removeprefix(" ")
        # A second data line belongs to the same event, unless that one is whole already and its
        # blank line is missing.
        done = self._dispatch() if self._data and _is_event("\n".join(self._data)) else []
        self._data.append(value)
        return done

    def _dispatch(self) -> list[str]:
        lines, self._data = self._data, []
        joined = "\n".join(lines)
        return [joined] if joined else []


def _is_event(line: str) -> bool:
    if line == "[DONE]":
        return True
    try:
        return isinstance(parse_json(line), dict)
    except ReplyProblem:
        return False


class StreamAssembler:
    """Adds the deltas of a chat, or the texts of a text completion, up to one Reply.

    Attributes:
        started: whether any token (content, reasoning, refusal or tool call) has come.
        usage: the last usage a chunk carried; some servers repeat a running total.
    """

    def __init__(self) -> None:
        self.started = False
        self.usage: Usage = NO_USAGE
        self._first = _Choice()
        self._others: dict[int, _Choice] = {}  # further choices, by their index
        self._done = False
        self._choices_seen = False
        self._meta: dict[str, str] = {}
        self._problem: bytes | None = None  # the event that makes this stream no completion

    def feed(self, data: str) -> None:
        """Takes one event's data. A broken one is remembered, and `reply` will refuse."""
        if data.strip() == "[DONE]":
            self._done = True
            return
        if self._problem is not None:
            return
        try:
            chunk = parse_json(data)
        except ReplyProblem:
            self._problem = data.encode("utf-8", "replace")
            return
        if not isinstance(chunk, dict) or chunk.get("error") or chunk.get("status") == "error":
            self._problem = data.encode("utf-8", "replace")
            return
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self.usage = parse_usage(usage)
        if len(self._meta) < len(_META):
            for name in _META:
                if name not in self._meta and isinstance(chunk.get(name), str):
                    self._meta[name] = chunk[name]
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)

    def reply(self) -> Reply:
        """The whole completion. Raises ReplyProblem when the stream was cut or broken."""
        first = self._first
        if self._problem is not None or first.finish_reason == "error":
            raise ReplyProblem("an error event")
        if not self._choices_seen or not (self._done or first.finish_reason):
            raise ReplyProblem("the stream ended with neither [DONE] nor a finish_reason")
        if not self._done and not all(choice.finish_reason for choice in self._others.values()):
            raise ReplyProblem("the stream ended with neither [DONE] nor a finish_reason of every choice")
        choices = None
        if self._others:
            every = {0: first, **self._others}
            choices = json_text([every[index].whole(index) for index in sorted(every)])
        return Reply(
            completion=_joined(first.content),
            reasoning=_joined(first.reasoning),
            refusal=_joined(first.refusal),
            tool_calls=json_text(first.calls()),
            finish_reason=first.finish_reason,
            usage=self.usage,
            model=self._meta.get("model"),
            response_id=self._meta.get("id"),
            system_fingerprint=self._meta.get("system_fingerprint"),
            choices=choices,
            logprobs=json_text(first.logprobs),
        )

    def evidence(self) -> bytes:
        """What the classifier is to judge a refused stream by: its error event, or nothing."""
        return self._problem or b""

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not index:
            self._choices_seen = True
            into = self._first
        elif type(index) is int:
            into = self._others.setdefault(index, _Choice())
        else:
            return
        finish_reason = choice.get("finish_reason")
        if isinstance(finish_reason, str):
            into.finish_reason = finish_reason
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            into.add_logprobs(logprobs)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            text = choice.get("text")  # a text completion's, which has no delta
            if isinstance(text, str):
                into.content.append(text)
                self.started = self.started or bool(text)
            return
        content = delta.get("content")
        if len(delta) == 1 and type(content) is str:  # nearly every chunk
            into.content.append(content)
            self.started = self.started or bool(content)
            return
        for parts, text in (
            (into.content, content_text(content)),
            (into.reasoning, content_text(delta.get("reasoning_content") or delta.get("reasoning"))),
            (into.refusal, content_text(delta.get("refusal"))),
        ):
            if text is not None:
                parts.append(text)
                self.started = self.started or bool(text)
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            self.started = True
            for call in calls:
                into.add_call(call)


class _Choice:
    """What has come of one choice of a stream."""

    __slots__ = ("content", "finish_reason", "logprobs", "reasoning", "refusal", "tool_calls")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tool_calls: dict[int, dict[str, Any]] = {}
        self.logprobs: dict[str, Any] | None = None
        self.finish_reason: str | None = None

    def calls(self) -> list[dict[str, Any]]:
        """Its tool calls, in order."""
        return [self.tool_calls[index] for index in sorted(self.tool_calls)]

    def whole(self, index: int) -> dict[str, Any]:
        """The choice as a plain reply has it."""
        message: dict[str, Any] = {"role": "assistant", "content": _joined(self.content)}
        if self.reasoning:
            message["reasoning_content"] = _joined(self.reasoning)
        if self.refusal:
            message["refusal"] = _joined(self.refusal)
        if self.tool_calls:
            message["tool_calls"] = self.calls()
        return {
            "index": index,
            "message": message,
            "logprobs": self.logprobs,
            "finish_reason": self.finish_reason,
        }

    def add_logprobs(self, more: Any) -> None:
        """Puts a chunk's log probabilities after the earlier ones: lists are joined, all else replaced."""
        if not isinstance(more, dict):
            return
        if self.logprobs is None:
            self.logprobs = {}
        for name, value in more.items():
            known = self.logprobs.get(name)
            if isinstance(known, list) and isinstance(value, list):
                known += value
            elif value is not None or name not in self.logprobs:
                self.logprobs[name] = value

    def add_call(self, delta: Any) -> None:
        """Puts a piece of a tool call where it belongs."""
        if not isinstance(delta, dict):
            return
        index = delta.get("index")
        index = index if isinstance(index, int) else len(self.tool_calls)
        call = self.tool_calls.setdefault(index, {"function": {"name": "", "arguments": ""}})
        for name in ("id", "type"):
            if isinstance(delta.get(name), str):
                call[name] = delta[name]
        function = delta.get("function")
        if isinstance(function, dict):
            for name in ("name", "arguments"):
                if isinstance(function.get(name), str):
                    call["function"][name] += function[name]


def _joined(parts: list[str]) -> str | None:
    return "".join(parts) if parts else None

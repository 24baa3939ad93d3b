"""The completion that a stream's events add up to, without I/O.

Sources: OpenAI API reference (chat completion chunk object, `stream_options`); vLLM, OpenRouter and
llama.cpp's server for errors in mid-stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchlab.protocol.chat import (
    BESIDE,
    called,
    choice_problem,
    content_texts,
    is_error,
    reasoning_text,
    tier_of,
)
from batchlab.protocol.sse import ErrorEvent
from batchlab.protocol.usage import billed_usage, usage_in
from batchlab.protocol.values import ReplyProblem, id_of, json_text, parse_json, word_of
from batchlab.records import Reply, Usage

_NO_ID = frozenset({"", "null"})  # Mistral's, of a piece that goes on with a call
_META = ("model", "id", "system_fingerprint", "service_tier")


class StreamAssembler:
    """Adds the deltas of a chat, or the texts of a text completion, up to one Reply.

    Args:
        choices: how many answers were asked for.
        usage_follows: a chunk with the usage was asked for, which comes after the last finish_reason.

    Attributes:
        started: whether any token (content, reasoning, refusal or tool call) has come.
        is_refused: whether an error has come: what follows makes no answer of it.
    """

    def __init__(self, *, choices: int = 1, usage_follows: bool = False) -> None:
        self.started = False
        self.is_refused = False
        self._expected = choices
        self._usage_follows = usage_follows
        self._usage: Mapping[str, Any] | None = None  # the last one; some servers repeat a running total
        self._first = _Choice()
        self._others: dict[int, _Choice] = {}  # further choices, by their index
        self._done = False
        self._choices_seen = False
        self._meta: dict[str, str] = {}
        self._lacking: tuple[str, ...] = _META
        self._problem: ReplyProblem | None = None  # what makes this stream no completion

    @property
    def usage(self) -> Usage:
        """What the stream says it used, so far."""
        return billed_usage(self._usage, model=self._meta.get("model", ""))

    @property
    def is_done(self) -> bool:
        """Whether `[DONE]` has come: nothing that matters comes after it."""
        return self._done

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for has come, so that it does not matter how the connection ends."""
        return self._done or (self.is_finished and (self._usage is not None or not self._usage_follows))

    @property
    def is_finished(self) -> bool:
        """Whether every answer has its finish_reason; the usage may be missing."""
        every = [self._first, *self._others.values()]
        return len(every) >= self._expected and all(choice.finish_reason for choice in every)

    def feed(self, data: str) -> None:
        """Takes one event's data. A broken one is remembered, and `reply` will refuse."""
        if self._done:
            return
        if type(data) is ErrorEvent:
            self._refused(data, named=True)
            return
        if len(data) < 32 and data.strip() == "[DONE]":
            self._done = True
            return
        try:
            chunk = parse_json(data)
        except ReplyProblem:
            self._refused(data)
            return
        if not isinstance(chunk, dict):
            self._refused(data)
            return
        if chunk.get("usage") or "x_groq" in chunk:
            self._usage = usage_in(chunk) or self._usage
        # asked in this order, and a call only then: it is done for every chunk
        odd = "error" in chunk or "status" in chunk or "message" in chunk or "base_resp" in chunk
        if (odd or chunk.get("object") == "error") and is_error(chunk):
            self._refused(data, named=True)
            return
        for name in self._lacking:
            if name in chunk and isinstance(chunk[name], str):
                self._meta[name] = chunk[name]
                self._lacking = tuple(other for other in self._lacking if other != name)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)

    def _refused(self, data: str, *, named: bool = False) -> None:
        """An event that is no chunk. The first that names its error says why, else the first broken one."""
        if self._problem is None or (named and not self.is_refused):
            problem = "an error event" if named else "an event that is no chunk"
            self._problem = ReplyProblem(problem, evidence=data.encode("utf-8", "replace"))
        self.is_refused = self.is_refused or named

    def reply(self) -> Reply:
        """The whole completion. Raises ReplyProblem when the stream was cut or broken."""
        problem = self._found_problem()
        if problem is not None:
            problem.usage = self.usage
            raise problem
        first = self._first
        choices = None
        if self._others or first.beside:
            every = {0: first, **self._others}
            choices = json_text([every[index].whole(index) for index in sorted(every)])
        return Reply(
            completion=_joined(first.content),
            reasoning=_joined(first.reasoning),
            refusal=_joined(first.refusal),
            tool_calls=json_text(first.calls()),
            finish_reason=word_of(first.finish_reason),
            usage=self.usage,
            model=id_of(self._meta.get("model")),
            response_id=id_of(self._meta.get("id")),
            system_fingerprint=id_of(self._meta.get("system_fingerprint")),
            choices=choices,
            logprobs=json_text(first.logprobs),
            service_tier=tier_of({**self._meta, "usage": self._usage}),
        )

    def _found_problem(self) -> ReplyProblem | None:
        if self._problem is not None:
            return self._problem
        if not self._choices_seen or not (self._done or self._first.finish_reason):
            return ReplyProblem("the stream ended with neither [DONE] nor a finish_reason", evidence=b"")
        every = [self._first, *self._others.values()]
        if not self._done and not all(choice.finish_reason for choice in every):
            return ReplyProblem(
                "the stream ended with neither [DONE] nor a finish_reason of every choice", evidence=b""
            )
        problems = (choice_problem({"finish_reason": choice.finish_reason}) for choice in every)
        found = next((problem for problem in problems if problem is not None), None)
        if found is not None:
            found.evidence = b""
        return found

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
        if finish_reason and isinstance(finish_reason, str):
            into.finish_reason = finish_reason
        if "error" in choice or "usage" in choice:
            self._unusual(choice)
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            into.add_logprobs(logprobs)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")  # a plain answer in an event
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
        self._rarer(into, delta, content)

    def _rarer(self, into: _Choice, delta: dict[str, Any], content: object) -> None:
        """A delta that is more than a piece of text."""
        said, thought = content_texts(content)
        for parts, text in (
            (into.content, said),
            (into.reasoning, reasoning_text(delta) or thought),
            (into.refusal, content_texts(delta.get("refusal"))[0]),
        ):
            if text is not None:
                parts.append(text)
                self.started = self.started or bool(text)
        self._called(delta, into)
        for name in BESIDE:
            if value := delta.get(name):
                into.add_beside(name, value)

    def _called(self, delta: dict[str, Any], into: _Choice) -> None:
        """The pieces of tool calls in a delta."""
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:  # vLLM sends an empty one with every chunk
            self.started = True
            for call in calls:
                into.add_call(call)
        elif isinstance(function := delta.get("function_call"), dict):
            self.started = True
            into.add_call({"index": 0, **called(function)[0]} if function else None)

    def _unusual(self, choice: dict[str, Any]) -> None:
        """What some services put on a choice: an error, or the usage."""
        if isinstance(usage := choice.get("usage"), dict) and usage:
            self._usage = usage
        if choice.get("error") and not self.is_refused:
            self._problem = choice_problem(choice)
            self.is_refused = True


class _Choice:
    """What has come of one choice of a stream."""

    __slots__ = (
        "_by_index",
        "beside",
        "content",
        "finish_reason",
        "logprobs",
        "reasoning",
        "refusal",
        "tool_calls",
    )

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tool_calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}  # the last call at each index
        self.beside: dict[str, Any] = {}  # what no column holds, by the message's names
        self.logprobs: dict[str, Any] | None = None
        self.finish_reason: str | None = None

    def calls(self) -> list[dict[str, Any]]:
        """Its tool calls, in the order of their indices, else as they began."""
        place = {id(call): index for index, call in self._by_index.items()}
        if len(place) < len(self.tool_calls):
            return self.tool_calls
        return sorted(self.tool_calls, key=lambda call: place[id(call)])

    def whole(self, index: int) -> dict[str, Any]:
        """The choice as a plain reply has it."""
        message: dict[str, Any] = {"role": "assistant", "content": _joined(self.content)}
        if self.reasoning:
            message["reasoning_content"] = _joined(self.reasoning)
        if self.refusal:
            message["refusal"] = _joined(self.refusal)
        if self.tool_calls:
            message["tool_calls"] = self.calls()
        message |= self.beside
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

    def add_beside(self, name: str, value: Any) -> None:
        """Puts pictures and notes after the earlier ones, and a sound's data and transcript to theirs."""
        known = self.beside.get(name)
        if isinstance(known, list) and isinstance(value, list):
            self.beside[name] = known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            joined = {
                part: known[part] + value[part]
                for part in ("data", "transcript")
                if isinstance(known.get(part), str) and isinstance(value.get(part), str)
            }
            self.beside[name] = known | value | joined
        else:
            self.beside[name] = value

    def add_call(self, delta: Any) -> None:
        """Puts a piece of a tool call where it belongs."""
        if not isinstance(delta, dict):
            return
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        call = self._call_of(delta, named=bool(function.get("name")))
        for name in ("id", "type"):
            if isinstance(delta.get(name), str) and delta[name] not in _NO_ID:
                call[name] = delta[name]
        own = call["function"]
        called, arguments = function.get("name"), function.get("arguments")
        if isinstance(called, str) and called != own["name"]:  # some repeat it with every piece
            own["name"] += called
        if isinstance(arguments, str):
            own["arguments"] += arguments
        elif isinstance(arguments, dict):  # Ollama's, which come whole
            own["arguments"] += json_text(arguments) or "{}"

    def _call_of(self, delta: dict[str, Any], *, named: bool) -> dict[str, Any]:
        """The call that a piece goes on with: by its index, unless its id is another's; without an
        index by its id; without both it begins a call if it is `named`, and goes on with the last one."""
        index, own_id = delta.get("index"), delta.get("id")
        own_id = own_id if isinstance(own_id, str) and own_id not in _NO_ID else ""
        known = next((call for call in self.tool_calls if own_id and call.get("id") == own_id), None)
        if known is None and type(index) is int:
            known = self._by_index.get(index)
            if known is not None and own_id and known.get("id"):
                known = None  # a new id at an index in use
        elif known is None and not own_id and not named and self.tool_calls:
            known = self.tool_calls[-1]
        if known is None:
            known = {"function": {"name": "", "arguments": ""}}
            self.tool_calls.append(known)
        if type(index) is int:
            self._by_index[index] = known
        return known


def _joined(parts: list[str]) -> str | None:
    return "".join(parts) if parts else None

"""The simulated Messages API of Anthropic: what it refuses, and what it answers; not streamed.

Source: anthropic 2.14 `types/message_create_params.py`, `types/message.py`, `types/usage.py`,
`types/shared/error_response.py`. A request is put into the words of a chat request and answered as one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from batchlab.endpoints.simulator.kinds import Answered, Kind
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.replies import Reply, make_reply, prompt_text, prompt_tokens
from batchlab.endpoints.simulator.tariff import BATCH
from batchlab.endpoints.simulator.validation import request_problem

VERSION_HEADER = "anthropic-version"
TIERS = ("standard", "standard_only")
_KNOWN = frozenset(
    "model max_tokens messages system metadata stop_sequences stream temperature top_k top_p tools "
    "tool_choice thinking service_tier output_config container inference_geo cache_control "
    "diagnostics speed user_profile_id".split()
)
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
# Anthropic's name of a choice of tools, OpenAI's name of it
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class _Unfit(ValueError):
    """A part of the request is not as it must be; says what."""


@dataclass(frozen=True, slots=True)
class Message:
    """The answer to one request: a chat reply in Anthropic's words."""

    reply: Reply
    batch: bool = False

    @property
    def prompt_tokens(self) -> int:
        """All of them, cached ones included."""
        return self.reply.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """Of the answer."""
        return self.reply.completion_tokens

    def plain(self) -> bytes:
        """The body of the reply."""
        choice, reply = self.reply.choices[0], self.reply
        content: dict[str, Any] = {"type": "text", "text": choice.text}
        if choice.tool_call is not None:
            name, arguments = choice.tool_call
            tool_id = f"toolu_{reply.id.removeprefix('sim-')}"
            content = {"type": "tool_use", "id": tool_id, "name": name, "input": json.loads(arguments)}
        written = reply.cache_write_tokens or 0
        body = {
            "id": f"msg_{reply.id.removeprefix('sim-')}",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": [content],
            "stop_reason": _STOPS.get(choice.finish_reason, "end_turn"),
            "stop_sequence": None,
            "usage": {
                "input_tokens": reply.prompt_tokens - reply.cached_tokens - written,
                "cache_creation_input_tokens": written,
                "cache_read_input_tokens": reply.cached_tokens,
                "output_tokens": reply.completion_tokens,
                "service_tier": "batch" if self.batch else "standard",
            },
        }
        return json.dumps(body, ensure_ascii=False).encode()

    def chunks(self, *, include_usage: bool) -> Iterator[str]:
        """Messages are not streamed here."""
        del include_usage
        yield self.plain().decode()

    def served(self, *, tier: str | None, cached_tokens: int, cache_write_tokens: int | None) -> Message:
        """The same answer with what the cache held."""
        made = self.reply.served(
            tier=tier, cached_tokens=cached_tokens, cache_write_tokens=cache_write_tokens
        )
        return replace(self, reply=made, batch=tier == BATCH)

    def spoilt(self, how: str, cap: int | None) -> Message:
        """The same answer as a sloppy model gives it."""
        return replace(self, reply=self.reply.spoilt(how, cap))


def messages_error(status: int, body: bytes) -> bytes:
    """OpenAI's error object in Anthropic's words; what is none stays as it is."""
    try:
        said = json.loads(body)["error"]
        message = str(said["message"])
    except (ValueError, KeyError, TypeError):
        return body
    usual = "api_error" if status >= 500 else "invalid_request_error"
    error = {"type": _TYPES.get(status, usual), "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": "req_simulated"}).encode()


def messages_problem(body: Any) -> str | None:
    """What is wrong with a request, or None."""
    if not isinstance(body, dict):
        return "The request body must be a JSON object."
    unknown = next((name for name in body if name not in _KNOWN), None)
    if unknown is not None:
        return f"{unknown}: Extra inputs are not permitted"
    for name in ("model", "max_tokens", "messages"):
        if body.get(name) is None:
            return f"{name}: Field required"
    if not isinstance(body["model"], str):
        return "model: Input should be a valid string"
    if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
        return "max_tokens: Input should be a positive integer"
    if body.get("stream"):
        return "stream: not supported by this simulated provider"
    warm = body.get("temperature")
    if warm is not None and (
        isinstance(warm, bool) or not isinstance(warm, int | float) or not 0 <= warm <= 1
    ):
        return "temperature: range: 0..1"
    if not isinstance(body["messages"], list) or not body["messages"]:
        return "messages: at least one message is required"
    try:
        return request_problem(chat_body(body))
    except _Unfit as unfit:
        return str(unfit)


def chat_body(body: dict[str, Any]) -> dict[str, Any]:
    """A request in the words of a chat request. Raises ValueError, one line."""
    messages: list[dict[str, Any]] = []
    if body.get("system") is not None:
        messages.append({"role": "system", "content": _text("system", body["system"])})
    for index, message in enumerate(body["messages"]):
        messages += _chat_messages(f"messages.{index}", message)
    made = {"model": body["model"], "messages": messages, "max_tokens": body["max_tokens"]}
    made |= {name: body[name] for name in ("temperature", "top_p") if body.get(name) is not None}
    match body.get("output_config"):
        case {"format": {"type": "json_schema", "schema": dict(schema)}}:
            named = {"name": "output", "schema": schema}
            made["response_format"] = {"type": "json_schema", "json_schema": named}
        case {"format": format_} if format_ is not None:
            raise _Unfit("output_config.format: must be a json_schema with a schema")
    if body.get("tools"):
        made["tools"] = [_tool(index, tool) for index, tool in enumerate(body["tools"])]
    match body.get("tool_choice"):
        case None:
            pass
        case {"type": "tool", "name": str(name)}:
            made["tool_choice"] = {"type": "function", "function": {"name": name}}
        case {"type": str(kind)} if kind in _TOOL_CHOICES:
            made["tool_choice"] = _TOOL_CHOICES[kind]
        case _:
            raise _Unfit("tool_choice: must be auto, any, none, or a tool by its name")
    return made


def _chat_messages(where: str, message: Any) -> list[dict[str, Any]]:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        raise _Unfit(f"{where}.role: Input should be 'user' or 'assistant'")
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        if not content:
            raise _Unfit(f"{where}: text content must be non-empty")
        return [{"role": role, "content": content}]
    if not isinstance(content, list) or not content:
        raise _Unfit(f"{where}.content: Input should be text or a list of blocks")
    return [{"role": role, "content": [_part(f"{where}.content.{n}", one) for n, one in enumerate(content)]}]


def _part(where: str, block: Any) -> dict[str, Any]:
    match block:
        case {"type": "text", "text": str(text)} if text:
            return {"type": "text", "text": text}
        case {"type": "image", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
            return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "tool_use", "name": str(name), "input": dict(given)}:
            return {"type": "text", "text": f"{name}({json.dumps(given)})"}
        case {"type": "tool_result", "tool_use_id": str()}:
            return {"type": "text", "text": _text(where, block.get("content") or "done")}
    raise _Unfit(f"{where}: Input should be a text, image, tool_use or tool_result block")


def _text(where: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [one["text"] for one in blocks if isinstance(one, dict) and isinstance(one.get("text"), str)]
    if not texts or len(texts) < len(blocks):
        raise _Unfit(f"{where}: Input should be text or a list of text blocks")
    return "\n".join(texts)


def _tool(index: int, tool: Any) -> dict[str, Any]:
    match tool:
        case {"name": str(name), "input_schema": dict(schema)}:
            return {"type": "function", "function": {"name": name, "parameters": schema}}
    raise _Unfit(f"tools.{index}: name and input_schema are required")


def _asked(body: dict[str, Any]) -> tuple[str, int, int]:
    messages = chat_body(body)["messages"]
    tokens = prompt_tokens(messages)
    return prompt_text(messages), tokens, tokens


def _reply(body: dict[str, Any], prompt: str, content: bytes, options: SimulatorOptions) -> Answered:
    del prompt
    made = make_reply(
        chat_body(body),
        content,
        seed=options.seed,
        tokens_median=options.tokens_median,
        tokens_sigma=options.tokens_sigma,
    )
    return Message(made)


MESSAGES = Kind(
    "messages",
    messages_problem,
    _asked,
    _reply,
    streams=False,
    cached=True,
    tiers=TIERS,
    headers=(VERSION_HEADER,),
    batch_tier=BATCH,
    envelope=messages_error,
)

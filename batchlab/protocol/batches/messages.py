"""A chat as Anthropic's Messages API asks it, and a Message as the chat completion that it is.

What Messages has no word for is refused with the parameter's name, never left out: the answer would be to
another question. What Anthropic's own endpoint for OpenAI's format does without harm is done here, too:
system messages go to the front, `detail` of an image says nothing.

Sources: anthropic-sdk-python `types/message_create_params.py`, `message.py`, `usage.py`,
`output_config_param.py` (structured outputs), `tool_param.py`, `tool_choice_*_param.py`,
`base64_image_source_param.py`; platform.claude.com docs/en/api/openai-sdk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from batchlab.protocol.batches.dialect import Json, Unfit
from batchlab.protocol.batches.fields import listed, members
from batchlab.protocol.usage import count
from batchlab.protocol.values import ReplyProblem, json_text, parse_json, text_of

Block: TypeAlias = dict[str, Any]

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_DATA_URL = re.compile(r"data:([\w.+/-]+)(?:;[\w.+=-]+)*;base64,(.*)", re.DOTALL | re.IGNORECASE)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# parameters that both have, or that are Messages' own
_SAME = ("model", "top_p", "top_k", "thinking", "cache_control", "inference_geo", "container")
_READ = frozenset({
    *_SAME, "messages", "max_tokens", "max_completion_tokens", "temperature", "stop", "tools", "tool_choice",
    "parallel_tool_calls", "response_format", "reasoning_effort", "output_config", "user", "metadata",
    "stream", "stream_options",
})  # fmt: skip
# of the others, those that ask for nothing but what there is anyhow
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default", "standard_only"),
}
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def params_of(body: Json) -> dict[str, Any]:
    """The parameters of a Message that ask what a chat's body asks. Raises Unfit."""
    for name, value in body.items():
        if name not in _READ and value is not None and value not in _NEUTRAL.get(name, ()):
            raise Unfit(f"{name}: the Messages API has no such parameter")
    system, messages = _conversation(body.get("messages"))
    params = {
        "max_tokens": _max_tokens(body),
        "messages": messages,
        "system": system,
        "temperature": _temperature(body.get("temperature")),
        "stop_sequences": _stop(body.get("stop")),
        "tools": _tools(body.get("tools")),
        "tool_choice": _tool_choice(body),
        "output_config": _output_config(body),
        "metadata": _metadata(body),
        **{name: body.get(name) for name in _SAME},
    }
    return {name: value for name, value in params.items() if value is not None}


def _max_tokens(body: Json) -> int:
    value = body.get("max_completion_tokens")
    value = body.get("max_tokens") if value is None else value
    if value is None:
        raise Unfit("max_tokens: the Messages API needs it")
    if type(value) is not int or value < 1:
        raise Unfit("max_tokens: a batch of Messages takes a whole number from 1 on")
    return value


def _temperature(value: Any) -> Any:
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise Unfit("temperature: the Messages API takes 0 to 1")
    return value


def _stop(value: Any) -> list[str] | None:
    if value is None:
        return None
    stops = [value] if isinstance(value, str) else listed(value)
    if not all(isinstance(one, str) and one.strip() for one in stops) or (not stops and value != []):
        raise Unfit("stop: the Messages API takes texts that are more than blanks")
    return stops or None


def _metadata(body: Json) -> Json | None:
    given, user = body.get("metadata"), body.get("user")
    if given is not None and (not isinstance(given, dict) or not set(given) <= {"user_id"}):
        raise Unfit("metadata: the Messages API takes user_id only")
    found = {"user_id": user} if user is not None else {}
    return {**found, **(given or {})} or None


def _output_config(body: Json) -> Json | None:
    config = dict(members(body.get("output_config")))
    wanted = body.get("response_format")
    kind = members(wanted).get("type")
    if kind == "json_schema":
        schema = members(members(wanted).get("json_schema")).get("schema")
        if not isinstance(schema, dict):
            raise Unfit("response_format: json_schema without a schema")
        config["format"] = {"type": "json_schema", "schema": schema}
    elif wanted is not None and kind != "text":
        raise Unfit("response_format: the Messages API takes json_schema only")
    effort = body.get("reasoning_effort")
    if effort is not None:
        if effort not in _EFFORTS:
            raise Unfit(f"reasoning_effort: the Messages API takes {', '.join(_EFFORTS)}")
        config["effort"] = effort
    return config or None


def _tools(value: Any) -> list[Block] | None:
    found = []
    for tool in listed(value):
        function = members(members(tool).get("function"))
        if members(tool).get("type") != "function" or not isinstance(function.get("name"), str):
            raise Unfit("tools: the Messages API takes functions only")
        block = {
            "name": function["name"],
            "description": function.get("description"),
            "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
            "strict": function.get("strict"),
        }
        found.append({name: one for name, one in block.items() if one is not None})
    return found or None


def _tool_choice(body: Json) -> Block | None:
    value, parallel = body.get("tool_choice"), body.get("parallel_tool_calls")
    name = members(members(value).get("function")).get("name")
    if isinstance(name, str):
        choice: Block = {"type": "tool", "name": name}
    elif value in ("auto", "none"):
        choice = {"type": value}
    elif value == "required":
        choice = {"type": "any"}
    elif value is None:
        choice = {"type": "auto"}
    else:
        raise Unfit("tool_choice: the Messages API takes auto, none, required or one function")
    if not listed(body.get("tools")) or (value is None and parallel is not False):
        return None
    if parallel is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _conversation(messages: Any) -> tuple[str | list[Block] | None, list[Block]]:
    """System text, and the turns; answers of tools become one turn of the user's."""
    system: list[Block] = []
    turns: list[Block] = []
    results: list[Block] = []  # of the turn that is last, where it is one of tools' answers
    for message in listed(messages):
        message = members(message)
        role, content = message.get("role"), message.get("content")
        for name in ("name", "audio", "function_call"):
            if message.get(name) is not None:
                raise Unfit(f"messages: the Messages API has no {name}")
        if role in ("system", "developer"):
            system += _texts(content)
            continue
        if role == "tool":
            if not results:
                turns.append({"role": "user", "content": results})
            results.append(
                {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": _user(content)}
            )
            continue
        results = []
        if role == "user":
            turns.append({"role": "user", "content": _user(content)})
        elif role == "assistant":
            if blocks := [*_texts(content), *_tool_uses(message.get("tool_calls"))]:
                plain = len(blocks) == 1 and set(blocks[0]) == {"type", "text"}
                turns.append({"role": "assistant", "content": blocks[0]["text"] if plain else blocks})
        else:
            raise Unfit(f"messages: the Messages API has no role {role!r:.40}")
    if not turns:
        raise Unfit("messages: the Messages API needs one of the user's")
    if any("cache_control" in block for block in system):
        return system, turns
    return "\n".join(block["text"] for block in system) or None, turns


def _texts(content: Any) -> list[Block]:
    """The texts of a message that may hold nothing else."""
    if content is None or content == "":
        return []
    blocks = _user(content)
    if isinstance(blocks, str):
        return [{"type": "text", "text": blocks}]
    if any(block["type"] != "text" for block in blocks):
        raise Unfit("messages: the Messages API takes images of the user's only")
    return blocks


def _user(content: Any) -> str | list[Block]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unfit("messages: content is no text and no list of parts")
    return [_block(part) for part in content]


def _block(part: Any) -> Block:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    found = members(part)
    kind = found.get("type")
    if kind == "text" and isinstance(found.get("text"), str):
        block: Block = {"type": "text", "text": found["text"]}
    elif kind == "image_url":
        url = found.get("image_url")
        block = {"type": "image", "source": _source(url.get("url") if isinstance(url, dict) else url)}
    else:
        raise Unfit(f"messages: the Messages API takes no part of the type {kind!r:.40}")
    cached = found.get("cache_control")
    return block if cached is None else {**block, "cache_control": cached}


def _source(url: Any) -> Block:
    if isinstance(url, str) and url.startswith("https://"):
        return {"type": "url", "url": url}
    found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise Unfit("messages: the Messages API takes images as https or base64 data URLs")
    kind = found[1].lower()
    if kind not in _IMAGE_TYPES:
        raise Unfit(f"messages: the Messages API takes no images of the type {kind}")
    return {"type": "base64", "media_type": kind, "data": found[2]}


def _tool_uses(calls: Any) -> Iterator[Block]:
    for call in listed(calls):
        function = members(members(call).get("function"))
        given = function.get("arguments")
        try:
            asked = parse_json(given) if isinstance(given, str) and given.strip() else given or {}
        except ReplyProblem:
            asked = None
        if not isinstance(asked, dict):
            raise Unfit("messages: arguments of a tool call are no JSON object")
        name, id_ = function.get("name"), members(call).get("id")
        yield {"type": "tool_use", "id": id_, "name": name, "input": asked}


def completion_of(message: Any) -> dict[str, Any]:
    """A Message as a `chat.completion`; without choices where it has no content at all."""
    found = members(message)
    made = {"id": found.get("id"), "object": "chat.completion", "model": found.get("model")}
    usage = _usage(found.get("usage"))
    content = found.get("content")
    if not isinstance(content, list):
        return {**made, "choices": [], "usage": usage}
    blocks = [block for block in content if isinstance(block, dict)]
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    text = _joined(blocks, "text")
    answer: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if thought := _joined(blocks, "thinking"):
        answer["reasoning_content"] = thought
    if calls:
        answer["tool_calls"] = calls
    reason = found.get("stop_reason")
    if reason == "refusal":
        answer["refusal"] = text_of(members(found.get("stop_details")).get("explanation"))
    word = FINISH_REASONS.get(reason, reason) if isinstance(reason, str) else None
    return {**made, "choices": [{"index": 0, "message": answer, "finish_reason": word}], "usage": usage}


def _joined(blocks: list[Block], kind: str) -> str:
    texts = (block.get(kind) for block in blocks if block.get("type") == kind)
    return "".join(text for text in texts if isinstance(text, str))


def _tool_call(block: Block) -> Block:
    asked = json_text(block.get("input")) or "{}"
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": asked},
    }


def _usage(value: Any) -> Json | None:
    """Anthropic's own counts, and OpenAI's names beside them; `input_tokens` leaves out what caches had."""
    if not isinstance(value, dict):
        return None
    read, written = (
        count(value.get("cache_read_input_tokens")),
        count(value.get("cache_creation_input_tokens")),
    )
    asked, answered = count(value.get("input_tokens")), count(value.get("output_tokens"))
    prompt = None if asked is None else asked + (read or 0) + (written or 0)
    thought = count(members(value.get("output_tokens_details")).get("thinking_tokens"))
    return {
        **value,
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": None if prompt is None or answered is None else prompt + answered,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }

"""A chat completion's JSON, read with care: providers differ, and some lie.

Sources: OpenAI API reference (chat completion object; `function_call` before there were tools); OpenRouter
and newer vLLM (`reasoning`, an error object on the choice; `images`), DeepSeek and older vLLM
(`reasoning_content`); MiniMax (`reasoning_details` alone); Mistral and Anthropic-like gateways (content parts
of the type `thinking`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchlab.protocol.finish import finish_meaning
from batchlab.protocol.usage import usage_of
from batchlab.protocol.values import ReplyProblem, id_of, json_text, parse_json, text_of, word_of
from batchlab.records import Reply

_REASONING = ("reasoning_content", "reasoning", "thinking")
# what a message may hold that no column does: it was paid, and is kept with the whole choice
MEDIA = ("audio", "images")
BESIDE = (*MEDIA, "annotations")


def parse_reply(body: bytes) -> Reply:
    """The reply in a `chat.completion` body. Raises ReplyProblem if there is none."""
    return reply_of(parse_json(body))


def reply_of(data: Any) -> Reply:
    """The reply in a decoded `chat.completion` object. Raises ReplyProblem if there is none."""
    if not isinstance(data, dict):
        raise ReplyProblem("not an object")
    usage = usage_of(data)
    if is_error(data):
        raise ReplyProblem("an error with status 200", usage)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyProblem("no choices", usage)
    if len(choices) > 1:
        choices = _in_order(choices)
    for one in choices:
        problem = choice_problem(one)
        if problem is not None:
            problem.usage = usage
            raise problem
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ReplyProblem("no message", usage)
    logprobs = choice.get("logprobs")
    text, thought = content_texts(message.get("content"))
    more = len(choices) > 1 or any(map(message.get, BESIDE))
    return Reply(
        completion=text,
        reasoning=reasoning_text(message) or thought,
        refusal=text_of(message.get("refusal")),
        tool_calls=json_text(message.get("tool_calls") or called(message.get("function_call"))),
        finish_reason=word_of(choice.get("finish_reason")),
        usage=usage,
        model=id_of(data.get("model")),
        response_id=id_of(data.get("id")),
        system_fingerprint=id_of(data.get("system_fingerprint")),
        choices=json_text(choices) if more else None,
        logprobs=json_text(logprobs) if logprobs else None,
        service_tier=tier_of(data),
    )


def called(function: Any) -> list[dict[str, Any]]:
    """The call of a message from before there were tools, as one of a list of them; it has no id."""
    return [{"type": "function", "function": function}] if isinstance(function, dict) and function else []


def holds_media(choices: str) -> bool:
    """Whether answers, as `Reply.choices` has them, hold an image or a sound."""
    found = parse_json(choices)
    messages = (one.get("message") for one in found if isinstance(one, dict))
    return any(isinstance(one, dict) and any(map(one.get, MEDIA)) for one in messages)


def is_error(data: dict[str, Any]) -> bool:
    """Whether an answer, or a chunk of a stream, is an error in any of the known envelopes."""
    if data.get("error") or data.get("object") == "error" or data.get("status") == "error":
        return True
    if "choices" in data:
        return "base_resp" in data and is_minimax_error(data)
    # vLLM's without its `object`
    coded = bool(data.get("message")) and ("code" in data or "type" in data)
    return coded or is_minimax_error(data)


def is_minimax_error(data: Mapping[str, Any]) -> bool:
    """Whether MiniMax says with a 200 that it is none; its `base_resp` stands beside `choices`."""
    base = data.get("base_resp")
    return isinstance(base, dict) and type(base.get("status_code")) is int and base["status_code"] != 0


def choice_problem(choice: Any) -> ReplyProblem | None:
    """What is wrong with an answer whose choice carries an error, or the word that its server broke off."""
    if not isinstance(choice, dict):
        return None
    if error := choice.get("error"):
        return ReplyProblem("an error on the choice", evidence=(json_text({"error": error}) or "").encode())
    word = choice.get("finish_reason")
    if isinstance(word, str) and finish_meaning(word) == "broken":
        return ReplyProblem(f"the server broke off: finish_reason {word}")
    return None


def tier_of(data: dict[str, Any]) -> str | None:
    """The tier that an answer was served in; Anthropic-like gateways say it in the usage."""
    tier = data.get("service_tier")
    if tier is None and isinstance(usage := data.get("usage"), dict):
        tier = usage.get("service_tier")
    return word_of(tier)


def _in_order(choices: list[Any]) -> list[Any]:
    """Choices by their index; as they came when one has none."""
    indices = [choice.get("index") if isinstance(choice, dict) else None for choice in choices]
    if not all(type(index) is int for index in indices):
        return choices
    return sorted(choices, key=lambda choice: choice["index"])


def reasoning_text(message: dict[str, Any]) -> str | None:
    """The reasoning of a message or a delta that has it beside its content."""
    for name in _REASONING:
        if name in message and (value := message[name]):
            text, thought = content_texts(value)
            if text or thought:
                return (thought or "") + (text or "")
    details = message.get("reasoning_details")
    if isinstance(details, list):
        parts = (part.get("text") or part.get("summary") for part in details if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str)) or None
    return None


def content_texts(content: Any) -> tuple[str | None, str | None]:
    """Text and thoughts of a message's content: a string, or a list of parts whose texts are joined."""
    if not isinstance(content, list):
        return text_of(content), None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            thoughts += filter(
                None, content_texts(part.get("thinking") or part.get("text") or part.get("reasoning"))
            )
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "".join(texts), "".join(thoughts) or None

"""What a message may hold beside text, and the tools it may call: checked and counted as a provider does.

Source: OpenAI API reference (chat completion request: content parts, tools, tool_choice, logprobs).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

MEDIA_TOKENS = 765  # a 1024 x 1024 image at high detail, by OpenAI's rule; a sound counts the same here
_IMAGE_HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"RIFF")
_AUDIO_FORMATS = {"wav", "mp3"}
_CHOICES = {"none", "auto", "required"}


def content_problem(where: str, content: list[Any]) -> str | None:
    """What is wrong with a message's content parts, or None."""
    if not content:
        return f"'{where}' must not be an empty array."
    for index, part in enumerate(content):
        problem = _part_problem(part)
        if problem is not None:
            return f"'{where}[{index}]': {problem}"
    return None


def _part_problem(part: Any) -> str | None:
    match part:
        case {"type": "text", "text": str()} | {"type": "refusal", "refusal": str()}:
            return None
        case {"type": "image_url", "image_url": {"url": str(url), **more}}:
            if more.get("detail", "auto") not in ("low", "high", "auto"):
                return "detail must be one of low, high, auto."
            return _url_problem(url)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(format_)}}:
            if format_ not in _AUDIO_FORMATS:
                return "format must be one of mp3, wav."
            return None if _decoded(data) else "data is not base64."
        case {"type": str(kind)} if kind not in {"text", "image_url", "input_audio"}:
            return f"unknown type {kind!r}."
    return "must be a text, image_url or input_audio part."


def _url_problem(url: str) -> str | None:
    if url.startswith(("http://", "https://")):
        return None
    head, found, data = url.partition(";base64,")
    if not found or not head.startswith("data:image/"):
        return "url must be an http(s) URL or a base64 data URL of an image."
    decoded = _decoded(data)
    if not decoded or not decoded.startswith(_IMAGE_HEADS):
        return "Could not process image: it is no PNG, JPEG, GIF or WebP."
    return None


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return b""


def media_parts(messages: list[dict[str, Any]]) -> int:
    """Images and sounds in a request's messages."""
    contents = (message.get("content") for message in messages)
    return sum(
        isinstance(part, dict) and part.get("type") in {"image_url", "input_audio"}
        for content in contents
        if isinstance(content, list)
        for part in content
    )


def options_problem(body: dict[str, Any]) -> str | None:
    """What is wrong with `n`, `logprobs`, `tools` and `tool_choice`, or None."""
    count = body.get("n")
    if count is not None and (type(count) is not int or not 1 <= count <= 128):
        return "'n' must be an integer between 1 and 128."
    if not isinstance(body.get("logprobs"), bool | None):
        return "'logprobs' must be a boolean."
    top = body.get("top_logprobs")
    if top is not None:
        if type(top) is not int or not 0 <= top <= 20:
            return "'top_logprobs' must be an integer between 0 and 20."
        if not body.get("logprobs"):
            return "'top_logprobs' needs 'logprobs' to be true."
    return _tools_problem(body.get("tools"), body.get("tool_choice"))


def _tools_problem(tools: Any, choice: Any) -> str | None:
    if tools is None:
        return None if choice is None else "'tool_choice' is only allowed when 'tools' are specified."
    if not isinstance(tools, list) or not tools:
        return "'tools' must be a non-empty array."
    names = []
    for index, tool in enumerate(tools):
        match tool:
            case {"type": "function", "function": {"name": str(name)}}:
                names.append(name)
            case _:
                return f"'tools[{index}]' must be a function with a name."
    match choice:
        case None:
            return None
        case str() if choice in _CHOICES:
            return None
        case {"type": "function", "function": {"name": str(name)}} if name in names:
            return None
    return "'tool_choice' must be none, auto, required, or a function of 'tools'."

"""A text completion's JSON: `choices[0].text` where a chat completion has a message.

Source: OpenAI API reference (completions, legacy; the completion object).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from batchlab.protocol.chat import reply_of
from batchlab.protocol.values import json_text, parse_json
from batchlab.records import Reply


def parse_completion(body: bytes) -> Reply:
    """The reply in a `text_completion` body. Raises ReplyProblem if there is none."""
    data = parse_json(body)
    reply = reply_of(_as_chat(data))
    if reply.choices is None:
        return reply
    own = [
        {name: one for name, one in choice.items() if name != "message"}
        for choice in json.loads(reply.choices)
    ]
    return replace(reply, choices=json_text(own))


def _as_chat(data: Any) -> Any:
    """The same object with its text where a chat completion has it, so that one reader does for both."""
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list):
        return data
    if not all(_is_choice(one) for one in choices):
        return {**data, "choices": []}
    return {**data, "choices": [{**one, "message": {"content": one.get("text")}} for one in choices]}


def _is_choice(one: Any) -> bool:
    return isinstance(one, dict) and (isinstance(one.get("text"), str) or bool(one.get("error")))

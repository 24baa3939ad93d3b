"""Messages that a row brings along, messages of a job's own, and what they come to in bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from batchlab.costs.tokens import BYTES_PER_TOKEN
from batchlab.inputs.templates import RowFault, Template, compile_template, value_text

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

Message = dict[str, Any]


class Conversation:
    """The `[[request.messages]]` of a job: a template each, in order.

    Attributes:
        templates: one a message.
        columns: those that any of them uses.

    Raises:
        UsageError: a template names an unknown column.
    """

    def __init__(
        self,
        written: Sequence[Mapping[str, str]],
        columns: Sequence[str],
        *,
        null_as: str | None,
        strict: bool,
    ) -> None:
        self._messages: list[tuple[Mapping[str, str], Template]] = [
            (
                message,
                compile_template(
                    message["content"], columns, where=f"messages[{index}]", null_as=null_as, strict=strict
                ),
            )
            for index, message in enumerate(written)
        ]
        self.templates = [template for _, template in self._messages]
        self.columns = frozenset[str]().union(*(template.columns for template in self.templates))

    def messages(self, values: Mapping[str, Any]) -> list[Message]:
        """The messages for one row. Raises RowProblem."""
        return [{**message, "content": template.render(values)} for message, template in self._messages]


def row_messages(value: Any, column: str, *, sparse: bool) -> list[Message]:
    """The messages in a column: a list of them, or the JSON text of one.

    Args:
        sparse: objects come from Arrow structs, in which a key that is absent reads as null.

    Raises:
        RowFault: it is no list of messages, which is no reason to refuse the other rows.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(f"column {column!r} is text, but not a JSON list of messages") from None
    if value is None:
        raise RowFault(f"column {column!r} is null")
    if not isinstance(value, list) or not value:
        how = "; it is empty" if value == [] else ""
        raise RowFault(f"column {column!r} is not a list of messages{how}")
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RowFault(f"column {column!r}: a message needs a role and content")
    # a column's structs have every field of every message; an absent one reads as null
    return [
        {
            key: without_absent(item) if sparse and isinstance(item, list) else item
            for key, item in message.items()
            if item is not None or key == "content"
        }
        for message in value
    ]


def history_of(value: Any, column: str, *, sparse: bool) -> list[Message]:
    """The earlier turns in a column; none where it is null or empty. Raises RowFault."""
    if value is None or value in ("", "[]", []):
        return []
    messages = row_messages(value, column, sparse=sparse)
    for message in messages:
        role, content = message["role"], message.get("content")
        if role not in ROLES:
            raise RowFault(f"column {column!r}: no role {role!r}; one of {', '.join(ROLES)}")
        if not isinstance(content, str | list) and not (content is None and role == "assistant"):
            raise RowFault(f"column {column!r}: a message needs a role and content")
        if _has_surrogate(message):
            raise RowFault(f"column {column!r}: a message has half a surrogate pair, which is no text")
    return messages


def with_history(messages: Sequence[Message], history: Sequence[Message]) -> list[Message]:
    """The history before what the user says last."""
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    at = users[-1] if users else len(messages)
    return [*messages[:at], *history, *messages[at:]]


def message_bytes(messages: Sequence[Any], media_tokens: int) -> int:
    """UTF-8 bytes of what messages say; a part that is no text counts as `media_tokens`."""
    size = 0
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            size += len(content.encode("utf-8", "replace"))
        elif isinstance(content, list):
            size += sum(_part_bytes(part, media_tokens) for part in content)
        elif content is not None:
            size += len(value_text(content).encode("utf-8", "replace"))
    return size


def _part_bytes(part: Any, media_tokens: int) -> int:
    if not isinstance(part, dict):
        return len(value_text(part).encode("utf-8", "replace"))
    text = part.get("text")
    if isinstance(text, str):
        return len(text.encode("utf-8", "replace"))
    return media_tokens * BYTES_PER_TOKEN


def without_absent(value: Any) -> Any:
    """A value of Arrow structs without the keys that read as null because they are absent."""
    if isinstance(value, dict):
        # a message's content is null beside tool calls
        kept = {key: item for key, item in value.items() if item is not None or key == "content"}
        return {key: without_absent(item) for key, item in kept.items()}
    return [without_absent(item) for item in value] if isinstance(value, list) else value


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(map(_has_surrogate, (*value.keys(), *value.values())))
    return isinstance(value, list) and any(map(_has_surrogate, value))

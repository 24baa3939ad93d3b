"""JSON values and short texts as they come over the wire, read so that nothing in them can do harm."""

from __future__ import annotations

import json
from typing import Any

import orjson

from batchlab.finite import json_and_nulls
from batchlab.protocol.redact import printable, redact, without_surrogates
from batchlab.records import Usage

MAX_WORD_CHARS = 64  # of a finish reason or a tier
MAX_ID_CHARS = 512


class ReplyProblem(ValueError):
    """A body with status 200 that is no answer.

    Attributes:
        usage: what it says was billed all the same.
        evidence: the part of it that the classifier is to judge; the whole body when None.
    """

    def __init__(self, problem: str, usage: Usage | None = None, evidence: bytes | None = None) -> None:
        super().__init__(problem)
        self.usage = usage
        self.evidence = evidence


def parse_json(body: bytes | str) -> Any:
    """The JSON value of `body`.

    orjson first; what it refuses but Python's json accepts (lone surrogates, NaN, bytes that are not
    UTF-8, which become U+FFFD) goes through json, without a `data: [DONE]` after it. Raises ReplyProblem
    for anything else, deep nesting included.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = text.lstrip("\ufeff").rstrip()
    text = text.removesuffix("[DONE]").rstrip().removesuffix("data:")
    try:
        return _without_surrogates(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ReplyProblem(f"not JSON: {type(error).__name__}") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def json_text(value: Any) -> str | None:
    """`value` as JSON text, None for nothing; what is no number becomes null."""
    if not value:
        return None
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        pass
    try:
        return json_and_nulls(value, separators=(",", ":"))[0]
    except (TypeError, ValueError, RecursionError):
        return None


def text_of(value: Any) -> str | None:
    """A text; None for any other value."""
    return value if isinstance(value, str) else None


def word_of(value: Any) -> str | None:
    """A word that a service uses for a thing, such as a finish reason: one short line."""
    return None if value is None else id_of(value, MAX_WORD_CHARS)


def id_of(value: Any, most: int = MAX_ID_CHARS) -> str | None:
    """A name or an id that a service gave: one line, without what may be a key."""
    if not isinstance(value, str):
        return None
    # nearly every name: neither a bearer token nor a key can be in it, and it is seen at a tenth of the price
    plain = value.isascii() and value.isprintable() and " " not in value and "k-" not in value
    return value if plain and len(value) <= most else printable(redact(value), most)

"""What may be shown of a provider's text: no key, no control character, not too much."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_MESSAGE_CHARS = 2_000  # an error message may echo the prompt
_BEARER = re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}")
_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk)-[A-Za-z0-9_-]{8,}")
# C0, C1 and DEL, plus the bidirectional controls that can reorder what a terminal shows
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def printable(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """`text` as one line that is safe in a terminal and in a log."""
    line = _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub(" ", text)).strip()
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


def printable_lines(text: str) -> list[str]:
    """`text` as lines that are safe in a terminal: indents and blank lines stay, tabs become blanks."""
    lines = text.replace("\r\n", "\n").split("\n")
    return [_SURROGATE.sub("\ufffd", _UNPRINTABLE.sub(" ", line.expandtabs(4))).rstrip() for line in lines]


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without anything that looks like an API key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "****")
    return _KEY_LIKE.sub("****", _BEARER.sub(r"\1****", text))


def without_surrogates(text: str) -> str:
    """`text` that UTF-8, and so Arrow, can hold: a lone surrogate becomes U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)

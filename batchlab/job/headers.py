"""Headers of the user's own, as a job names them: `x-tenant: blue`, or `x-gateway-key: env:NAME` for a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_WRITTEN = re.compile(rf"\s*({_NAME.pattern})\s*[:=]\s*(.*?)\s*", re.DOTALL)
# a secret is taken from a variable, as it is or after the word of its scheme
FROM_ENV = re.compile(r"(?:(\w+) )?env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRET_NAME = re.compile(
    r".*(key|token|secret|password|passwd|credentials?|signature|cookie|auth|authorization)", re.IGNORECASE
)
_SECRET_VALUE = re.compile(
    r"(?i)(bearer|basic|token|apikey) .+|(sk|pk|rk|gsk|hf|xai|ghp|github_pat)[-_].{8,}|eyJ.{20,}"
)
# what batchlab, or what carries its requests, writes itself
_OURS = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type expect host te "
    "transfer-encoding upgrade".split()
)


def header_lines(value: Any) -> tuple[str, ...]:
    """`name: value` of each header, from a table, a line, or a list of lines.

    Raises ValueError, which repeats no value: it may be a secret.
    """
    if isinstance(value, Mapping):
        pairs = [(str(name), text) for name, text in value.items()]
    else:
        pairs = [_pair(line) for line in ([value] if isinstance(value, str) else value)]
    lines: dict[str, str] = {}
    for name, text in pairs:
        if problem := _problem(name, text):
            raise ValueError(problem)
        if name.lower() in lines:
            raise ValueError(f"{name} is there twice; keep one")
        lines[name.lower()] = f"{name}: {text.strip()}"
    return tuple(lines.values())


def split(line: str) -> tuple[str, str]:
    """Name and value of a line that `header_lines` made."""
    name, _, value = line.partition(": ")
    return name, value


def is_authorization(line: str) -> bool:
    """Whether a header tells who asks, so that no other key is needed."""
    return _SECRET_NAME.fullmatch(split(line)[0]) is not None


def _pair(line: Any) -> tuple[str, str]:
    found = _WRITTEN.fullmatch(line) if isinstance(line, str) else None
    if found is None:
        raise ValueError("expected NAME=VALUE or 'NAME: VALUE', such as 'x-tenant: blue'")
    return found[1], found[2]


def _problem(name: str, text: Any) -> str | None:
    if _NAME.fullmatch(name) is None:
        return "a header's name is made of letters, digits and -"
    if name.lower() in _OURS:
        return f"{name}: batchlab writes it itself"
    if not isinstance(text, str) or not text.strip() or not text.isascii() or not text.strip().isprintable():
        return f"{name}: expected its value as one line of ASCII text"
    if FROM_ENV.fullmatch(text.strip()):
        return None
    if _SECRET_NAME.fullmatch(name) or _SECRET_VALUE.fullmatch(text.strip()):
        return (
            f"{name}: its value looks like a secret, and would be kept in files. Put it into a variable, and "
            "write env:NAME ('Bearer env:NAME' where a word stands before it)"
        )
    return None

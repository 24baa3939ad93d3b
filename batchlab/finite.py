"""JSON has no NaN and no Infinity, and Python's `json` writes them all the same: what is said in JSON goes
through here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any


def is_finite(value: Any) -> bool:
    """Whether no number in a JSON value is NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(is_finite, value))


def finite(value: Any) -> tuple[Any, int]:
    """A JSON value with null for what is no number in it, and how many of those there were."""
    if isinstance(value, float):
        return (value, 0) if math.isfinite(value) else (None, 1)
    if isinstance(value, dict):
        pairs = {key: finite(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, list | tuple):
        items = [finite(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0


def json_and_nulls(
    value: Any, *, default: Callable[[Any], Any] | None = None, separators: tuple[str, str] | None = None
) -> tuple[str, int]:
    """`value` as JSON text, null where JSON has no word for a number, and how often that was."""
    options: dict[str, Any] = {"ensure_ascii": False, "default": default, "separators": separators}
    try:
        return json.dumps(value, allow_nan=False, **options), 0
    except ValueError:
        plain, count = finite(value)
        return json.dumps(plain, allow_nan=False, **options), count


def strict_json(value: Any) -> str:
    """`value` as JSON text in ASCII, null where JSON has no word for a number."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value)[0], allow_nan=False)

"""Values of any kind as a page can take them: plain JSON of bounded size, exact where JavaScript is."""

from __future__ import annotations

import json
import math
from typing import Any

from batchlab.inputs.media import HEAD_BYTES, media_type
from batchlab.protocol.redact import without_surrogates

MOST_CHARS = 1_000_000  # of one text
MOST_ITEMS = 10_000  # of one list
MOST_DEPTH = 60
_EXACT = 2**53


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON: what has no place in it is text; a number that JavaScript would round is, too."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return {"bytes": len(value), "media": media_type(value[:HEAD_BYTES])}
    if depth >= MOST_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {cut(str(name)): plain(one, depth + 1) for name, one in list(value.items())[:MOST_ITEMS]}
    if isinstance(value, list | tuple):
        few = [plain(one, depth + 1) for one in value[:MOST_ITEMS]]
        return few if len(value) <= MOST_ITEMS else [*few, f"… {len(value) - MOST_ITEMS:,} more"]
    return cut(value.isoformat() if hasattr(value, "isoformat") else str(value))


def cut(text: str) -> str:
    """A text of at most `MOST_CHARS`; a longer one says how much is missing."""
    text = without_surrogates(text)
    return (
        text
        if len(text) <= MOST_CHARS
        else f"{text[:MOST_CHARS]}… {len(text) - MOST_CHARS:,} more characters"
    )


def json_value(text: str | None) -> Any:
    """What a JSON object or list in a text says, as `plain` has it; None for a text that is none."""
    if not text or len(text) > MOST_CHARS or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError):
        return None

"""What the names of an input's columns tell: which one a prompt is about, and which one tells rows apart."""

from __future__ import annotations

from collections.abc import Sequence

# names of columns that hold what a prompt is about, the likeliest first
_TEXTS = (
    "text prompt question content body message input instruction query document review comment description "
    "sentence title summary"
).split()


def likely_text(columns: Sequence[str]) -> str | None:
    """The column that a prompt is about, as far as names tell: None when none does."""
    small = {name.lower(): name for name in reversed(columns)}
    for word in _TEXTS:
        if word in small:
            return small[word]
    for word in _TEXTS:
        if inside := next((name for key, name in small.items() if word in key), None):
            return inside
    return None


def example_column(columns: Sequence[str]) -> str:
    """A column for an example of a prompt: the likeliest one, else the last, which is seldom an id."""
    return likely_text(columns) or (columns[-1] if columns else "column")


def likely_id(columns: Sequence[str]) -> str | None:
    """The column that tells rows apart, as far as names tell."""
    small = {name.lower(): name for name in reversed(columns)}
    for name in ("custom_id", "id", "uuid", "key", "row_id"):
        if name in small:
            return small[name]
    return next((name for name in columns if name.lower().endswith(("_id", "-id", "_key"))), None)

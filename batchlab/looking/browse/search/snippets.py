"""A line's worth of a text, with the places of what was looked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_CHARS = 240
_BEFORE = 60  # what is shown before the first place
_MOST_HITS = 50
_WINDOW = 4  # times so many characters are looked at, for white space that goes

Hit = tuple[int, int]  # from, to; in UTF-16 units, as JavaScript counts


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text in one line.

    Attributes:
        hits: where in it what was looked for stands.
    """

    text: str
    hits: tuple[Hit, ...] = ()


def snippet(text: str, sought: str = "") -> Snippet:
    """The beginning of a text, or the surroundings of what is looked for in it."""
    pattern = _pattern(sought) if sought else None
    found = pattern.search(text) if pattern is not None else None
    start = max(0, found.start() - _BEFORE) if found is not None and found.end() > MOST_CHARS - 1 else 0
    line = " ".join(text[start : start + _WINDOW * MOST_CHARS].split())
    head = "…" if start else ""
    is_cut = len(head) + len(line) > MOST_CHARS or start + _WINDOW * MOST_CHARS < len(text)
    line = head + (line[: MOST_CHARS - len(head) - 1] + "…" if is_cut else line)
    if pattern is None:
        return Snippet(line)
    hits = [(_units(line[: one.start()]), _units(line[: one.end()])) for one in pattern.finditer(line)]
    return Snippet(line, tuple(hits[:_MOST_HITS]))


def has(text: str, sought: str) -> bool:
    """Whether what is looked for is in a text."""
    return _pattern(sought).search(text) is not None


def _pattern(sought: str) -> re.Pattern[str]:
    words = [re.escape(word) for word in sought.split()]
    return re.compile(r"\s+".join(words) if words else re.escape(sought), re.IGNORECASE)


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2

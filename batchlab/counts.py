"""Counted nouns, as a person reads them: `1 row`, `2,000 rows`. For every layer."""

from __future__ import annotations


def counted(count: int, word: str, plural: str = "") -> str:
    """`1 row`, `2,000 rows`; `plural` is the whole of it where an s at the end is not enough."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {plural or word + 's'}"


def lasting(seconds: float) -> str:
    """A duration that somebody set, in the unit it was meant in: `2 h`, `1.5 min`, `45 s`."""
    for unit_s, unit in ((3_600.0, "h"), (60.0, "min")):
        if seconds >= unit_s and seconds * 10 % unit_s == 0:
            return f"{seconds / unit_s:g} {unit}"
    return f"{seconds:g} s"


def plain(number: float) -> str:
    """A sum of money or tokens as a person writes it, and as a flag takes it: never `3.8e-05`."""
    text = f"{number:.6f}" if number >= 1e-6 or not number else f"{number:.9f}"
    return text.rstrip("0").rstrip(".")


def agreeing(count: int, one: str, many: str) -> str:
    """The verb of so many: `is` of one, `are` of none or several."""
    return one if count == 1 else many

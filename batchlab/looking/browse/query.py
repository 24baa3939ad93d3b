"""Which rows are asked for, in which order: what stands in the page's address."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from batchlab.errors import UsageError
from batchlab.looking.browse.columns import ALL_STATUSES

SORTS = ("row", "latency_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "attempts")
PLACES = ("prompt", "answer")  # where a text is looked for
NULL = "none"  # stands for no word at all; a word that is this one is written `%6Eone`
MOST_TEXT = 1_000  # characters that are looked for
MOST_CONDITIONS = 20
MOST_ROWS = 1_000  # of one page
_LISTS = {"status": "statuses", "error": "errors", "finish": "finishes", "lane": "lanes", "label": "labels"}
_OTHERS = ("where", "q", "in", "sort", "rows", "odd", "first")
_PAGE = {"run", "offset", "limit", "row", "texts"}  # that say nothing of which rows are meant
_RANGE = re.compile(r"(\d{1,12})(?:(-)(\d{1,12})?)?")


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows; of what is not named, all.

    Attributes:
        errors, finishes, lanes, labels: words of these columns; None is null. In an address they are joined
            by commas, with a comma or a percent sign of a word itself as `%2C` and `%25`.
        where: conditions as `show --where` takes them.
        text: what is looked for, in any case, in what `inside` names.
        ranges: first and last row_id of each; None: to the end.
        sort, is_descending: the order; rows without that value come last in both.
        odd: rows with something wrong come first.
        most: so many of the rows at most, in their order.
    """

    statuses: frozenset[str] = frozenset()
    errors: frozenset[str | None] = frozenset()
    finishes: frozenset[str | None] = frozenset()
    lanes: frozenset[str | None] = frozenset()
    labels: frozenset[str | None] = frozenset()
    where: tuple[str, ...] = ()
    text: str = ""
    inside: tuple[str, ...] = PLACES
    ranges: tuple[tuple[int, int | None], ...] = ()
    sort: str = "row"
    is_descending: bool = False
    odd: bool = False
    most: int | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any] | Iterable[tuple[str, str]]) -> RowQuery:
        """What an address says: `status=failed,invalid&where=n>3&q=refund&in=answer&sort=-cost_usd&…`.

        Args:
            params: names and texts; a name that is there several times as several pairs, or with a list.

        Raises:
            UsageError: one line about the first that says nothing.
        """
        made = cls()
        for name, text in _pairs(params):
            if name not in _PAGE and text:
                made = made._with(name, text)
        return made

    def _with(self, name: str, text: str) -> RowQuery:
        if name == "status":
            return replace(self, statuses=self.statuses | _statuses(words_in(text)))
        if name in _LISTS:
            field = _LISTS[name]
            return replace(self, **{field: getattr(self, field) | _named(text)})
        match name:
            case "where":
                if len(self.where) >= MOST_CONDITIONS:
                    raise UsageError(f"where: {MOST_CONDITIONS} conditions at most.")
                return replace(self, where=(*self.where, text))
            case "q":
                if len(text) > MOST_TEXT:
                    raise UsageError(f"q: {MOST_TEXT:,} characters at most.")
                return replace(self, text=text)
            case "in":
                return replace(self, inside=_places(words_in(text)))
            case "sort":
                return self._sorted_by(text)
            case "rows":
                return replace(self, ranges=tuple(_range(word) for word in words_in(text)))
            case "odd":
                return replace(self, odd=text not in {"0", "false"})
            case "first":
                return replace(self, most=_whole("first", text))
        raise UsageError(f"{name}: rows are not chosen by that{_near(name, [*_LISTS, *_OTHERS])}")

    def _sorted_by(self, text: str) -> RowQuery:
        name = text.removeprefix("-")
        if name not in SORTS:
            raise UsageError(f"sort: no {name!r}{_near(name, SORTS)}")
        return replace(self, sort=name, is_descending=text.startswith("-"))


def _pairs(params: Mapping[str, Any] | Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    pairs = params.items() if isinstance(params, Mapping) else params
    for name, value in pairs:
        for text in value if isinstance(value, list | tuple) else [value]:
            yield name, str(text)


def words_in(text: str) -> list[str]:
    """The words that a parameter joins by commas; a comma within one is written %2C, and a % is %25."""
    return [word for one in text.split(",") if (word := unquote(one).strip())]


def _named(text: str) -> set[str | None]:
    """The same, with None for no word at all."""
    return {None if one.strip() == NULL else word for one in text.split(",") for word in words_in(one)}


def _statuses(words: Sequence[str]) -> frozenset[str]:
    for word in words:
        if word not in ALL_STATUSES:
            raise UsageError(f"status {word}: no status of a row{_near(word, ALL_STATUSES)}")
    return frozenset(words)


def _places(words: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if word not in PLACES:
            raise UsageError(f"in: no {word!r}{_near(word, PLACES)}")
    return tuple(place for place in PLACES if place in words) or PLACES


def _range(word: str) -> tuple[int, int | None]:
    found = _RANGE.fullmatch(word)
    if found is None:
        raise UsageError(f"rows: {word!r} is no row: a number from 0 on, or a range such as 20-39.")
    first = int(found[1])
    last = first if not found[2] else int(found[3]) if found[3] else None
    if last is not None and last < first:
        raise UsageError(f"rows: {word}: a range goes upwards: {last}-{first}.")
    return first, last


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text):
        raise UsageError(f"{name}: expected a number from 0 on, not {text[:40]!r}.")
    return int(text)


def _near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}."

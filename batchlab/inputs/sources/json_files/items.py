"""The values that follow each other in JSON text, each as its own bytes, without the text being held.

Only brackets and strings are looked at, so that a value which cannot be read (a byte that is no UTF-8,
say) is still told from the next one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024
# what may stand between values; RFC 7464 puts a record separator before each
_BETWEEN = re.compile(rb"(?:[\s,\x1e]|\xef\xbb\xbf)*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(_STRING.pattern + rb'|["\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}\"]+")
_KEY = re.compile(rb'[\s,]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"


class CutOffError(Exception):
    """The text ends within a value, or before the list that it began does. Carries the offset."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Item:
    """One value, at an offset of the text."""

    offset: int
    text: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The list's closing bracket; what follows it starts at `offset`."""

    offset: int


def json_items(file: BinaryIO, offset: int, *, inside: bool) -> Iterator[Item | End]:
    """The values from where `file` stands, which is at `offset` of the text.

    Args:
        inside: they are those of a list, whose end comes last.

    Raises:
        CutOffError: a value, or the list, has no end.
    """
    buffer, at = b"", 0
    while True:
        at = _between(buffer, at)
        if at == len(buffer):
            offset += at
            buffer, at = file.read(BLOCK_BYTES), 0
            if not buffer:
                if inside:
                    raise CutOffError(offset)
                return
            continue
        if inside and buffer[at] in _CLOSING:
            yield End(offset + at + 1)
            return
        search = _Search()
        while (end := search.end_of(buffer, at)) is None:
            more = file.read(max(BLOCK_BYTES, len(buffer) - at))  # a long value is looked at only a few times
            if not more:
                if not search.is_scalar:
                    raise CutOffError(offset + at)
                end = len(buffer)
                break
            offset += at
            search.forget(at)
            buffer, at = buffer[at:] + more, 0
        yield Item(offset + at, buffer[at:end])
        at = end


def _between(buffer: bytes, at: int) -> int:
    found = _BETWEEN.match(buffer, at)
    return found.end() if found else at


class _Search:
    """Looks for the end of one value, going on where the last block ended."""

    def __init__(self) -> None:
        self._depth = 0
        self._next: int | None = None
        self.is_scalar = False

    def forget(self, count: int) -> None:
        """The first bytes of the buffer are gone."""
        if self._next is not None:
            self._next -= count

    def end_of(self, buffer: bytes, start: int) -> int | None:
        """Where the value at `start` ends; None when it goes on past the buffer."""
        first = buffer[start]
        if first not in _OPENING:
            return self._end_of_scalar(buffer, start)
        at = start if self._next is None else self._next
        for token in _TOKEN.finditer(buffer, at):
            character = buffer[token.start()]
            if character == 34:  # a quote
                if token.end() - token.start() == 1:  # a string that goes on
                    self._next = token.start()
                    return None
            elif character in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return token.end()
            at = token.end()
        self._next = at
        return None

    def _end_of_scalar(self, buffer: bytes, start: int) -> int | None:
        if buffer[start] == 34:
            found = _STRING.match(buffer, start)
            return found.end() if found else None
        self.is_scalar = True
        found = _SCALAR.match(buffer, start)
        if found is None:  # a stray bracket
            return start + 1
        return found.end() if found.end() < len(buffer) else None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text of JSON holds its rows.

    Attributes:
        offset: where the first one may start.
        inside: whether they are those of a list.
        name: the member of the one object whose list they are; "" otherwise.
    """

    offset: int
    inside: bool
    name: str = ""


class NoRowsError(Exception):
    """The text is JSON without rows that one could tell; says why, and a command that makes lines of it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


_BY_ROWS = 'Write it by frame.to_json("rows.jsonl", orient="records", lines=True).'


def layout_of(head: bytes, *, whole: bool) -> Layout:
    """How the text that begins with `head` holds its rows.

    A list's values are; or the objects that follow each other; or, in one object, the values of the one
    list of objects in it, if it is no list of messages.

    Args:
        whole: there is nothing beyond `head`.

    Raises:
        NoRowsError: there are several such lists, or columns instead of rows.
    """
    start = _between(head, 0)
    if head[start : start + 1] == b"[":
        return Layout(start + 1, inside=True)
    objects = Layout(start, inside=False)
    if head[start : start + 1] != b"{":
        return objects
    members, end = members_of(head, start + 1)
    if end is not None and _between(head, end) < len(head):
        return objects  # another one follows
    lists = [member for member in members if member.is_list]
    if len(lists) == 1:
        return Layout(lists[0].offset + 1, inside=True, name=lists[0].name)
    if lists:
        names = ", ".join(repr(member.name) for member in lists)
        raise NoRowsError(
            f"is one object with several lists of rows: {names}",
            f"Choose one, for example: jq -c '.{lists[0].name}[]' IN.json > rows.jsonl.",
        )
    named = {member.name for member in members}
    if end is not None and len(members) > 0 and all(member.is_column for member in members):
        raise NoRowsError("holds columns instead of rows, as pandas writes JSON by itself", _BY_ROWS)
    if {"columns", "data"} <= named <= {"columns", "index", "data"}:
        raise NoRowsError(
            'holds the names of columns apart from the rows, as pandas orient="split"', _BY_ROWS
        )
    if end is None and not whole:
        raise NoRowsError(
            "is one object, and has no list of rows in its first megabyte",
            "Choose the rows, for example: jq -c '.rows[]' IN.json > rows.jsonl.",
        )
    return objects


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object, by the beginning of its value."""

    name: str
    offset: int
    text: bytes

    @property
    def is_list(self) -> bool:
        """Whether it is a list of objects that are no messages."""
        begins = re.match(rb"\[\s*\{", self.text)
        return begins is not None and b'"role"' not in self.text[:2_000]

    @property
    def is_column(self) -> bool:
        """Whether it is a column as pandas writes it: values by their position."""
        return re.match(rb'\{\s*"0"\s*:', self.text) is not None


def members_of(text: bytes, at: int) -> tuple[list[Member], int | None]:
    """The members of the object whose brace is before `at`, and where the object ends; None where `text`
    ends first."""
    members = []
    while found := _KEY.match(text, at):
        value = found.end()
        end = _Search().end_of(text, value) if value < len(text) else None
        with_quotes = found[1].decode("utf-8", "replace")
        try:
            name = str(json.loads(with_quotes))
        except ValueError:
            name = with_quotes.strip('"')
        members.append(Member(name, value, text[value:end] if end is not None else text[value:]))
        if end is None:
            return members, None
        at = end
    at = _between(text, at)
    return members, at + 1 if text[at : at + 1] == b"}" else None

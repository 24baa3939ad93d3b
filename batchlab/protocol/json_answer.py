"""JSON in what a model says: alone, in a code fence, or with text around it.

Python's own json and not orjson, which reads whole numbers past 64 bits as floats and cannot tell
that a key stands twice: 10 µs instead of 3 µs for an answer of 150 bytes.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from batchlab.protocol.redact import without_surrogates

MAX_BLOCKS = 8  # code fences that are looked into
MAX_TRIES = 32  # places at which a value may begin
MAX_SCANNED = 1 << 20  # characters of prose that are searched: a hostile answer costs 0.3 s at most

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_LONG_NUMBER = re.compile(r"\d{19}")
INT64 = range(-(2**63), 2**63)


class JsonProblem(ValueError):
    """A text that is no JSON; says why, for the model to read."""


class Found(NamedTuple):
    """One JSON value.

    Attributes:
        text: the value as compact JSON.
        notes: what was put up with to find it, such as `fenced`.
    """

    value: Any
    text: str
    notes: tuple[str, ...]


def after_reasoning(text: str) -> tuple[str, bool]:
    """The text behind a reasoning block `<think>…</think>`, and whether there was one.

    A chat template may have put the opening tag into the prompt, so only the closing one counts.
    """
    text = text.strip().removeprefix("\ufeff")
    if text[:1] in ("{", "["):
        return text, False
    _, tag, tail = text.rpartition("</think>")
    return (tail.strip(), True) if tag else (text, False)


def json_values(text: str, opening: str) -> Iterator[Found]:
    """The JSON values in a model's answer: the whole of it, else those in code fences, else in the prose.

    Args:
        opening: the characters with which a value among prose may begin, of `{` and `[`.
    """
    text, reasoned = after_reasoning(text)
    notes = ("reasoning",) if reasoned else ()
    try:
        yield _value(text, notes)
    except JsonProblem:
        pass
    else:
        return
    for block in itertools.islice(_FENCE.finditer(text), MAX_BLOCKS):
        try:
            yield _value(block.group(1), (*notes, "fenced"))
        except JsonProblem:
            continue
    yield from _in_prose(text[:MAX_SCANNED], opening, notes)


def json_problem(text: str) -> str:
    """Why an answer is no JSON, in words for the model."""
    text, _ = after_reasoning(text)
    if not text:
        return "the answer is empty"
    try:
        _value(text, ())
    except JsonProblem as problem:
        return f"the answer is not JSON: {problem}"
    return "the answer holds no JSON of the wanted kind"


def _in_prose(text: str, opening: str, notes: tuple[str, ...]) -> Iterator[Found]:
    if not opening:
        return
    begins = re.compile(f"[{re.escape(opening)}]")
    place = 0
    for _ in range(MAX_TRIES):
        found = begins.search(text, place)
        if found is None:
            return
        try:
            value, end, more = _decoded(text, found.start())
            yield Found(*_clean(value), (*notes, "text around", *more))
        except JsonProblem:
            end = found.start() + 1
        place = end


def _value(text: str, notes: tuple[str, ...]) -> Found:
    text = text.strip()
    value, end, more = _decoded(text, 0)
    if end != len(text):
        raise JsonProblem(f"more text after its end at character {end + 1}")
    return Found(*_clean(value), (*notes, *more))


def _decoded(text: str, start: int) -> tuple[Any, int, tuple[str, ...]]:
    """The value that begins at `start`, where it ends, and notes. Raises JsonProblem."""
    notes: list[str] = []

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs) and "duplicate keys" not in notes:
            notes.append("duplicate keys")  # the last one counts, as nearly everywhere
        return members

    decoder = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=_refused)
    try:
        value, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if not text[start : start + 1] or text[start] not in '{["-0123456789tfn':
            raise JsonProblem("it begins with other text") from None
        raise JsonProblem(f"{error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except RecursionError:
        raise JsonProblem("nested too deeply") from None
    except ValueError as error:  # NaN, or a number of more digits than Python takes
        raise JsonProblem(str(error)) from None
    if _LONG_NUMBER.search(text, start, end) and _has_big_integer(value):
        notes.append("integer beyond 64 bits")
    return value, end, tuple(notes)


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _clean(value: Any) -> tuple[Any, str]:
    """The value and its compact text, as UTF-8 can hold them. Raises JsonProblem for an infinity."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise JsonProblem("nested too deeply") from None
    except ValueError:
        raise JsonProblem("a number is too large") from None
    clean = without_surrogates(text)
    return (value, text) if clean == text else (json.loads(clean), clean)


def _has_big_integer(value: Any) -> bool:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, int) and one not in INT64:
            return True
    return False

"""Members of the JSON that batch APIs send, read so that no value of any kind does harm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from batchlab.protocol.outcomes.error_members import codes_of, status_named
from batchlab.protocol.outcomes.facts import STATUS_OF
from batchlab.protocol.redact import printable, redact
from batchlab.protocol.usage import count
from batchlab.protocol.values import ReplyProblem, id_of, parse_json

MAX_PROBLEM_CHARS = 500
MAX_PROBLEMS = 10_000  # a file of 50,000 bad lines has one for each, in words of the service
NOTHING: Mapping[str, Any] = {}


def members(value: Any) -> Mapping[str, Any]:
    """The members of an object; none of any other value."""
    return value if isinstance(value, dict) else NOTHING


def listed(value: Any) -> list[Any]:
    """The items of a list; none of any other value."""
    return value if isinstance(value, list) else []


def name_in(value: Any) -> str:
    """An id or a word as it came, a number as its digits; empty for what is neither."""
    return value if isinstance(value, str) else str(value) if type(value) is int else ""


def names_in(*values: Any) -> tuple[str, ...]:
    """Those of the values that name something."""
    return tuple(name for name in map(name_in, values) if name)


def seconds_of(value: Any) -> float | None:
    """Unix seconds, of a number, of its digits, or of a time in ISO 8601 (UTC where it names no zone)."""
    if isinstance(value, str) and not value.isdigit():
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    whole = count(value)
    return None if whole is None else float(whole)


def labels_of(value: Any) -> dict[str, str]:
    """The labels of a batch, of which the service makes texts."""
    return {str(name): name_in(label) for name, label in members(value).items()}


def problem_of(error: Any) -> str:
    """An error of a batch in one line, with the line of the file and the number of times it names."""
    if isinstance(error, str):
        return printable(redact(error), MAX_PROBLEM_CHARS)
    found = members(error)
    line, times = count(found.get("line")), count(found.get("count"))
    said = name_in(found.get("message")) or name_in(found.get("code")) or "no reason given"
    where = f"line {line}: " if line is not None else ""
    often = f" ({times} times)" if times is not None and times > 1 else ""
    return f"{where}{printable(redact(said), MAX_PROBLEM_CHARS)}{often}"


def problems_of(errors: list[Any]) -> tuple[str, ...]:
    """The errors of a batch, one line each; what has no words is none."""
    return tuple(problem_of(one) for one in errors[:MAX_PROBLEMS] if isinstance(one, dict | str) and one)


def request_id_of(value: Any) -> str | None:
    """The service's id of one request; None for none."""
    return id_of(value) or None


def body_of(value: Any) -> Mapping[str, Any]:
    """The body of a line's answer: an object, also one that came as its text; else an error that says so."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ReplyProblem:
            return {"error": {"message": value}}
    if isinstance(value, dict):
        return value
    return {
        "error": {"message": "a result without a body" if value is None else f"a body that is {value!r:.200}"}
    }


def status_of(error: Any) -> int:
    """The HTTP status that an error without one would have had live; 500 where it does not tell."""
    found = dict(members(error))
    if (named := status_named([found])) is not None:
        return named
    return next((STATUS_OF[code] for code in codes_of(found) if code in STATUS_OF), 500)

"""One setting of a job, as it is written, becomes a value: numbers, durations, clock times, lists.

A value that does not fit raises ValueError with what was expected; `file` names the key.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import types
import typing
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batchlab.remote.urls import is_url

CHEAP = "cheap"  # as a time to start: when prices are lowest
_ROLES = ("system", "developer", "user", "assistant")


def coerced(value: Any, wanted: Any, *, duration: bool) -> Any:
    """A value as a field of type `wanted` holds it; `duration` says that the field holds seconds."""
    if duration:
        return duration_s(value)
    if typing.get_origin(wanted) is tuple:
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list | tuple) and all(isinstance(one, str) and one for one in listed):
            return tuple(listed)
        raise ValueError(f"expected text or a list of texts, got {value!r}")
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if bool in options:
        if isinstance(value, bool):
            return value
        raise ValueError(f"expected true or false, got {value!r}")
    if isinstance(value, bool):
        raise ValueError(f"expected {_type_name(options)}, got {value!r}")
    if int in options and isinstance(value, int):
        return value
    if float in options and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if str in options and isinstance(value, str):
        return value
    raise ValueError(f"expected {_type_name(options)}, got {value!r}")


def _type_name(options: tuple[Any, ...]) -> str:
    if int in options:
        return "a whole number"
    return "a number" if float in options else "text"


def moment(value: Any, *, now: datetime | None = None) -> datetime | None:
    """The next moment with a clock time such as `07:30`, or the one that an ISO time names, of this machine's
    zone where it says none; None for anything else. Raises ValueError for a time that there is not."""
    text = str(value).strip()
    if (match := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)) is not None:
        today = (now or datetime.now().astimezone()).replace(tzinfo=None)
        hour, minute = map(int, match.groups())
        then = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return _in_zone(then if then > today else then + timedelta(days=1), now)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}.*", text) is None:
        return None
    named = datetime.fromisoformat(text)
    return named if named.tzinfo is not None else _in_zone(named, now)


def _in_zone(clock: datetime, now: datetime | None) -> datetime:
    """What a clock shows, as a moment: of the zone of `now`, or of this machine, whose summer time may begin
    or end until then."""
    if now is not None:
        return clock.replace(tzinfo=now.tzinfo)
    then = clock.astimezone()
    is_skipped = then.replace(tzinfo=None) != clock  # an hour that no clock shows: after it, not before
    return clock.replace(fold=1).astimezone() if is_skipped else then


def deadline_s(value: Any, *, now: datetime | None = None) -> Any:
    """Seconds until a clock time such as `07:30` (the next one) or an ISO time; anything else is left as it
    is."""
    then, now = moment(value, now=now), now or datetime.now().astimezone()
    if then is None:
        return value
    if then <= now:
        raise ValueError(f"{value} is over")
    # not their difference: within one zone that is one of clocks, and an hour may be missing
    return then.timestamp() - now.timestamp()


def start_time(value: Any, *, now: datetime | None = None) -> str:
    """`cheap`, or as an ISO time the moment that a time, or a duration from now, names. Raises ValueError."""
    if value == CHEAP:
        return CHEAP
    then, now = moment(value, now=now), now or datetime.now().astimezone()
    if then is None:
        try:
            then = now + timedelta(seconds=duration_s(value))
        except ValueError:
            raise ValueError(
                f"expected a time such as 22:00, 2h or 2026-11-29T22:00, or {CHEAP}, got {value!r}"
            ) from None
    return then.isoformat(timespec="seconds")


def duration_s(value: Any) -> float:
    """Seconds of `90`, `"90s"`, `"15m"`, `"8h"`, `"1h30m"` or `"2d"`. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(value).strip())
    if not match or not any(match.groups()):
        raise ValueError(f"expected a duration such as 90s, 15m or 8h, got {value!r}")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if total <= 0:
        raise ValueError("a duration must be longer than 0")
    return total


def beside(path: str, home: Path) -> str:
    """A path as it is written in a file of the directory `home`; one that is no relative path stays."""
    if path == "-" or is_url(path) or Path(path).is_absolute():
        return path
    whole = os.path.normpath(home / path)
    return f"{whole}/" if path.endswith("/") else whole


def listed_words(value: Any) -> Any:
    """The words of `"truncated,empty"`; anything else is left as it is."""
    if not isinstance(value, str):
        return value
    return [word.strip() for word in value.split(",") if word.strip()]


def columns(value: Any) -> list[str]:
    """Names of columns, of which one may be written without a list."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names):
        return list(names)
    raise ValueError(f"expected a column or a list of columns, got {value!r}")


def messages(value: Any) -> list[dict[str, str]]:
    """The messages of `[[request.messages]]`: role, content and perhaps name, all text."""
    if not isinstance(value, list) or not value:
        raise ValueError("expected [[request.messages]] with role and content each")
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(f"message {number} needs a role and content")
        if message["role"] not in _ROLES:
            raise ValueError(f"message {number}: no role {message['role']!r}; one of {', '.join(_ROLES)}")
        for name, text in message.items():
            if not isinstance(text, str) or name not in {"role", "content", "name"}:
                raise ValueError(f"message {number}: {name} = {text!r}; role, content and name are text")
    return [dict(message) for message in value]


def nearest(word: str, known: list[str]) -> str:
    """What to say after an unknown word: the known one that it resembles, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"

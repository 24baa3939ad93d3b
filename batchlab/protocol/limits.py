"""What response headers say about rate limits: Retry-After, the x-ratelimit family, and RateLimit.

A bad header is no reason to fail a row: what cannot be read is None. Formats seen in
service: OpenAI (`6m0s`, `7.66s`, `12ms`), Groq (`2m59.56s`), Azure (`retry-after-ms`, −1 and 0
limits), epoch seconds and milliseconds, RFC 3339; without a Retry-After, OpenRouter's `X-RateLimit-Reset`,
Kong's `RateLimit-Reset`, `X-RateLimit-Reset-After`, and `RateLimit` in both of its drafts' forms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_WINDOWS_S = (1.0, 10.0, 60.0, 3_600.0, 86_400.0)
_RATE_HEADERS = tuple(
    f"x-ratelimit-{what}-{kind}"
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
# OpenAI, Groq, Azure, Moonshot; GitHub Models and gateways ("wait 30 seconds")
_IN_MESSAGE = re.compile(
    r"(?i)(?:(?:try again|retry) (?:in|after) |\bwait (?:for |at least )?(?=[\d.]+ ?(?:ms|s|m|h|d)))"
    r"((?:\d+h)?(?:\d+m(?!s))?(?:\d+(?:\.\d+)?)?) ?"
    r"(ms\b|milliseconds?\b|s(?:ec(?:ond)?s?)?\b|m(?:in(?:ute)?s?)?\b|h(?:ours?|rs?)?\b|d(?:ays?)?\b)?"
)
_UNITS_S = {"ms": 0.001, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "s": 1.0}
# Azure's API Management: a TimeSpan of .NET, days before a full stop
_REPLENISHED = re.compile(r"(?i)quota will be replenished in (?:(\d{1,4})\.)?(\d\d):(\d\d):(\d\d)")
_A_YEAR_S = 366 * 86_400.0
_IN_RATELIMIT = re.compile(r"(?:^|[;,\s])(?:reset|t)=(\d{1,9})(?![\d.])")


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """A response's limits; None for what it did not say.

    Attributes:
        reset_requests_s, reset_tokens_s: seconds until the bucket is full again.
        window_s: length of the request window, inferred from limit, remaining and reset.
    """

    limit_requests: float | None = None
    remaining_requests: float | None = None
    reset_requests_s: float | None = None
    limit_tokens: float | None = None
    remaining_tokens: float | None = None
    reset_tokens_s: float | None = None
    window_s: float | None = None


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds the server asks us to wait, or None if it did not say.

    Reads `retry-after-ms`, then `Retry-After`: delta-seconds or an HTTP-date (RFC 9110, section 10.2.3), or
    what gateways make of it, a duration ("20s"), a time in ISO 8601 or Unix seconds. A date in the past
    gives 0.0; "now" is the response's own `Date` header when it has one, because our clock may be wrong.
    LiteLLM's proxy hands on what the host behind it said as `llm_provider-retry-after`, and says nothing
    itself.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(_own_or_behind(headers, name))
        if milliseconds is not None and milliseconds >= 0:
            return milliseconds / 1000
    text = (_own_or_behind(headers, "retry-after") or "").strip()
    sent = _sent_at(headers, now)
    seconds = _number(text)
    if seconds is not None:
        if abs(seconds - sent.timestamp()) < _A_YEAR_S:
            return max(0.0, seconds - sent.timestamp())  # nobody asks to be left alone for fifty years
        return seconds if seconds >= 0 else None
    if (duration := _duration(text)) is not None:
        return duration
    when = _http_date(text) or _iso_date(text)
    return None if when is None else max(0.0, (when - sent).total_seconds())


def limit_reset_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds until the limit that a 429 is about is over, where it has no Retry-After; None if unsaid.

    A limit of which something is left is another one.
    """
    for reset, left in (
        ("x-ratelimit-reset-after", "x-ratelimit-remaining"),
        ("ratelimit-reset", "ratelimit-remaining"),
        ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ):
        if (_number(headers.get(left)) or 0.0) > 0:
            continue
        if (seconds := _reset_s(headers.get(reset), _sent_at(headers, now))) is not None:
            return seconds
    found = _IN_RATELIMIT.findall(headers.get("ratelimit", "")[:1_000])
    return float(found[0]) if len(found) == 1 else None  # of several limits it is any


def _own_or_behind(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(name) or headers.get(f"llm_provider-{name}")


def message_wait_s(message: str) -> float | None:
    """Seconds in a message such as "try again in 9m38.016s" or "wait 2 minutes", or None."""
    message = message[:4_096]
    if (found := _REPLENISHED.search(message)) is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return float(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
    match = _IN_MESSAGE.search(message)
    if not match or not match.group(1):
        return None
    number, unit = match.group(1).lower(), match.group(2)
    if not number[-1].isdigit():
        return _duration(number)
    if "h" in number or "m" in number:
        return _duration(f"{number}s")
    word = (unit or "s").lower()
    scale = _UNITS_S["ms" if word.startswith(("ms", "mil")) else word[0]]
    total = float(number) * scale
    return total if math.isfinite(total) else None


def rate_limits(headers: Mapping[str, str], *, now: datetime | None = None) -> RateHeaders | None:
    """The x-ratelimit headers of a response; None when there are none worth anything."""
    if not any(name in headers for name in _RATE_HEADERS):
        return None
    values: dict[str, float | None] = {}
    for kind in ("requests", "tokens"):
        limit = _number(headers.get(f"x-ratelimit-limit-{kind}"))
        remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
        good = limit is not None and limit > 0
        values[f"limit_{kind}"] = limit if good else None
        values[f"remaining_{kind}"] = remaining if good and remaining is not None and remaining >= 0 else None
        values[f"reset_{kind}_s"] = _reset_s(
            headers.get(f"x-ratelimit-reset-{kind}"), now or datetime.now(UTC)
        )
    if not any(value is not None for value in values.values()):
        return None
    window = window_s(values["limit_requests"], values["remaining_requests"], values["reset_requests_s"])
    return RateHeaders(**values, window_s=window)


def window_s(limit: float | None, remaining: float | None, reset_s: float | None) -> float | None:
    """Length of the limit's window: `reset` is the time to full, so limit·reset/(limit − remaining).

    Snapped to a second, 10 s, a minute, an hour or a day; None when it is not within a factor
    2 of one of them.
    """
    if limit is None or remaining is None or not reset_s or remaining >= limit:
        return None
    estimate = limit * reset_s / (limit - remaining)
    if not math.isfinite(estimate) or estimate <= 0:
        return None
    nearest = min(_WINDOWS_S, key=lambda window: abs(math.log(window / estimate)))
    return nearest if 0.5 <= estimate / nearest <= 2 else None


def _reset_s(text: str | None, now: datetime) -> float | None:
    if not text:
        return None
    number = _number(text)
    if number is not None:
        if number > 1e12:
            number = number / 1000 - now.timestamp()
        elif number > 1e9:
            number -= now.timestamp()
        return max(0.0, number)
    duration = _duration(text.strip())
    if duration is not None:
        return duration
    when = _iso_date(text.strip())
    return None if when is None else max(0.0, (when - now).total_seconds())


def _duration(text: str) -> float | None:
    match = _DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        return _number(text)
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds + milliseconds / 1000
    return total if math.isfinite(total) else None


def _number(text: str | None) -> float | None:
    if text is None or len(text) > 64:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _sent_at(headers: Mapping[str, str], now: datetime | None) -> datetime:
    return _http_date(headers.get("date") or "") or now or datetime.now(UTC)


def _iso_date(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)

"""What response headers say about rate limits: Retry-After and the x-ratelimit family.

A bad header is no reason to fail a row: what cannot be read is None. Formats seen in
service: OpenAI (`6m0s`, `7.66s`, `12ms`), Groq (`2m59.56s`), Azure (`retry-after-ms`, −1 and 0
limits), epoch seconds and milliseconds, RFC 3339.
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
_IN_MESSAGE = re.compile(
    r"(?i)(?:try again|retry) (?:in|after) "
    r"((?:\d+h)?(?:\d+m(?!s))?(?:\d+(?:\.\d+)?)?) ?(ms|s(?:ec(?:ond)?s?)?\b)?"
)


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

    Reads `retry-after-ms`, then `Retry-After`, which is either delta-seconds or an HTTP-date
    (RFC 9110, section 10.2.3). A date in the past gives 0.0; "now" is the response's own
    `Date` header when it has one, because our clock may be wrong. LiteLLM's proxy hands on what the
    host behind it said as `llm_provider-retry-after`, and says nothing itself.
    """
    milliseconds = _number(_own_or_behind(headers, "retry-after-ms"))
    if milliseconds is not None and milliseconds >= 0:
        return milliseconds / 1000
    text = (_own_or_behind(headers, "retry-after") or "").strip()
    if not text:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    when = _http_date(text)
    if when is None:
        return None
    sent = _http_date(headers.get("date") or "") or now or datetime.now(UTC)
    return max(0.0, (when - sent).total_seconds())


def _own_or_behind(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(name) or headers.get(f"llm_provider-{name}")


def message_wait_s(message: str) -> float | None:
    """Seconds in a message such as "try again in 9m38.016s", or None."""
    match = _IN_MESSAGE.search(message[:4_096])
    if not match or not match.group(1):
        return None
    number, unit = match.groups()
    ends_in_digit = number[-1].isdigit()
    return _duration(number + ("ms" if unit and unit.lower() == "ms" else "s") if ends_in_digit else number)


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
    try:
        when = datetime.fromisoformat(text.strip())
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    except (ValueError, OverflowError):
        return None


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


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)

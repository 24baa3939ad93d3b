"""What response headers say about limits, and what may be shown of a provider's text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.limits import limit_reset_s, message_wait_s, rate_limits, retry_after_s, window_s
from batchlab.protocol.redact import printable, redact

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2015 00:00:30 GMT", 0.0),
        ("1000000000", 1e9),
        ("20s", 20.0),
        ("1m30s", 90.0),
        ("2026-01-01T00:00:30Z", 30.0),
        ("2026-01-01T01:00:30+01:00", 30.0),
        ("2025-12-31T23:00:00Z", 0.0),
        (str(int(NOW.timestamp()) + 30), 30.0),
        (str(int(NOW.timestamp()) - 30), 0.0),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after_s({"retry-after": text}, now=NOW) == seconds


def test_milliseconds_come_first_and_have_two_names():
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after_s({"x-ms-retry-after-ms": "4500"}) == 4.5
    assert retry_after_s({"x-ms-retry-after-ms": "-1", "retry-after": "9"}) == 9.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 30) * 1000)}, 30.0),  # OpenRouter
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 30), "x-ratelimit-remaining": "0"}, 30.0),
        ({"x-ratelimit-reset": "30", "x-ratelimit-remaining": "4"}, None),  # of another limit
        ({"x-ratelimit-reset-after": "12.5"}, 12.5),  # Discord, and who copied it
        ({"ratelimit-reset": "30"}, 30.0),  # Kong
        ({"ratelimit": "limit=100, remaining=0, reset=30"}, 30.0),  # the draft until its sixth form
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),  # from the eighth on
        ({"ratelimit": '"a";r=0;t=30, "b";r=9;t=60'}, None),  # of which of them?
        ({"ratelimit": "reset=soon"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_a_limit_without_retry_after_may_say_when_it_is_over(headers, seconds):
    assert limit_reset_s(headers, now=NOW) == seconds


def test_a_retry_date_is_measured_by_the_server_s_own_clock():
    headers = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "Thu, 01 Jan 2026 00:00:10 GMT"}

    assert retry_after_s(headers, now=datetime(2030, 1, 1, tzinfo=UTC)) == 20.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("7.66s", 7.66),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("30", 30.0),
        (str(int(NOW.timestamp()) + 40), 40.0),
        (str((int(NOW.timestamp()) + 40) * 1000), 40.0),
        ("2026-01-01T00:00:50Z", 50.0),
        ("never", None),
    ],
)
def test_reset_formats(text, seconds):
    limits = rate_limits({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": text}, now=NOW)

    assert limits is not None
    assert limits.reset_requests_s == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(("limit", "remaining"), [("-1", "5"), ("0", "5"), ("nan", "1"), ("x", "y")])
def test_lying_limits_are_ignored(limit, remaining):
    assert (
        rate_limits({"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining})
        is None
    )


def test_the_window_is_inferred_from_the_time_to_full():
    assert window_s(5000, 4999, 0.012) == 60.0  # OpenAI
    assert window_s(14400, 14370, 179.56) == 86_400.0  # Groq's requests are per day
    assert window_s(100, 99, 1e-9) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 9m38.016s", 578.016),
        ("try again in 20s.", 20.0),
        ("try again in 120ms", 0.12),
        ("Try again in 2 minutes.", 120.0),
        ("try again in 1 minute", 60.0),
        ("try again in 3 hours", 10_800.0),
        ("retry after 1 day", 86_400.0),
        ("try again in 500 milliseconds", 0.5),
        ("try again in 24h", 86_400.0),
        ("Try again in 6M0.5S", 360.5),
        ("try again in 30", 30.0),
        ("try again in 5 more", 5.0),
        ("Please wait 44232 seconds before retrying.", 44_232.0),  # GitHub Models
        ("wait for 15 s", 15.0),
        ("wait 15 rows", None),
        ("please wait a minute", None),
        ("Quota will be replenished in 03:12:24.", 11_544.0),  # Azure's API Management
        ("Quota will be replenished in 2.00:00:10.", 172_810.0),
        ("no", None),
    ],
)
def test_a_wait_in_a_message(text, seconds):
    assert message_wait_s(text) == seconds


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "date",
                "x-ms-retry-after-ms",
                "x-ratelimit-reset",
                "x-ratelimit-reset-after",
                "ratelimit",
                "ratelimit-reset",
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
                "x-ratelimit-reset-tokens",
                "x-ratelimit-limit-tokens",
            ]
        ),
        st.one_of(st.text(max_size=40), st.floats().map(str), st.integers().map(str)),
    )
)
def test_no_header_however_strange_raises(headers):
    waits = [retry_after_s(headers, now=NOW)]
    waits.append(limit_reset_s(headers, now=NOW))
    limits = rate_limits(headers, now=NOW)
    waits += [limits.reset_requests_s, limits.reset_tokens_s] if limits else []

    assert all(wait is None or wait >= 0 for wait in waits)


def test_redaction_hides_secrets_and_what_looks_like_one():
    text = redact("key canary and Bearer abcdef123456 and sk-proj-0123456789", ["canary"])

    assert "canary" not in text
    assert "abcdef" not in text
    assert "0123456789" not in text


def test_printable_strips_what_could_fool_a_terminal():
    assert printable("a\x1b[2Jb\r\nc\u202ed") == "a [2Jb c d"

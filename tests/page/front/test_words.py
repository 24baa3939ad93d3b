"""Numbers, addresses, differences and scales, as the modules give them in a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.page.front.conftest import Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


@pytest.fixture
def call(visit: Open) -> Callable[..., Any]:
    """Calls a function that a module exports."""
    look = visit()
    look.to("/")

    def asked(module: str, name: str, *arguments: Any) -> Any:
        return look.page.evaluate(
            "async ([m, n, a]) => (await import(`/${m}.js`))[n](...a)", [module, name, list(arguments)]
        )

    return asked


def test_numbers_read_as_a_person_writes_them(call: Callable[..., Any]):
    for name, value, expected in [
        ("count", 1234567, "1,234,567"), ("count", None, "–"), ("count", 0, "0"), ("short", 1_234_567, "1.23 M"), ("short", 999_999_999, "1 G"), ("short", 12, "12"), ("short", 3.2e18, "3,200 P"),
        ("usd", 0, "$0"), ("usd", 0.00001234, "$0.000012"), ("usd", 0.00000001, "<$0.000001"), ("usd", 0.1, "$0.10"), ("usd", 0.084, "$0.084"), ("usd", 12.5, "$12.50"), ("usd", 123456.7, "$123,457"), ("usd", 4.2e12, "$4.2 T"),
        ("usd", None, "–"), ("usd", -3, "−$3.00"), ("share", 0, "0 %"), ("share", 1, "100 %"), ("share", 0.0004, "<0.1 %"), ("share", 0.9996, ">99.9 %"), ("share", 0.031, "3.1 %"), ("share", 0.5, "50 %"), ("share", 0.993, "99.3 %"),
        ("took", 0.04, "0.04 ms"), ("took", 840.4, "840 ms"), ("took", 1844, "1.84 s"), ("took", 125_000, "2 min 5 s"), ("took", None, "–"), ("lasted", 27_600, "7 h 40 min"), ("lasted", 280_000, "3 d 6 h"), ("lasted", 1e11, "1,157,407 d"),
        ("digits", 0.30000000000000004, "0.3"), ("digits", 1e-9, "1e-9"), ("plain", {"a": [1]}, '{"a":[1]}'), ("plain", None, "–"),
    ]:  # fmt: skip
        assert (name, value, call("format", name, value)) == (name, value, expected)


def test_an_address_comes_back_as_it_was(call: Callable[..., Any]):
    parts = ["run", "<b>ho</b>stile/ %2F&?#", "rows"]
    params = {"q": "a & b = 100%", "where": ["stars>=3", "lang~ö#"], "status": "failed"}
    address = call("router", "address", parts, params)
    assert address.startswith("#/run/%3Cb%3E")
    values = ["a,b", "100%", "plain", "%2C"]
    assert call("router", "split", call("router", "joined", values)) == values


def test_differences_are_whole_texts_again_and_the_least(call: Callable[..., Any]):
    left, right = (
        "The cable failed early, but support was quick.",
        "The plug failed early, but support was very quick.",
    )
    a, b = call("diff", "differences", left, right)
    assert "".join(text for text, _ in a) == left
    assert "".join(text for text, _ in b) == right
    assert [text for text, differs in a if differs] == ["cable"]
    assert [text.strip() for text, differs in b if differs] == ["plug", "very"]
    assert call("diff", "differences", "one two three four", "five six seven eight") is None
    long = " ".join(f"word{number}" for number in range(6_000))
    a, b = call("diff", "differences", long, long.replace("word3000 ", ""))
    assert "".join(text for text, differs in a if differs).strip() == "word3000"
    assert not any(differs for _, differs in b)


def test_ticks_of_an_axis_are_round_and_hold_the_most(call: Callable[..., Any]):
    for most, expected in [
        (1_203, [0, 500, 1000, 1500]),
        (0, [0, 1]),
        (7, [0, 2.5, 5, 7.5]),
        (0.00034, [0, 0.0002, 0.0004]),
        (64, [0, 25, 50, 75]),
    ]:
        ticks = call("scales", "ticksTo", most)
        assert ticks == expected
        assert ticks[-1] >= most


def test_a_long_time_without_work_is_cut_short(visit: Open):
    """Two nights a week apart are two nights side by side."""
    look = visit()
    look.to("/")
    pieces = look.page.evaluate(
        """async () => {
            const { TimeScale } = await import("/scales.js");
            const at = [0, 604800].flatMap((from) => Array.from({ length: 60 }, (_, index) => from + index * 600));
            return new TimeScale(at, () => true, 600, 1000).pieces.map((one) => [one.idle, one.cut, Math.round(one.wide)]);
        }"""
    )
    assert pieces == [[False, False, 487], [True, True, 26], [False, False, 487]]

"""A review of 200 rows by keyboard alone, in a real Chromium before the real server."""

from __future__ import annotations

import random
import re
from statistics import NormalDist

import pytest

from tests.conftest import simulating
from tests.page.conftest import run_of
from tests.page.front.conftest import browser as browser

pytestmark = pytest.mark.browser
REVIEWED, ROWS = 200, 600
KEYS = {"1": "pass", "2": "fail", "3": "unsure"}
SCIPY = (
    153,
    182,
    0.7805287195990771,
    0.8867066797939034,
)  # binomtest(k, n).proportion_ci(method="wilson"), scipy 1.17.1

# a person labels what can be seen
CAN_BE_LABELLED = """([n, of]) => document.querySelector('main').innerText.includes(`${n} of ${of}`)
  && !document.querySelector('.label-name').disabled
  && !document.querySelector('.label-name[aria-pressed=true]')"""


def wilson(k: int, n: int) -> tuple[float, float]:
    """The bounds by their definition, which no formula solves here: between them lie the shares that are no
    further from k / n than 1.96 of their own standard deviations."""
    z, p = NormalDist().inv_cdf(0.975), k / n

    def edge(outside: float) -> float:
        inside = p
        for _ in range(200):
            middle = (inside + outside) / 2
            is_far = (p - middle) ** 2 > z * z * middle * (1 - middle) / n
            inside, outside = (inside, middle) if is_far else (middle, outside)
        return inside

    return edge(0.0), edge(1.0)


def test_the_reference_is_right():
    k, n, low, high = SCIPY
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-9)


def test_two_hundred_rows_are_reviewed_by_keys_alone_and_the_interval_is_the_reference_s(
    browser, served, tmp_path
):
    with simulating(api_key="") as server:
        run_of(tmp_path / "night", [{"text": f"remark {number}"} for number in range(ROWS)], server.base_url)
    page = served(tmp_path / "night")
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    look = context.new_page()
    wrong: list[str] = []
    look.on("pageerror", lambda error: wrong.append(str(error)))
    look.goto(page.address + "run/night")
    look.get_by_role("heading", name="night").wait_for()

    keyboard = look.keyboard
    keyboard.press("g")
    keyboard.press("v")
    look.get_by_role("button", name=f"{REVIEWED} rows").wait_for()
    keyboard.press("b")
    rng = random.Random(20)
    said: dict[int, str] = {}
    for number in range(1, REVIEWED + 1):
        while not look.evaluate(CAN_BE_LABELLED, [number, REVIEWED]):  # Playwright's own wait needs eval
            look.wait_for_timeout(20)
        key = rng.choices("123", (77, 14, 9))[0]
        keyboard.press(key)
        said[number] = KEYS[key]
    look.get_by_role("heading", name="Share of “pass”").wait_for()
    shown = look.locator(".big-share").inner_text()
    context.close()

    k = sum(one == "pass" for one in said.values())
    n = sum(one != "unsure" for one in said.values())
    low, high = wilson(k, n)
    share = page.get("labels", run="night")["share"]
    assert wrong == []
    assert (share["k"], share["n"], share["p"]) == (k, n, k / n)
    assert (share["low"], share["high"]) == pytest.approx((low, high), abs=1e-12)
    assert page.get("labels", run="night")["counts"] == {
        word: list(said.values()).count(word) for word in set(said.values())
    }
    percents = [float(one) for one in re.findall(r"([\d.]+)\s*%", shown)][:3]
    assert percents == pytest.approx([100 * k / n, 100 * low, 100 * high], abs=0.51)
    assert f"{k} of {n} rows" in shown

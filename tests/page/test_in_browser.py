"""The real page before runs of odd kinds: long texts, columns of any name, searches in what all rows share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from batchlab.looking.opening import open_run
from batchlab.page import report
from tests.conftest import ROOT
from tests.page.conftest import run_of
from tests.page.front.conftest import browser as browser
from tests.page.windows import Window, window
from tests.provider import chat_reply, providing

pytestmark = pytest.mark.browser
ODD = ("a=b", "x,y", "название", "__proto__", "status", "n>3", "two words ", "<b>", "日本", "a~b!=c")
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
LONG = "слово word 語 " * 15_000  # one line of 200,000 characters in three scripts


@pytest.fixture
def look(browser, served, tmp_path) -> Iterator[Callable[[str], Window]]:
    """Opens the page of the runs that a test has made."""
    with ExitStack() as opened:

        def one(place: str = "/") -> Window:
            address = served(tmp_path / "runs").address
            return opened.enter_context(window(browser, address)).to(place)

        yield one


@pytest.fixture
def odd(simulator, tmp_path) -> Path:
    """A run of 12 rows with columns of odd names, two values each, and a prefix before the result's."""
    rows = [
        {"text": f"remark {number}", **dict.fromkeys(ODD, ("yes, so", "no=1")[number % 2])}
        for number in range(12)
    ]
    server = simulator(api_key="", faults=[{"kind": "http_400", "rows": ["remark 5"], "times": 9}])
    run_of(tmp_path / "runs/odd", rows, server.base_url, prefix="out_", system="You are a greeter of shops.")
    return tmp_path / "runs/odd"


def test_a_row_of_very_long_lines_is_open_at_once(tmp_path, look):
    """It was laid out as one line, which took 52 s."""
    with providing(lambda _: (200, chat_reply(LONG))) as server:
        run_of(tmp_path / "runs/long", [{"text": LONG}, {"text": "short"}], server.base_url)
    page = look("/run/long/rows")
    page.sees("2 rows")

    began = time.monotonic()
    page.press("j", "Enter")
    page.sees("characters", ".answer")
    page.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.monotonic() - began < 15  # 0.3 s on an idle machine

    page.press("r")
    page.until("document.querySelector('.answer pre.raw')")
    shown = page.page.evaluate("document.querySelector('.answer pre.raw').textContent")
    assert LONG.startswith(shown.partition("show ")[0])
    assert len(shown) > 150_000


def test_the_lines_of_a_long_text_are_the_lines_that_were_written(tmp_path, look):
    lines = ["first", "", *(f"line {number} of many" for number in range(2_000)), "", "last"]
    with providing(lambda _: (200, chat_reply("done"))) as server:
        run_of(tmp_path / "runs/long", [{"text": "\n".join(lines)}], server.base_url)
    page = look("/run/long/rows?row=0")
    page.sees("line 7 of many", ".asked")

    pieces = page.page.locator(".asked .piece").all_text_contents()

    assert len(pieces) > 5
    assert "\n".join(pieces).splitlines() == ["Say it shorter: first", *lines[1:]]


@pytest.mark.parametrize("name", ODD)
def test_rows_are_filtered_by_a_column_of_any_name(odd, look, name):
    page = look("/run/odd/rows")
    page.sees("12 rows")
    page.press("f")
    page.until("document.querySelector('dialog select')?.options.length > 10")
    page.page.get_by_label("Column").select_option(label=name)
    page.page.get_by_label("Comparison").select_option("=")
    page.page.get_by_label("Value").fill("no=1")
    page.press("Enter")
    page.page.get_by_role("button", name="Show rows").click()

    page.sees("6 rows of 12")


def test_a_list_is_filtered_by_what_it_has(simulator, tmp_path, look):
    rows = [
        {"text": f"remark {number}", "tags": [["Red"], ["blue", "red"], []][number % 3]}
        for number in range(9)
    ]
    run_of(tmp_path / "runs/lists", rows, simulator(api_key="").base_url)
    page = look("/run/lists/rows")
    page.press("f")
    page.until("document.querySelector('dialog select')?.options.length > 10")
    page.page.get_by_label("Column").select_option(label="tags")
    page.page.get_by_label("Value").fill("red")
    page.press("Enter")
    page.page.get_by_role("button", name="Show rows").click()

    page.sees("6 rows of 9")


def test_result_columns_of_a_run_with_a_prefix_are_told_from_the_inputs(odd, look):
    page = look("/run/odd/rows")
    page.press("f")
    page.until("document.querySelector('dialog select')?.options.length > 10")
    page.page.get_by_label("Column").select_option(label="out_status")
    page.page.get_by_label("Comparison").select_option("=")
    page.page.get_by_label("Value").fill("failed")
    page.press("Enter")
    page.page.get_by_role("button", name="Show rows").click()
    page.sees("1 row of 12")

    page.to("/run/odd/review")
    page.sees("Look at a random sample")
    page.to("/run/odd/rows?row=0")
    page.sees("Answer", ".pane")
    page.press("1")
    page.sees("pass", ".line.at .c-label")
    page.to("/run/odd/review")
    page.sees("Share of")
    for column, value in (("status", "yes, so"), ("out_status", "ok"), ("a=b", "yes, so")):
        page.until(
            "c => [...document.querySelectorAll('.by-choice option')].some(o => o.value === c)", column
        )
        page.page.locator(".by-choice select").select_option(column)
        page.sees(value, "table.by")


@pytest.mark.parametrize("label", ["good, mostly", "100%", "none", "a%2Cb", "тест"])
def test_rows_are_found_by_a_label_of_any_word(odd, look, label):
    page = look("/run/odd/rows?row=0")
    page.sees("Answer", ".pane")
    page.page.get_by_role("button", name="names…").click()
    page.page.get_by_label("Label of key 4").fill(label)
    page.page.get_by_role("button", name="Keep").click()
    page.sees(label, ".label-bar")
    page.press("4")
    page.sees(label, ".line.at .c-label")

    page.to("/run/odd/review")
    page.page.get_by_role("link", name=label, exact=True).click()
    page.sees("1 row of 12")
    page.sees(f"label: {label}", ".pills")
    page.press("f")
    page.until("document.querySelector('dialog input[type=checkbox]:checked')")
    page.page.locator("dialog input[type=checkbox]:checked").uncheck()
    page.page.get_by_role("button", name="Show rows").click()
    page.sees("12 rows")


@pytest.mark.parametrize("is_report", [False, True], ids=["view", "report"])
def test_a_text_of_the_template_is_said_to_be_in_every_prompt(odd, look, browser, tmp_path, is_report):
    page = look()
    if is_report:
        file = tmp_path / "report.html"
        file.write_text(report.one_file(open_run(str(odd))), encoding="utf-8")
        page.root = f"{file.as_uri()}"

    def go(text: str) -> None:
        page.page.goto(f"{page.root}?{quote(text)}#/run/odd/rows?in=prompt&q={quote(text)}")

    for text in ("say it shorter", "greeter of shops"):
        go(text)
        page.sees("every prompt has this text")
        page.sees("No row is like that")
        page.sees("0 rows of 12")
    go("shorter: remark 3")  # partly the template's, partly the row's
    page.sees("1 row of 12")
    assert "every prompt has this text" not in page.text("main")
    go("remark 1")
    page.sees("3 rows of 12")


def test_failed_rows_of_a_filter_are_asked_again_from_the_page(simulator, tmp_path, look, monkeypatch):
    """The command is shown, asked for once, and does what it says: its own process, and the page sees it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what is begun is this very batchlab
    refused = {"kind": "http_400", "rows": ["remark 3", "remark 7"], "times": 1}
    rows = [{"text": f"remark {number}"} for number in range(9)]
    run_of(tmp_path / "runs/some", rows, simulator(api_key="", faults=[refused]).base_url)
    page = look("/run/some/rows?status=failed&where=text%3Dremark%207")
    page.sees("1 row of 9")
    page.press("a")
    page.sees("Ask again for 1 row", "dialog")
    page.page.get_by_role("button", name="Ask again for 1 row").click()
    page.sees("batchlab retry ", "dialog .command")
    assert page.text("dialog .command").endswith("runs/some --rows 7")
    assert "which is paid for" in page.text("dialog")

    page.page.locator("dialog button.sure").click()

    page.until("/Done|ended with exit code/.test(document.querySelector('dialog').innerText)")
    assert "1 row asked again" in page.text("dialog")
    page.press("Escape")
    page.sees("0 rows of 9")  # the list has seen it by itself
    page.to("/run/some/rows?status=failed")
    page.sees("1 row of 9")


def test_empty_answers_lead_to_the_rows_that_are_counted(tmp_path, look):
    def answer(body):
        text = body["messages"][-1]["content"]
        if text.endswith("4"):
            return 400, {"error": {"message": "no"}}
        return 200, chat_reply("" if text[-1] in "27" else "said")

    with providing(answer) as server:
        run_of(tmp_path / "runs/some", [{"text": f"remark {n}"} for n in range(9)], server.base_url)
    page = look("/run/some")
    page.sees("What is wrong")
    page.sees("empty", ".odd")
    assert page.text(".odd").split() == ["empty", "2"]

    page.page.locator(".odd a").click()

    page.sees("2 rows of 9")


def test_what_is_no_text_is_not_called_empty(simulator, tmp_path, look):
    server = simulator(api_key="")
    run_of(tmp_path / "runs/vectors", [{"text": "one"}], server.base_url, task="embeddings")
    run_of(tmp_path / "runs/pictures", [{"text": "which?", "shape": PNG}], server.base_url, image=["shape"])
    page = look("/run/vectors/rows?row=0")
    page.sees("dimensions", ".pane")
    assert "empty" not in page.text(".pane")

    page.to("/run/pictures/rows?row=0")
    page.until("document.querySelector('.asked img.picture')?.naturalWidth === 1")
    assert "image_url" not in page.text(".asked")
    assert page.text(".asked .message:last-child .verbatim") == "Say it shorter: which?"

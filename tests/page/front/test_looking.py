"""Runs, a run, rows, a row: what a person sees in a real browser, and does by keys."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.page.front.conftest import REFUSED, Served, Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


def test_all_runs_are_listed_and_a_running_one_goes_on_by_itself(visit: Open):
    look = visit(at="/", sees="a million rows")
    look.sees("run.json cannot be read")
    look.until("document.querySelectorAll('.runs tbody tr').length === 10")
    first = look.page.locator("tr", has_text="goes on").inner_text()
    look.until(
        "old => [...document.querySelectorAll('tr')].some(row => row.innerText.includes('goes on') && row.innerText !== old)",
        first,
    )


def test_runs_are_found_and_opened_by_keys(visit: Open):
    look = visit(at="/", sees="a million rows")
    look.press("/")
    look.page.keyboard.type("stopped")
    look.until("document.querySelectorAll('.runs tbody tr').length === 1")
    look.until("location.hash === '#/?q=stopped'")
    look.press("Escape")
    look.until("document.querySelectorAll('.runs tbody tr').length === 10")
    look.press("Escape", "j", "j", "k", "j", "Enter")
    look.until("location.hash === '#/run/night%2C%20another%20prompt'")
    look.sees("gpt-5-mini")


def test_a_folder_without_runs_says_so(visit: Open, stand_in: Served):
    stand_in.server.runs.clear()
    visit(at="/", sees="No runs here yet")


def test_a_run_shows_what_it_is_costs_and_suffers_from(visit: Open):
    look = visit(at="/run/night", sees="unknown finish")
    text = look.text()
    for expected in ("finished", "1,119", "$0.084", "timeout", "What it is", "Qwen/Qwen2.5-VL-72B-Instruct-together", "max_tokens", "You are a careful editor", "job file",
                     "12 rows have no usage", "2 sessions", "batch_68f0aa", "nothing ran, 1 h", "live", "Cost by column"):  # fmt: skip
        assert expected in text, expected
    look.page.get_by_role("link", name=re.compile("^timeout")).click()
    look.until("location.hash.includes('rows?error=timeout')")
    look.sees("13 rows of 1,203")


def test_every_chart_has_its_numbers_as_words_and_as_a_table(visit: Open):
    look = visit(at="/run/night", sees="Spread")
    charts = look.page.locator("figure svg")
    assert charts.count() == 7
    labels = [charts.nth(index).get_attribute("aria-label") or "" for index in range(7)]
    assert labels[0].startswith("Answers: done up to ")
    assert "1 time without work; paused 1 times" in labels[0]
    assert "p50 1.53 s, p90 4.25 s, p99 11.8 s" in labels[3]
    look.page.locator("figure summary").first.click()
    look.until("document.querySelectorAll('figure table tbody tr').length === 162")
    gap = look.page.locator("figure").first.locator("path.area").count()
    assert gap == 2  # a stretch of work on either side: nothing is drawn across


def test_a_run_is_followed_while_it_runs(visit: Open):
    look = visit(at="/run/goes%20on", sees="done in")
    look.sees("the service allows 3,000 requests a minute")
    look.page.locator("summary", has_text="job file").click()
    before = look.page.locator(".facts dd").first.inner_text()
    look.until("old => document.querySelector('.facts dd').innerText !== old", before)
    assert (
        look.page.locator("details", has=look.page.locator("summary", has_text="job file")).get_attribute(
            "open"
        )
        is not None
    )  # what was opened stays open


def test_rows_are_walked_by_keys_and_say_where_they_are(visit: Open):
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("j", "j", "Enter")
    look.sees("2 of 1,203")
    assert look.params() == "row=1"
    look.press("j", "j", "k")
    look.sees("3 of 1,203")
    look.press("End")
    look.sees("1,203 of 1,203")
    look.press("j")
    look.sees("This is the last row", "body")
    look.press("Escape")
    look.until("!location.hash.includes('row=')")
    assert not look.page.locator(".pane").is_visible()


def test_an_address_brings_back_all_that_was_chosen(visit: Open):
    look = visit(at="/run/night/rows?status=failed,truncated&sort=-latency_ms&row=18", sees="row 18")
    look.sees("of 65")
    assert look.page.locator(".status-chip[aria-pressed=true]").all_inner_texts() == [
        "truncated 28",
        "failed 37",
    ]
    assert look.page.get_by_label("Order").input_value() == "-latency_ms"
    assert look.page.locator(".line.at .c-row").inner_text() == "18"


def test_a_row_that_the_filter_leaves_out_is_shown_and_said_so(visit: Open):
    visit(at="/run/night/rows?status=failed&row=0", sees="not among the rows shown")


def test_filters_stand_in_the_address_and_are_taken_away_one_by_one(visit: Open):
    look = visit(at="/run/night/rows")
    look.page.get_by_role("button", name="failed").click()
    look.sees("37 rows of 1,203")
    look.press("f")
    look.page.get_by_label("timeout").check()
    look.page.get_by_label("Column").select_option("stars")
    assert look.page.get_by_label("Comparison").input_value() == ">="
    look.page.get_by_label("Comparison").select_option("=")
    look.page.get_by_label("Value").fill("3")
    look.page.get_by_role("button", name="add").click()
    look.page.get_by_role("button", name="Show rows").click()
    look.sees("2 rows of 1,203")
    assert look.params() == "status=failed&error=timeout&where=stars=3"
    look.page.locator(".pill", has_text="timeout").click()
    look.until("!location.hash.includes('error')")
    look.page.get_by_role("button", name="clear all").click()
    look.sees("1,203 rows", ".list-state")
    look.page.go_back()
    look.until("location.hash.includes('status=failed')")


def test_a_search_shows_its_first_hits_while_it_goes_on(visit: Open):
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("/")
    look.page.keyboard.type("cable")
    look.sees("searched")
    look.until("document.querySelector('.line mark')?.textContent.toLowerCase() === 'cable'")
    look.sees("202 rows of 1,203")
    look.press("Enter", "Enter")
    look.sees("1 of 202")
    look.until("CSS.highlights.get('hit')?.size > 0")
    look.press("Escape", "/", "Escape")
    look.sees("1,203 rows", ".list-state")


def test_problem_rows_come_first_at_a_key(visit: Open):
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("p")
    look.until(
        "location.hash.includes('odd=1') && document.querySelector('#line-0 .for-ears')?.textContent !== 'ok'"
    )
    look.press("p")
    look.until("document.querySelector('#line-0 .for-ears')?.textContent === 'ok'")


def test_a_click_on_a_heading_sorts(visit: Open):
    look = visit(at="/run/night/rows")
    look.page.get_by_role("button", name="latency").click()
    look.until("location.hash.includes('sort=-latency_ms')")
    look.until("document.querySelector('#line-0 .c-latency')?.textContent === '8.67 s'")
    assert look.page.locator("[aria-sort=descending]").inner_text() == "latency ↓"


def test_a_million_rows_are_reached_by_wheel_bar_and_key(visit: Open):
    look = visit(at="/run/a%20million%20rows/rows", sees="1,000,000 rows")
    assert look.page.locator(".list-body .line").count() < 60
    look.press("End")
    look.sees("999,999", ".line.at .c-row")
    look.page.mouse.move(400, 500)
    for _ in range(5):
        look.page.mouse.wheel(0, -320)
        look.page.wait_for_timeout(60)
    look.until("document.querySelector('.c-row')")
    seen = "[...document.querySelectorAll('.list-body .line')].map(e => [e.getBoundingClientRect().top, e.querySelector('.c-row')?.textContent]).filter(([top]) => top > 130).sort((a, b) => a[0] - b[0])[0][1]"
    assert 999_900 < int(look.page.evaluate(seen).replace(",", "")) < 999_960  # px for px, not a jump
    look.page.evaluate(
        "document.querySelector('.list').scrollTop = document.querySelector('.list').scrollHeight / 2"
    )
    look.until(f"Math.abs(Number(({seen} || '0').replaceAll(',', '')) - 500000) < 200")
    look.to("/run/a%20million%20rows/rows?row=654321")
    look.sees("654,322 of 1,000,000")
    look.sees("654,321", ".line.at .c-row")


def test_a_row_is_shown_whole_and_raw_at_a_key(visit: Open):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    pane = look.page.locator(".pane")
    assert pane.locator(".md strong").inner_text() == "mostly content"
    assert pane.locator(".md a").get_attribute("href") == "https://example.org/reviews"
    assert pane.locator(".code .c-word").count() > 0
    assert pane.locator(".md table td").count() == 4
    assert "You are a careful editor" not in pane.inner_text()  # folded: it is the same in every row
    pane.locator("summary", has_text="same in every row").click()
    look.sees("You are a careful editor", ".shared")
    look.press("r")
    look.sees("**mostly content**", ".raw")
    look.press("r")
    look.until("!document.querySelector('.answer .raw')")


def test_a_row_of_json_tools_images_and_reasoning(visit: Open):
    look = visit()
    look.to("/run/night/rows?row=616")  # has all of them
    look.sees("lookup_order")
    pane = look.page.locator(".pane")
    assert '"order": 1177' in pane.locator(".call").inner_text()
    assert pane.locator("img").get_attribute("src", timeout=2000).startswith("data:image/png")  # type: ignore[union-attr]
    assert "https://evil.example/track.png" in pane.inner_text()  # named, and never loaded
    look.page.locator("summary", has_text="reasoning").click()
    look.sees("Then I weighed the cable")
    look.press("k", "k", "k", "k", "k")
    look.sees('"sentiment"', ".answer .json")


def test_requests_are_copied_with_the_key_by_its_variable(visit: Open):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    for key, words in (
        ("y", "$MODELSLAB_API_KEY"),
        ("Y", "os.environ['MODELSLAB_API_KEY']"),
        ("c", "**mostly content**"),
    ):
        look.press(key)
        look.until("async words => (await navigator.clipboard.readText()).includes(words)", words)


def test_the_help_names_the_keys_of_the_view(visit: Open):
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("?")
    text = look.text("dialog")
    for words in ("next row", "problem rows first", "label the row", "raw text", "all runs"):
        assert words in text
    look.press("Escape", "g", "o")
    look.until("location.hash === '#/run/night'")


def test_measurements_are_at_the_foot_when_asked_for(visit: Open):
    look = visit()
    look.to("/run/night/rows?status=failed", query="?debug")
    look.until(
        "/ms|s$/.test(document.querySelector('[data-mark=\"first filtered row\"]')?.textContent || '')"
    )
    look.until("/ms|s$/.test(document.querySelector('[data-mark=\"first paint\"]')?.textContent || '')")


@pytest.mark.parametrize(
    ("place", "words"),
    [("/run/damaged", "run.json cannot be read"), ("/run/never%20was", "there is no such run here"), ("/run/a%20part%20is%20gone", "page checksum"),
     ("/run/nothing%20in%20it", "the input has no rows"), ("/run/nothing%20in%20it/rows", "No rows yet"), ("/run/damaged/rows", "run.json cannot be read"),
     ("/nowhere", "There is no such place"), ("/run/night/rows?row=notanumber", "row")],
)  # fmt: skip
def test_what_cannot_be_shown_is_said(visit: Open, place: str, words: str):
    look = visit(at=place, expected=REFUSED)
    look.sees(words, "body")


def test_a_store_that_is_down_is_said_and_asked_again(visit: Open, stand_in: Served):
    stand_in.server.refused |= {"rows", "charts"}
    look = visit(at="/run/night/rows", sees="The store does not answer", expected=REFUSED)
    stand_in.server.refused.clear()
    look.page.get_by_role("button", name="Try again").click()
    look.sees("Battery better than promised")


def test_a_run_that_is_deleted_and_a_server_that_ends_are_said(visit: Open, stand_in: Served):
    look = visit(at="/run/night", sees="finished", expected=REFUSED)
    del stand_in.server.runs["night"]
    look.sees("cannot be read", "header")
    look.sees("What it is")  # the rest stays
    look.page.reload()
    look.sees("there is no such run here")


def test_a_server_that_ends_is_said(visit: Open, stand_in: Served):
    look = visit(at="/run/night", sees="What it is", expected=REFUSED)
    stand_in.stop()
    look.sees("no connection", "header")
    look.sees("What it is")


READ = (
    "!document.querySelector('.list-body .waiting')"
    " && [...document.querySelectorAll('.list-body .c-asked')].every(one => one.textContent.length > 12)"
)


def test_lines_are_there_before_their_texts_and_only_those_seen_are_read(visit: Open, stand_in: Served):
    """A page of a sorted list takes a while to be read: what is not seen is left, and what was read stays."""
    night = stand_in.server.runs["night"]
    night.reads = 5
    look = visit(at="/run/night/rows?sort=-latency_ms")
    look.until("document.querySelectorAll('.list-body .line:not(.waiting)').length > 30")
    look.until(READ)
    seen = look.page.locator(".list-body .line").count()
    assert seen <= len(night.read) < seen + 12

    for share in (0.5, 0.9):
        before = len(night.read)
        look.page.evaluate(
            "share => { const box = document.querySelector('.list'); box.scrollTop = share * box.scrollHeight; }",
            share,
        )
        look.until(
            "old => [...document.querySelectorAll('.list-body .line')].every(one => Number(one.ariaRowIndex) > old)",
            int(1_203 * (share - 0.1)),
        )
        look.until(READ)
        assert before + 20 < len(night.read) < before + 120
    assert not look.page.locator(".searching").count()
    texts = look.page.locator(".list-body").inner_text()
    look.page.wait_for_timeout(300)
    assert look.page.locator(".list-body").inner_text() == texts

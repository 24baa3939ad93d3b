"""Two people at one run: each sees what the other says, and nobody's words are lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.page.conftest import run_of
from tests.page.front.conftest import browser as browser
from tests.page.windows import Window, window

pytestmark = pytest.mark.browser


@pytest.fixture
def page(served, runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    return served(tmp_path / "runs")


@pytest.fixture
def two(browser, page) -> Iterator[tuple[Window, Window]]:
    with window(browser, page.address) as mine, window(browser, page.address) as theirs:
        yield mine, theirs


def a_row(page) -> int:
    return page.rows(run="night", status="ok", limit=1)["rows"][0]["row_id"]


def opened(windows: tuple[Window, Window], place: str) -> None:
    for one in windows:
        one.to(place)
        one.sees("Answer", ".pane")


def noted(look: Window, words: str) -> None:
    look.press("n")
    look.until("document.activeElement.tagName === 'TEXTAREA'")
    look.page.keyboard.insert_text(words)
    look.press("Enter")


def test_a_label_of_one_window_is_seen_in_the_other_and_leaves_its_note(two, page):
    mine, theirs = two
    opened(two, f"/run/night/rows?row={a_row(page)}")

    mine.press("1")
    theirs.sees("pass", ".label-name[aria-pressed=true]")
    theirs.sees("pass", ".line.at .c-label")
    noted(theirs, "made up")
    theirs.sees("note: made up", ".label-bar")
    mine.press("2")  # whether or not the note was seen here
    for one in two:
        one.sees("fail", ".label-name[aria-pressed=true]")
        one.sees("note: made up", ".label-bar")

    row = page.get("row", run="night", row=a_row(page))
    assert (row["label"], row["note"]) == ("fail", "made up")


def test_two_notes_at_once_are_both_seen_before_one_is_kept(two, page):
    mine, theirs = two
    opened(two, f"/run/night/rows?row={a_row(page)}")

    for one in two:
        one.press("n")
        one.until("document.activeElement.tagName === 'TEXTAREA'")
    theirs.page.keyboard.insert_text("theirs")
    theirs.press("Enter")
    theirs.sees("note: theirs", ".label-bar")
    mine.page.keyboard.insert_text("mine")
    mine.press("Enter")

    mine.sees("there is by now: theirs", "dialog")
    assert mine.page.locator("dialog textarea").input_value() == "mine"
    assert page.get("row", run="night", row=a_row(page))["note"] == "theirs"
    mine.page.locator("dialog textarea").fill("theirs; mine")
    mine.press("Enter")
    theirs.sees("note: theirs; mine", ".label-bar")


def test_a_label_that_another_has_changed_is_not_taken_away_unseen(two, page):
    mine, theirs = two
    row = a_row(page)
    opened(two, f"/run/night/rows?row={row}")
    mine.press("1")
    theirs.sees("pass", ".label-name[aria-pressed=true]")
    mine.page.route("**/api/run/events*", lambda route: route.abort())  # it hears of nothing more
    mine.page.reload()
    mine.sees("pass", ".label-name[aria-pressed=true]")
    theirs.press("2")
    theirs.sees("fail", ".label-name[aria-pressed=true]")

    mine.press("1")  # the same key again, to take it away

    mine.sees("another has said “fail” of it since; that stays", ".notice")
    mine.sees("fail", ".label-name[aria-pressed=true]")
    assert page.get("row", run="night", row=row)["label"] == "fail"


def test_all_that_one_window_has_said_of_a_row_is_undone_step_by_step(two, page):
    mine, theirs = two
    row = a_row(page)
    opened(two, f"/run/night/rows?row={row}")
    mine.press("1")
    mine.sees("pass", ".line.at .c-label")
    mine.press("2")
    mine.sees("fail", ".line.at .c-label")
    noted(mine, "no")
    mine.sees("note: no", ".label-bar")

    mine.press("u", "u", "u")

    mine.lacks(".label-name[aria-pressed=true]")
    theirs.lacks(".label-name[aria-pressed=true]")
    told = page.get("row", run="night", row=row)
    assert (told["label"], told["note"]) == (None, None)


def test_an_undo_leaves_what_another_has_said_since(two, page):
    mine, theirs = two
    row = a_row(page)
    opened(two, f"/run/night/rows?row={row}")
    mine.press("1")
    theirs.sees("pass", ".label-name[aria-pressed=true]")
    theirs.press("2")
    theirs.sees("fail", ".line.at .c-label")

    mine.press("u")

    mine.sees("another has said something of it since; that stays", ".notice")
    assert page.get("row", run="night", row=row)["label"] == "fail"


def test_two_review_the_same_sample_and_each_goes_on_where_nobody_was(two, page):
    mine, theirs = two
    opened(two, "/run/night/review?n=10&seed=4&at=1")

    for number in range(1, 4):
        mine.sees(f"{number} of 10", ".position")
        mine.lacks(".label-name[aria-pressed=true]")
        mine.press("1")
    mine.sees("4 of 10", ".position")
    theirs.sees("3 of 10 labelled", ".review-bar")
    theirs.press("N")

    theirs.sees("4 of 10", ".position")
    theirs.sees("pass", ".label-name")
    assert page.get("labels", run="night")["counts"] == {"pass": 3}


def test_a_key_that_is_held_labels_one_row_and_takes_nothing_away(two, page):
    mine, _ = two
    mine.to("/run/night/review?n=10&seed=4&at=1")
    mine.sees("Answer", ".pane")

    for _ in range(12):
        mine.page.keyboard.down("1")  # the first is a press, the others are repeats of it
    mine.page.keyboard.up("1")
    mine.sees("1 of 10 labelled", ".review-bar")
    mine.sees("2 of 10", ".position")
    mine.lacks(".label-name[aria-pressed=true]")
    mine.press("2")

    mine.sees("2 of 10 labelled", ".review-bar")
    assert page.get("labels", run="night")["counts"] == {"pass": 1, "fail": 1}


def test_what_two_runs_come_to_is_seen_as_soon_as_it_is_decided_blind(browser, served, tmp_path, simulator):
    rows = [{"text": f"remark {number}"} for number in range(8)]
    for name in ("one", "other"):
        run_of(tmp_path / "runs" / name, rows, simulator(api_key="", seed=len(name)).base_url)
    page = served(tmp_path / "runs")

    with window(browser, page.address) as look:
        look.to("/run/one/compare/other")
        look.sees("of 8 pairs differ")
        look.press("b")
        look.sees("which run an answer is of stays hidden")
        shown = look.text("main")
        assert "other" not in shown.replace("another", "")
        for place, key in enumerate("12321"):
            look.until("at => document.querySelector('.pair.at')?.id === at", f"pair-{place}")
            look.press(key)
        look.until("document.querySelector('.pair.at')?.id === 'pair-5'")
        look.press("b")

        decided = page.get("compare", a="one", b="other")
        assert sum(decided["choices"].values()) == 5
        look.sees(f"better: first {decided['choices']['a']}, second {decided['choices']['b']}", ".preferred")

"""What comes late: answers to a view that was left, to a value typed before, to a label pressed too soon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.front.conftest import REFUSED, Served, Visit
from tests.page.front.stand_in import Server

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]
OTHER = "/run/night%2C%20another%20prompt"
LATE_S = 0.6


def left_for(look: Visit, server: Server, place: str) -> list[str]:
    """Goes elsewhere within the page, and waits until all has come; gives what was asked since."""
    look.page.evaluate("to => (location.hash = to)", f"#{place}")
    look.page.wait_for_timeout(100)  # what was asked just before is at the server by now
    asked = len(server.asked)
    look.page.wait_for_timeout(LATE_S * 1000 + 300)
    return server.asked[asked:]


@pytest.mark.parametrize(
    ("first", "slow"),
    [
        ("/run/night/review", "run"),
        ("/run/night/review", "labels"),
        ("/run/night/review?n=50&seed=3&at=1", "sample"),
        ("/run/night/review?n=50&seed=3&at=1", "rows"),
        ("/run/night/rows?row=45", "rows"),
        ("/run/night/rows?row=45", "place"),
        ("/run/night/rows?row=45", "row"),
        ("/run/night/compare/goes%20on", "compare"),
        ("/run/night/compare/goes%20on", "run"),
        ("/run/night/compare", "runs"),
        ("/run/night", "run"),
        ("/run/night", "charts"),
    ],
)
def test_an_answer_to_a_view_that_was_left_changes_nothing(
    visit: Open, stand_in: Served, first: str, slow: str
):
    look = visit(at="/", sees="a million rows")
    stand_in.server.slow[slow] = [LATE_S] * 2
    look.page.evaluate("to => (location.hash = to)", f"#{first}")
    look.page.wait_for_timeout(250)
    stand_in.server.slow.clear()

    since = left_for(look, stand_in.server, f"{OTHER}/rows?row=45")

    look.sees("mostly content")
    assert look.place() == f"#{OTHER}/rows"
    assert look.page.locator("main > *").count() == 1
    assert look.page.locator("main > .rows-view").count() == 1
    assert look.text(".run-name") == "night, another prompt"
    assert [one for one in since if "run=night&" in one or one.endswith("run=night")] == []


def test_a_comparison_that_was_left_is_not_asked_for_again(visit: Open, stand_in: Served):
    stand_in.server.goes_on = True
    look = visit(at="/run/night/compare/goes%20on", sees="compared")
    left_for(look, stand_in.server, OTHER)
    asked = len([one for one in stand_in.server.asked if one.startswith("compare")])
    look.page.wait_for_timeout(900)
    assert len([one for one in stand_in.server.asked if one.startswith("compare")]) == asked


@pytest.mark.parametrize(("place", "hits"), [("/", "Runs"), ("/run/night/rows", "1,203 rows")])
def test_a_search_that_is_being_written_stays_with_its_view(
    visit: Open, stand_in: Served, place: str, hits: str
):
    look = visit(at=place)
    look.sees(hits)
    look.press("/")
    look.page.keyboard.type("cab")
    left_for(look, stand_in.server, "/run/night")
    assert look.page.evaluate("location.hash") == "#/run/night"


def test_the_charts_of_a_run_that_ends_while_they_are_drawn_are_drawn_again(visit: Open, stand_in: Served):
    """Of a run that has ended nothing more is told: what was missed then would be missed for good."""
    run = stand_in.server.runs["goes on"]
    stand_in.server.slow["charts"] = [1.5]
    look = visit(at="/run/goes%20on", sees="reading rows")
    look.page.wait_for_timeout(600)  # they are asked for
    run.stage, run.done = "finished", run.rows
    look.sees("finished", ".stage")
    look.until("document.querySelector('figure')")
    look.page.wait_for_timeout(1_200)

    charts = [one for one in stand_in.server.asked if one.startswith("charts")]
    assert len(charts) == 2


def test_a_run_that_stands_still_is_not_asked_for_its_charts_again(visit: Open, stand_in: Served):
    look = visit(at="/run/night", sees="Spread", expected=REFUSED)
    stand_in.server.refused.add("charts")
    look.page.wait_for_timeout(1_200)
    assert len([one for one in stand_in.server.asked if one.startswith("charts")]) == 1


def test_a_new_address_in_the_same_tab_brings_its_token(visit: Open):
    """The port stays: only what is behind the # changes, and the page is not loaded again."""
    look = visit(at="/run/night/rows?row=46", sees="sentiment", token=False)
    look.page.evaluate("location.hash = '#token=secret&/run/night/rows?row=45'")
    look.sees("mostly content")
    assert "secret" not in look.page.url
    look.press("1")
    look.sees("pass", ".line.at .c-label")


def test_a_browser_that_keeps_nothing_is_served_all_the_same(visit: Open, stand_in: Served):
    look = visit(token=False)
    look.page.add_init_script(
        "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    look.page.goto(f"{stand_in.address}#token=secret&/run/night/rows?row=45")
    look.sees("mostly content")
    look.press("1")
    look.sees("pass", ".line.at .c-label")


def test_an_act_whose_dialog_is_closed_at_once_is_not_followed(visit: Open, stand_in: Served):
    """A browser has six lines to a server: a stream that nobody ends takes one for as long as the page is open."""
    look = visit(at="/run/night", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Retry").click()
    stand_in.server.slow["act"] = [LATE_S]
    look.page.locator(".act-more .sure").click()
    look.press("Escape")
    look.page.wait_for_timeout(LATE_S * 1000 + 400)
    assert len(stand_in.server.acts) == 1
    assert "act" not in stand_in.server.followed


def test_an_older_answer_never_takes_the_place_of_the_command_of_a_value(visit: Open, stand_in: Served):
    look = visit(at="/run/goes%20on", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Raise the cap").click()
    stand_in.server.slow["acts"] = [1.2, 0]
    look.page.get_by_label("New cap").fill("45")
    look.page.wait_for_timeout(400)
    look.page.get_by_label("New cap").fill("77")
    look.sees("--max-cost 77", "dialog")
    look.page.wait_for_timeout(1_300)
    assert "--max-cost 77" in look.text("dialog")


def test_a_command_hides_no_sign_of_what_is_run(visit: Open, stand_in: Served):
    """It may come from a run of somebody else: turned around, it would read as another one."""
    stand_in.server.more = " --on-end \u202e'moc.live lruc'\u200b"
    look = visit(at="/run/night", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Retry").click()
    look.sees("RLO", "dialog .command")
    look.sees("ZWSP", "dialog .command")
    look.page.locator(".act-more .sure").click()
    look.sees("Done.", "dialog")
    assert stand_in.server.acts[0]["command"].endswith(stand_in.server.more)
    look.sees("RLO", "dialog .command")


def test_labels_pressed_one_after_the_other_are_stored_in_that_order(visit: Open, stand_in: Served):
    """Two requests have two lines: the first may come last."""
    night = stand_in.server.runs["night"]
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    stand_in.server.slow["label"] = [LATE_S, 0]
    look.press("1", "2")
    look.sees("fail", ".line.at .c-label")
    look.page.wait_for_timeout(LATE_S * 1000)
    assert night.labels == {45: "fail"}
    look.press("u")
    look.sees("pass", ".line.at .c-label")
    assert night.labels == {45: "pass"}


def test_a_key_pressed_again_while_its_label_is_on_its_way_does_not_take_it_back(
    visit: Open, stand_in: Served
):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    stand_in.server.slow["label"] = [LATE_S]
    look.press("1", "1")
    look.sees("pass", ".line.at .c-label")
    assert stand_in.server.runs["night"].labels == {45: "pass"}
    look.press("1")
    look.until("!document.querySelector('.line.at .tag')")


def test_a_key_pressed_before_the_next_row_is_there_labels_neither(visit: Open, stand_in: Served):
    """What is seen is the row before; and of the next one nobody has read a word."""
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    look.page.wait_for_timeout(400)  # the next one is asked for ahead
    look.press("j")
    look.sees("row 46", ".pane")
    stand_in.server.slow["row"] = [LATE_S] * 2
    look.press("End", "1")
    look.sees("row 1,202", ".pane")
    look.press("2")
    look.sees("fail", ".line.at .c-label")
    assert stand_in.server.runs["night"].labels == {1202: "fail"}


def test_a_key_pressed_before_the_list_is_there_labels_neither(visit: Open, stand_in: Served):
    """Which row is the last is not known yet, and the one that is still seen was left."""
    look = visit()
    look.to("/run/night/rows?row=45")
    look.sees("mostly content")
    stand_in.server.slow["rows"] = [LATE_S] * 2
    look.press("End", "1")
    look.sees("row 1,202", ".pane")
    look.press("2")
    look.sees("fail", ".line.at .c-label")
    assert stand_in.server.runs["night"].labels == {1202: "fail"}


def test_a_notice_is_seen_above_a_dialog(visit: Open, stand_in: Served):
    look = visit(at="/run/night", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Retry").click()
    look.page.get_by_role("button", name="copy").click()
    look.sees("Copied", "dialog")

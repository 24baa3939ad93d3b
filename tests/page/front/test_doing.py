"""Labels, reviews, comparisons and acts, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.front.conftest import REFUSED, Served, Visit

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


def test_a_row_is_labelled_noted_and_undone_by_keys(visit: Open, stand_in: Served):
    night = stand_in.server.runs["night"]
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    look.press("1")
    look.until("document.querySelector('.label-name[aria-pressed=true]')?.innerText.includes('pass')")
    look.sees("pass", ".line.at .c-label")
    look.sees("100 % pass", ".label-share")
    look.press("2")
    look.sees("fail", ".line.at .c-label")
    look.press("n")
    look.page.get_by_role("textbox", name="Note").fill("the cable again")
    look.press("Enter")
    look.sees("the cable again", ".label-bar")
    look.until("document.querySelector('.line.at .has-note')")
    assert (night.labels, night.notes) == ({45: "fail"}, {45: "the cable again"})
    look.press("u", "u")
    look.sees("pass", ".line.at .c-label")
    look.press("u")
    look.until("!document.querySelector('.line.at .tag')")
    assert (night.labels, night.notes) == ({}, {})


def test_labels_have_names_of_ones_own(visit: Open, stand_in: Served):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    look.page.get_by_role("button", name="names…").click()
    look.page.get_by_label("Label of key 4").fill("off topic")
    look.page.get_by_role("button", name="Keep").click()
    look.sees("off topic", ".label-bar")
    look.press("4")
    look.sees("off topic", ".line.at .c-label")
    assert stand_in.server.runs["night"].labels == {45: "off topic"}


def test_a_label_without_the_token_is_refused_and_taken_back(visit: Open):
    look = visit(at="/run/night/rows?row=45", sees="mostly content", token=False, expected=REFUSED)
    look.press("1")
    look.sees("This page may look, not change", "body")
    look.until("!document.querySelector('.label-name[aria-pressed=true]')")


def test_the_token_of_the_opened_address_is_kept_and_leaves_the_address(visit: Open, stand_in: Served):
    look = visit(token=False)
    look.page.goto(f"{stand_in.address}#token=secret&/run/night/rows?row=45")
    look.sees("mostly content")
    assert "secret" not in look.page.url
    look.press("1")
    look.sees("pass", ".line.at .c-label")


def test_two_hundred_rows_are_reviewed_by_keyboard_alone(visit: Open, stand_in: Served):
    """The interval that is shown is Wilson's; the stand-in computes it by itself."""
    night = stand_in.server.runs["night"]
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("b")
    look.sees("Look at a random sample")
    look.press("b")
    for number in range(1, 201):
        look.until(
            "at => document.querySelector('.position')?.textContent.startsWith(at)", f"{number} of 200"
        )
        look.press("2" if number % 8 == 0 else "1")
    look.sees("175 of 200 rows")
    assert len(night.labels) == 200
    text = look.text()
    assert "88 %" in text  # 175 of 200
    assert "between 82 % and 91 %" in text
    look.page.get_by_label("by").select_option("lang")
    look.until("document.querySelectorAll('.by .interval').length === 4")


def test_a_review_that_the_command_line_asked_for_begins_at_once(visit: Open):
    look = visit(at="/run/night/rows?review=50&status=failed", sees="1 of 37")
    assert look.place() == "#/run/night/review"
    seed = look.params()
    look.press("j")
    look.sees("2 of 37")
    look.press("3")
    look.sees("3 of 37")
    assert look.params().replace("at=3", "at=1") == seed  # the same sample: it can be passed on
    look.press("u")
    look.sees("2 of 37")


def test_two_runs_are_compared_side_by_side(visit: Open):
    look = visit(at="/run/night/compare")
    look.page.get_by_role("link", name="night, another prompt").click()
    look.sees("300 of 400 pairs differ")
    look.sees("+19 %")
    assert look.page.locator(".pair").count() == 25
    assert "ins" in look.page.locator("#pair-2 .half").nth(1).evaluate(
        "e => e.querySelector('ins')?.nodeName.toLowerCase()"
    )
    look.press("d")
    look.until("location.hash.includes('different=1') && !document.querySelector('.pair .tag')")
    look.page.get_by_role("button", name="next →").click()
    look.sees("26 to 50 of 300")


def test_the_better_answer_is_chosen_blind(visit: Open, stand_in: Served):
    night = stand_in.server.runs["night"]
    look = visit(at="/run/night/compare/night%2C%20another%20prompt?different=1&blind=7", sees="left better")
    assert "night, another prompt" not in look.text()
    assert "gpt-5" not in look.text()
    longer = []  # the second run's answers end in the same sentence
    for index in range(12):
        longer.append("left" if "It was worth it" in look.text(f"#pair-{index} .half >> nth=0") else "right")
        look.press("1" if longer[-1] == "left" else "2")
        look.until("at => document.querySelector('.pair.at')?.id === at", f"pair-{index + 1}")
    assert set(longer) == {"left", "right"}  # sides are shuffled
    assert set(night.choices.values()) == {"b"}
    look.press("3", "b")
    look.page.reload()
    look.sees("better: first 0, second 12, same 1")


def test_an_act_shows_its_command_and_asks_once(visit: Open, stand_in: Served):
    acts = stand_in.server.acts
    look = visit(at="/run/night/rows?error=timeout", sees="13 rows")
    look.press("a")
    look.page.locator(".act-name", has_text="Retry").click()
    look.sees("batchlab retry runs/night --only timeout", "dialog")
    assert acts == []
    look.page.locator(".act-more .sure").dblclick()
    look.sees("37 rows asked again", "dialog")
    look.sees("Done.", "dialog")
    assert len(acts) == 1
    assert acts[0]["command"] == "batchlab retry runs/night --only timeout"
    assert acts[0]["filter"] == {"error": "timeout"}
    look.press("Escape", "a")
    look.sees("started from this page before", "dialog")


def test_an_act_with_a_value_shows_the_command_of_that_value(visit: Open, stand_in: Served):
    look = visit(at="/run/goes%20on", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Raise the cap").click()
    look.page.get_by_label("New cap").fill("45")
    look.sees("--max-cost 45", "dialog")
    look.page.locator(".act-more .sure").click()
    look.sees("Done.", "dialog")
    assert stand_in.server.acts[0]["values"] == {"max_cost": "45"}


def test_an_act_that_is_left_does_nothing(visit: Open, stand_in: Served):
    look = visit(at="/run/night", sees="What it is")
    look.press("a")
    look.page.locator(".act-name", has_text="Retry").click()
    look.page.get_by_role("button", name="Leave it").click()
    look.until("!document.querySelector('dialog')")
    assert stand_in.server.acts == []


@pytest.mark.parametrize("why", ["no token", "another's"])
def test_where_nothing_can_be_done_the_button_says_why(visit: Open, stand_in: Served, why: str):
    night = stand_in.server.runs["night"]
    night.cannot_act = "the run's directory belongs to another user" if why == "another's" else ""
    words = "belongs to another user" if night.cannot_act else "open the address that batchlab view printed"
    look = visit(at="/run/night", token=why != "no token")
    button = look.page.get_by_role("button", name="Act…")
    button.wait_for()
    assert button.get_attribute("aria-disabled") == "true"
    assert words in str(button.get_attribute("title"))
    button.click(force=True)
    look.sees(words, "body")
    assert not look.page.locator("dialog").count()
    look.press("a")
    look.sees(words, "dialog" if night.cannot_act else "body")
    assert not look.page.locator(".act-name").count()

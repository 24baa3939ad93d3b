"""Texts that mean harm, themes, phones, screen readers, print, and a page that stays open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from batchlab.page.bundle import page_of
from tests.page.front.conftest import Served, Visit
from tests.page.front.stand_in import Server, some_runs
from tests.page.front.texts import HOSTILE

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]
BAD_ID = quote(next(run.id for run in some_runs() if run.hostile), safe="")
PLACES = {
    "runs": "/",
    "run": "/run/night",
    "running": "/run/goes%20on",
    "rows": "/run/night/rows",
    "filtered": "/run/night/rows?status=failed&where=stars%3D3&error=timeout",
    "row": "/run/night/rows?row=45",
    "json": "/run/night/rows?row=46",
    "review": "/run/night/review",
    "reviewing": "/run/night/review?n=50&seed=3&at=1",
    "compare": "/run/night/compare/night%2C%20another%20prompt",
    "hostile run": f"/run/{BAD_ID}",
    "hostile rows": f"/run/{BAD_ID}/rows?row=6",
    "hostile long": f"/run/{BAD_ID}/rows?row=7",
}


def opened(look: Visit, name: str) -> None:
    look.to(PLACES[name])
    look.until("document.querySelector('main').innerText.length > 60")
    look.page.wait_for_timeout(500)  # charts, and the row beside the list


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_hostile_texts_run_nothing_anywhere(visit: Open, first: int):
    """`visit` sees at its end that nothing struck, nothing was refused by the policy, and nobody else was asked."""
    look = visit(at=f"/run/{BAD_ID}", sees="What is wrong")
    look.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    for row in range(first, first + 8):
        look.to(f"/run/{BAD_ID}/rows?row={row}")
        look.until("at => document.querySelector('.position')?.textContent.startsWith(at)", f"{row + 1} of")
        look.press("e", "r", "r")
    look.to(f"/run/{BAD_ID}/rows?q={quote(HOSTILE[0])}")
    look.sees("of 240")
    look.to(f"/run/{BAD_ID}/compare/{BAD_ID}")
    look.sees("pairs differ")
    assert (
        look.page.locator(
            "main script, main iframe, main form[action], main object, main embed, main style, main base"
        ).count()
        == 0
    )
    assert (
        look.page.evaluate(
            "document.querySelectorAll('main [style*=fixed], main [onclick], main [onerror]').length"
        )
        == 0
    )


def test_links_go_only_where_links_may(visit: Open):
    look = visit(at=f"/run/{BAD_ID}/rows?row=6", sees="a paragraph that")
    links = look.page.eval_on_selector_all(
        ".pane a", "all => all.map(a => [a.getAttribute('href'), a.rel, a.target])"
    )
    assert all(href.startswith(("https://", "http://", "mailto:")) for href, _, _ in links)
    assert all(rel == "noreferrer noopener nofollow" and target == "_blank" for _, rel, target in links)


def test_signs_that_turn_a_text_around_are_shown_by_name(visit: Open):
    look = visit(at=f"/run/{BAD_ID}/rows?row=18")
    look.sees("RLO", ".pairs")
    look.press("r")
    for name in ("RLO", "BEL", "ESC", "NUL", "ZWSP"):
        look.sees(name, ".answer .raw")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_scrolls_sideways_on_a_phone(visit: Open, width: int):
    look = visit(viewport={"width": width, "height": 844}, has_touch=True)
    for name in PLACES:
        opened(look, name)
        assert (
            name,
            look.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
        ) == (name, 0)


def test_a_row_takes_the_place_of_the_list_on_a_phone(visit: Open):
    look = visit(at="/run/night/rows", viewport={"width": 390, "height": 844}, has_touch=True)
    look.page.locator("#line-3").tap()
    look.sees("4 of 1,203")
    assert not look.page.locator(".list").is_visible()
    look.page.get_by_role("button", name="Next row").tap()
    look.sees("5 of 1,203")
    look.page.get_by_role("button", name="Back to the rows").tap()
    look.until("getComputedStyle(document.querySelector('.list-side')).display !== 'none'")


def serious(look: Visit) -> list[tuple[str, str, str]]:
    """What axe finds that keeps somebody from using the page."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: the extra `browser`"
    )
    found = axe.Axe().run(look.page).response["violations"]
    return [
        (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0].get("failureSummary", ""))
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("name", PLACES)
def test_axe_finds_nothing_serious_in_either_theme(visit: Open, name: str):
    look = visit()
    opened(look, name)
    assert serious(look) == []
    look.page.emulate_media(color_scheme="dark")
    assert serious(look) == []


@pytest.mark.parametrize("key", ["?", "f", "a"])
def test_axe_finds_nothing_serious_in_dialogs(visit: Open, key: str):
    look = visit(at="/run/night/rows", sees="1,203 rows", color_scheme="dark")
    look.press(key)
    look.until("document.querySelector('dialog button')")
    look.page.wait_for_timeout(200)
    assert serious(look) == []


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Open):
    look = visit(at="/", sees="Runs", color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = look.page.evaluate(ground)
    look.press("t")
    light = look.page.evaluate(ground)
    assert (dark, light) == ("rgb(19, 20, 23)", "rgb(250, 250, 248)")
    look.page.reload()
    look.sees("Runs")
    assert look.page.evaluate(ground) == light  # it is kept
    look.press("t", "t")
    assert look.page.evaluate(ground) == dark


def test_every_control_is_reached_by_tab_and_seen_to_have_the_focus(visit: Open):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    names = set()
    for _ in range(60):
        look.press("Tab")
        name, outline = look.page.evaluate(
            "(e => [e === document.body ? 'BODY' : e.getAttribute('aria-label') || e.title || e.innerText || e.nodeName, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if name.startswith(("BODY", "Rows")):
            continue
        assert outline != "none", name
        names.add(name.split("\n")[0])
    for expected in (
        "to the content",
        "Search prompts and answers",
        "Next row",
        "Raw text (r)",
        "Keys and help",
    ):
        assert any(expected in name for name in names), (expected, names)


def test_who_walks_by_a_button_keeps_it(visit: Open):
    """Its bar is drawn anew for each row; the focus would be at the page's beginning again."""
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    look.page.get_by_role("button", name="Next row").focus()
    look.press("Enter")
    look.sees("row 46", ".pane")
    look.press("Enter")
    look.sees("row 47", ".pane")
    look.page.get_by_role("button", name="raw").focus()
    look.press("Enter")
    look.until("document.querySelector('.pane .raw')")
    assert look.page.evaluate("document.activeElement.textContent") == "raw"


def test_the_list_tells_a_screen_reader_where_it_is(visit: Open):
    look = visit(at="/run/night/rows", sees="1,203 rows")
    look.press("j")
    grid = look.page.get_by_role("grid", name="Rows")
    assert grid.get_attribute("aria-rowcount") == "1204"
    assert grid.get_attribute("aria-activedescendant") == "line-0"
    look.press("j")
    look.sees("ok, row 1", ".for-ears")


def test_a_row_is_printed_whole(visit: Open):
    look = visit(at="/run/night/rows?row=45", sees="mostly content")
    look.page.emulate_media(media="print")
    assert look.page.locator(".pane").is_visible()
    assert not look.page.locator("header.top").is_visible()
    assert not look.page.locator(".label-bar").is_visible()
    assert look.page.evaluate("getComputedStyle(document.querySelector('.pane-body')).overflowY") == "visible"


def test_a_thousand_updates_leave_nothing_behind(visit: Open, stand_in: Served):
    """Elements, listeners and memory after the first hundred are what they are after all of them."""
    stand_in.server.updates_s = 0.004
    look = visit(at="/run/goes%20on", sees="What it is")
    tools = look.context.new_cdp_session(look.page)
    tools.send("Performance.enable")
    look.page.evaluate(
        "() => { window.changes = 0; new MutationObserver(() => window.changes++).observe(document.querySelector('.facts'), {subtree: true, characterData: true}); }"
    )

    def held() -> dict[str, float]:
        stand_in.server.updates_s = 1.0  # at rest: what is being drawn is no leak
        for _ in range(4):  # one collection frees what the next one finds without an owner
            look.page.wait_for_timeout(150)
            tools.send("HeapProfiler.collectGarbage")
        stand_in.server.updates_s = 0.004
        return {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}

    look.until("window.changes > 100")
    before = held()
    for changes in range(200, 1_200, 100):
        look.until(f"window.changes > {changes}")
    after = held()
    assert after["Nodes"] < before["Nodes"] * 1.2 + 500
    assert after["JSEventListeners"] < before["JSEventListeners"] * 1.2 + 50
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] * 1.3 + 2_000_000


def reported(*, hostile: bool) -> dict[str, Any]:
    """What `report` puts into a page: a run with its first rows."""
    server = Server(some_runs())
    run = next(run for run in server.runs.values() if run.hostile == hostile)
    rows = [{**run.row(number), **run.full(number)} for number in range(120)]
    return {
        "runs": [one for one in server.get_runs(None, {})["runs"] if one["id"] == run.id],
        "run": server.get_run(run, {}),
        "charts": server.get_charts(run, {}),
        "facets": server.get_facets(run, {}),
        "rows": rows,
        "left_out": run.rows - 120,
        "left_out_text": f"{run.rows - 120:,} rows are not in this page",
    }


def reading(visit: Open, folder: Path, *, hostile: bool) -> tuple[Visit, str]:
    """A report that is open, and its address."""
    file = folder / "report.html"
    file.write_text(page_of(reported(hostile=hostile)))
    look = visit()
    look.page.goto(file.as_uri())
    look.sees("What is wrong")
    return look, file.as_uri()


def test_a_report_is_the_same_page_without_a_server(visit: Open, tmp_path: Path):
    look, _ = reading(visit, tmp_path, hostile=False)
    assert look.place() == "#/run/night"
    assert look.page.locator("figure svg").count() == 7
    assert look.page.locator(".act-button").count() == 0
    look.press("g", "r")
    look.sees("1,083 rows are not in this page")
    look.press("/")
    look.page.keyboard.type("cable")
    look.until("document.querySelector('.line mark')")
    look.press("Enter", "Enter")
    look.sees("1 of ", ".position")
    look.press("Escape", "/", "Escape", "p")
    look.until("document.querySelector('#line-0 .for-ears')?.textContent !== 'ok'")
    look.press("f")
    look.page.get_by_label("Column").select_option("stars")
    look.page.get_by_label("Comparison").select_option(">=")
    look.page.get_by_label("Value").fill("4")
    look.page.get_by_role("button", name="add").click()
    look.page.get_by_role("button", name="Show rows").click()
    expected = sum(row["inputs"]["stars"] >= 4 for row in reported(hostile=False)["rows"])
    look.sees(f"{expected} rows of 120")
    look.press("j", "Enter", "1")
    assert not look.page.locator(".label-bar").is_visible()


def test_a_report_of_hostile_texts_runs_nothing(visit: Open, tmp_path: Path):
    look, address = reading(visit, tmp_path, hostile=True)
    for row in range(12):
        look.page.goto(f"{address}#/run/{BAD_ID}/rows?row={row}")
        look.until("at => document.querySelector('.position')?.textContent.startsWith(at)", f"{row + 1} of")
        look.press("e", "r", "r")
    assert (
        json.loads(look.page.locator("#data").text_content() or "")["rows"][0]["answer"]["text"] == HOSTILE[0]
    )

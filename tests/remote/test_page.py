"""The page of runs at a URL: where they were made and elsewhere, and while their store does not answer."""

from __future__ import annotations

import json

import pytest

from batchlab.page import api, opened
from tests.page.conftest import Page, served
from tests.remote.conftest import Basics
from tests.remote.test_looking import URL, away, made

__all__ = ["away", "made", "served"]
FOLDER = URL.rpartition("/")[0]


def counts(page: Page) -> dict:
    return page.get("run", run="x")["counts"]


def rows(page: Page, **query: str) -> dict:
    while not (found := page.get("rows", run="x", **query))["done"]:
        pass
    return found


@pytest.mark.parametrize("place", ["here", "elsewhere"])
def test_runs_at_a_url_are_shown_as_any_others(made, away, memory, served, place):
    assert made().code == 0
    memory.pipe_file("/data/runs/broken/run.json", b"{")
    if place == "elsewhere":
        away()
    page = served(FOLDER)

    listed = {one["id"]: one for one in page.get("runs")["runs"]}
    assert {name: one["state"] for name, one in listed.items()} == {"x": "finished", "broken": "damaged"}
    assert counts(page)["ok"] == 50
    found = rows(page, q="45th", limit="5")
    assert [row["row_id"] for row in found["rows"]] == [45]
    assert page.get("row", run="x", row="45")["answer"]["text"]
    assert page.get("charts", run="x")["upto"] == 50
    alone = served(f"{URL}/")
    assert [one["id"] for one in alone.get("runs")["runs"]] == ["x"]
    assert counts(alone)["ok"] == 50
    for run_id in ("..", "x/../x", "broken/", "*", "x?"):
        assert page.ask(f"/api/run?run={run_id.replace('?', '%3F')}").status == 404
    assert page.ask("/api/run?run=broken").status in (400, 500)


def test_a_store_that_does_not_answer_is_a_line_and_what_is_known_stays(
    made, away, memory, served, monkeypatch
):
    assert made().code == 0
    away()
    page = served(FOLDER)
    assert counts(page)["ok"] == 50
    monkeypatch.setattr(opened, "AWAY_EVERY_S", 0.0)
    monkeypatch.setattr(api, "AWAY_EVERY_S", 0.2)

    with monkeypatch.context() as down:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(5, "no answer")

        for name in ("cat_file", "info", "glob", "find", "ls", "open", "_open", "isfile", "exists"):
            down.setattr(Basics, name, refuse)
        for path in ("runs", "run?run=x", "rows?run=x", "charts?run=x"):
            got = page.ask(f"/api/{path}")
            assert got.status in (400, 500), path
            assert "no answer" in got.error or "basics://" in got.error
        with page.follow("/api/run/events?run=x") as events:
            assert list(next(events)) == ["error"]

    assert counts(page)["ok"] == 50
    assert [one["id"] for one in page.get("runs")["runs"]] == ["x"]
    assert json.dumps(page.get("runs")).count("no answer") == 0

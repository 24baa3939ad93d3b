"""The runs of a page by their ids: what is there, what is not, and what cannot be read."""

from __future__ import annotations

import json
import os
import shutil
from urllib.parse import quote

import pytest

from batchlab.errors import UsageError
from batchlab.looking.browse import follow
from batchlab.page.shelf import NoSuchRun, Shelf
from batchlab.store.layout import MANIFEST


@pytest.fixture
def own(runs, tmp_path):
    """A folder of runs to be changed."""
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    return folder


def names(page) -> dict[str, str]:
    return {one["id"]: one["state"] for one in page.get("runs")["runs"]}


def test_a_folder_lists_its_runs_newest_first_with_what_they_have_come_to(served, runs):
    listed = served(runs).get("runs")

    assert [one["id"] for one in listed["runs"]] == ["day", "night"]
    night = listed["runs"][1]
    assert night["state"] == "finished"
    assert sum(night["counts"].values()) - night["counts"]["empty"] == night["rows"] == 30
    assert night["counts"]["failed"] == night["failed"] > 0
    assert night["model"] == "sim"
    assert listed["folder"] == str(runs)
    assert listed["notes"] == []
    assert listed["version"]


def test_one_run_is_alone_whatever_lies_beside_it(served, runs):
    page = served(runs / "night")

    assert list(names(page)) == ["night"]
    assert page.get("run", run="night")["rows"] == 30
    assert page.ask("/api/run?run=day").status == 404
    assert Shelf(str(runs / "night")).route() == "/run/night"
    assert Shelf(str(runs / "night")).route(200) == "/run/night/rows?review=200"
    assert Shelf(str(runs)).route() == "/"
    assert Shelf(str(runs)).route(5) == "/run/day/rows?review=5"  # the newest


def test_a_run_is_what_its_overview_says(served, runs):
    seen = served(runs).get("run", run="night")

    assert (seen["id"], seen["name"], seen["stage"], seen["rows"]) == ("night", "night", "finished", 30)
    assert seen["what"]["model"] == "sim"
    assert "SIMULATOR" not in json.dumps(seen).upper().replace("SIMULATOR_KEY", "")


@pytest.mark.parametrize(
    "run_id",
    [
        "..",
        ".",
        "",
        "/",
        "../runs/night",
        "night/",
        "night/../day",
        "./night",
        "night\x00",
        "/etc",
        "C:",
        "..\\night",
        "NIGHT ",
        "night/completions",
        "%2e%2e",
        "*",
        "n" * 5_000,
        "night\n",
        "\ud800",
    ],
)
def test_an_id_is_a_name_that_is_there_and_never_a_path(served, runs, run_id):
    page = served(runs)
    asked = quote(run_id.encode("utf-8", "surrogatepass"))

    for path in ("run", "charts", "rows", "facets", "acts", "run/events"):
        got = page.ask(f"/api/{path}?run={asked}")
        assert got.status == 404, (path, got.body)
        assert len(got.error) < 500
    with pytest.raises(NoSuchRun):
        Shelf(str(runs)).open(run_id)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize(
    "name", [b"night \xff", "a/b".replace("/", "\u2215").encode(), b"100% #1 ?&= \\", b"\xed\xa0\x80"]
)
def test_a_run_has_an_id_that_an_address_can_hold_whatever_its_name_is(served, own, name):
    """JavaScript makes no address of half a character: one such name kept the whole list from being shown."""
    (own / "night").rename(os.fsdecode(bytes(own) + b"/" + name))
    page = served(own)
    [run_id] = set(names(page)) - {"day"}

    assert run_id.encode().decode() == run_id
    assert page.get("run", run=run_id)["rows"] == 30
    rows = page.rows(run=run_id, limit=1)
    assert (rows["total"], len(rows["rows"])) == (30, 1)
    assert len(rows["problems"]) <= 1  # Arrow opens no file whose path is no text: that is said
    one = Shelf(os.fsdecode(bytes(own) + b"/" + name))
    assert one.route() == f"/run/{quote(run_id, safe='')}"


def test_a_link_that_leads_out_of_the_folder_is_left_out_and_said(served, own, tmp_path, runs):
    other = tmp_path / "secret"
    shutil.copytree(runs / "day", other)
    (own / "linked").symlink_to(other)
    (own / "again").symlink_to(own / "day")  # inside: a run may have two names
    page = served(own)

    assert set(names(page)) == {"day", "night", "again"}
    [note] = page.get("runs")["notes"]
    assert "linked" in note
    assert page.ask("/api/run?run=linked").status == 404
    assert list(names(served(own / "linked"))) == ["linked"]  # named by the person, it is shown


def test_a_folder_without_runs_and_one_that_comes_later(served, tmp_path, runs):
    folder = tmp_path / "later"
    folder.mkdir()
    page = served(folder)
    assert page.get("runs")["runs"] == []
    assert "no run under" in page.get("runs")["notes"][0]

    shutil.copytree(runs / "day", folder / "day")
    assert list(names(page)) == ["day"]

    shutil.rmtree(folder)
    assert names(page) == {}
    assert page.ask("/api/run?run=day").status == 404


def test_without_a_place_it_is_runs_also_before_there_is_one(served, tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    page = served(None)
    assert page.get("runs")["runs"] == []

    shutil.copytree(runs / "day", tmp_path / "runs/day")
    assert list(names(page)) == ["day"]


@pytest.mark.parametrize("place", ["nowhere", "nowhere/at/all", "pyproject.toml"])
def test_a_place_that_is_none_is_refused_before_anything_is_served(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")

    with pytest.raises(UsageError):
        Shelf(place)


def damaged(folder) -> dict[str, str]:
    """Runs that are none, or no longer: name -> a word of what is said of it."""
    files = {
        "empty": b"",
        "half": (folder / "day" / MANIFEST).read_bytes()[:300],
        "list": b"[1, 2]",
        "later": json.dumps({**json.loads((folder / "day" / MANIFEST).read_bytes()), "format": 99}).encode(),
        "deep": b"[" * 100_000,
        "binary": bytes(range(256)) * 50,
    }
    for name, content in files.items():
        (folder / name).mkdir()
        (folder / name / MANIFEST).write_bytes(content)
    return {name: "newer" if name == "later" else "not a run" for name in files}


def test_what_is_no_run_is_one_line_and_the_rest_goes_on(served, own):
    wrong = damaged(own)
    page = served(own)
    listed = {one["id"]: one for one in page.get("runs")["runs"]}

    assert set(listed) == {"day", "night", *wrong}
    for name, word in wrong.items():
        assert listed[name]["state"] == "damaged"
        assert word in listed[name]["problem"]
        got = page.ask(f"/api/run?run={name}")
        assert got.status in (400, 500), name
        assert word in got.error, name
    assert page.get("run", run="day")["rows"] == 5


def test_a_run_that_is_deleted_replaced_or_damaged_while_it_is_looked_at(served, own):
    page = served(own)
    assert page.get("run", run="night")["rows"] == 30

    shutil.rmtree(own / "night")
    assert "no such run" in page.ask("/api/run?run=night").error
    shutil.copytree(own / "day", own / "night")
    assert page.get("run", run="night")["rows"] == 5

    checksums = own / "night/checksums.log"
    checksums.write_bytes(b"\x00" * 500 + b"\n" + checksums.read_bytes())
    assert page.get("run", run="night")["problems"]
    (own / "night" / MANIFEST).write_bytes(b"{")
    assert page.ask("/api/run?run=night").status in (400, 500)
    assert page.get("run", run="day")["rows"] == 5


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_run_that_may_not_be_read_is_said(served, own):
    (own / "night").chmod(0)
    try:
        assert names(served(own))["day"] == "finished"
    finally:
        (own / "night").chmod(0o700)


def test_a_store_that_is_down_is_one_line_and_comes_back(served, tmp_path, monkeypatch, runs):
    from batchlab.page import shelf

    page = served(runs)
    real = shelf.runs_in
    monkeypatch.setattr(
        Shelf, "listing", lambda self: (_ for _ in ()).throw(UsageError("s3://b: no answer."))
    )
    assert page.ask("/api/runs").error == "s3://b: no answer."
    monkeypatch.undo()
    assert set(names(page)) == {"day", "night"}
    assert shelf.runs_in is real


def test_nothing_is_read_again_of_runs_that_have_not_changed(runs, monkeypatch):
    from batchlab.page import shelf as module

    shelf = Shelf(str(runs))
    shelf.listing()
    read = []
    monkeypatch.setattr(module, "listed", lambda place: read.append(place))

    shelf.listing()

    assert read == []


def test_charts_and_rows_of_a_run_that_ends_now_are_those_of_its_end(served, own, monkeypatch):
    """They are asked for once more when it has ended, and after that never again."""
    monkeypatch.setattr(follow, "REFRESH_S", 0.0)
    monkeypatch.setattr(follow, "SOON_S", 10.0)
    part = own / "night" / "completions" / "part-000000.parquet"
    shutil.move(part, own / "part")
    page = served(own)
    assert page.get("charts", run="night")["upto"] == 0
    assert {one["status"] for one in page.rows(run="night")["rows"]} == {"unreadable"}

    shutil.move(own / "part", part)
    assert "unreadable" not in {one["value"] for one in page.get("facets", run="night")["status"]}
    assert page.get("charts", run="night")["upto"] == 30
    assert "unreadable" not in {one["status"] for one in page.rows(run="night")["rows"]}

"""Something else stands where a file of a run should: said on the page, and the rest goes on.

A run may come from anywhere: unpacked wrongly, synced by a tool that makes folders, or made to do harm. A pipe
that is opened for reading waits for who writes to it, for ever.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchlab.errors import UsageError
from batchlab.page.report import one_file
from batchlab.page.shelf import Shelf
from batchlab.store.view import RunView
from tests.conftest import ROOT
from tests.page.conftest import Page

# lines that open what is no file of a run: an input, an object of a store, a file that export has written
ALLOWED = {
    "store": {
        (
            'journals/journal.py: with contextlib.suppress(OSError), open(path, "rb") as file:  '
            "# it may be for others to read, not for us"
        ),
        (
            "parts.py: with _store_trouble(path), plain_file(path) if isinstance(path, Path) "
            'else path.open("rb") as file:'
        ),
    },
    "looking": {
        "export/dataset.py: same_card = card.is_file() and card.read_bytes() == CARD.encode()",
    },
}
QUESTIONS = ("run", "charts", "rows", "row&row=3", "place&row=3", "facets", "labels", "sample&n=5", "acts")
FILES = (
    "lock",
    "checksums.log",
    "lost.log",
    "batches.log",
    "history.jsonl",
    "standing.json",
    "pilot.json",
    "forecast.json",
    "written.json",
    "workers.json",
    "uploaded.log",
    "labels.parquet",
    "labels.lock",
    "journal/000000.1.log",
    "journal/000000.1.due",
    "completions/part-000000.parquet",
)
FOLDERS = ("journal", "completions", "batches", "workers")


def hidden(path: Path) -> None:
    """A file that nobody may read."""
    path.write_bytes(b"{}")
    path.chmod(0)


KINDS: dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "circle": lambda path: path.symlink_to(path.name),
    "link": lambda path: path.symlink_to("nowhere"),
    "hidden": hidden,
}
if os.geteuid() == 0:  # who may read anything
    del KINDS["hidden"]
CASES = [(name, kind) for name in FILES for kind in KINDS]
CASES += [(name, kind) for name in FOLDERS for kind in KINDS if kind != "folder"]
CASES += [(name, "file") for name in FOLDERS]
KINDS["file"] = Path.touch


@pytest.fixture
def own(tmp_path: Path, runs: Path) -> Path:
    """A folder of runs of its own, one of them still with a journal."""
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    return folder


def put(kind: str, path: Path) -> None:
    """Puts something else where a file, or a folder, is or should be."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    KINDS[kind](path)


def asked(page: Page, run: str) -> dict[str, tuple[int, str]]:
    """What each question is answered, its status and its text."""
    answers = {}
    for question in QUESTIONS:
        path, _, rest = question.partition("&")
        got = page.ask(f"/api/{path}?run={run}" + (f"&{rest}" if rest else ""))
        answers[question] = got.status, got.body.decode()
    return answers


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_is_said_and_the_rest_goes_on(served, own, name, kind):
    put(kind, own / "night" / name)
    page = served(own)

    answers = asked(page, "night")

    what_else = {question: answer for question, answer in answers.items() if answer[0] != 200}
    if name == "labels.parquet" and kind not in ("link", "circle"):  # nothing else is asked there
        status, text = what_else.pop("labels")
        assert (status, name in text) == (400, True)
    assert what_else == {}
    assert name in str(json.loads(answers["run"][1])["problems"])
    assert {one["id"] for one in page.get("runs")["runs"]} == {"day", "night"}
    with page.follow("/api/run/events?run=night") as told:
        assert name in str(next(told)["problems"])
    assert page.get("compare", a="night", b="day")["total"] is not None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_a_run_whose_own_file_is_none_is_damaged_and_the_others_are_shown(served, own, kind):
    put(kind, own / "night" / "run.json")
    page = served(own)

    listed = {one["id"]: one for one in page.get("runs")["runs"]}
    assert listed["night"]["state"] == "damaged"
    assert "run" in listed["night"]["problem"]
    for question in ("run", "rows", "acts"):
        assert "cannot read the run" in page.ask(f"/api/{question}?run=night").error
    assert page.get("run", run="day")["rows"] == 5
    with pytest.raises(UsageError, match="cannot read the run"):
        Shelf(str(own / "night"))


def test_a_report_of_such_a_run_is_written(own):
    for name in ("checksums.log", "history.jsonl", "labels.parquet", "journal/000000.1.log"):
        put("pipe", own / "night" / name)

    assert "checksums.log" in one_file(RunView.open(own / "night"))


@pytest.mark.parametrize("room", ["store", "looking"])
def test_files_of_a_run_are_opened_for_reading_in_one_place(room):
    """Where each looks after itself, one is forgotten, and waits for a pipe."""
    here = ROOT / "batchlab" / room
    own_way = re.compile(r"\.read_bytes\(|\.read_text\(|open\(([^()]*, )?\"rb?\"|O_RDONLY")
    found = {
        f"{path.relative_to(here)}: {line.strip()}"
        for path in here.rglob("*.py")
        for line in path.read_text().splitlines()
        if own_way.search(line) and path.name != "files.py"
    }

    assert found == ALLOWED[room]

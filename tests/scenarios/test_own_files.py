"""`-o` and its like replace what this run wrote, and nothing of anybody else."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys

import pytest

import batchlab as api
from batchlab.errors import UsageError
from tests.provider import chat_reply, providing

MINE = "name,note\nAda,three months of work\n"


@pytest.fixture
def at(here, tmp_path):
    """A command that runs `rows.jsonl`, and how often the provider was asked."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "book.csv").write_text(MINE)
    asked: list[dict] = []

    def answer(body: dict) -> tuple[int, dict]:
        asked.append(body)
        return (
            (401, {"error": {"message": "no such key"}})
            if body["model"] == "locked"
            else (200, chat_reply("Yes."))
        )

    with providing(answer) as server:

        def run(*words: str, model: str = "m"):
            return here("run", "rows.jsonl", "-m", model, "--base-url", server.base_url, "--api-key-env",
                        "SIMULATOR_KEY", "--run-dir", "run", "--progress", "none", *words)  # fmt: skip

        run.asked = asked
        run.url = server.base_url
        yield run


@pytest.mark.parametrize("name", ["book.csv", "./book.csv", "link.csv", "../{here}/book.csv"])
def test_a_file_of_somebody_else_is_refused_before_anything_is_sent(at, tmp_path, name):
    (tmp_path / "link.csv").symlink_to("book.csv")

    done = at("-o", name.format(here=tmp_path.name))

    assert (done.code, at.asked) == (2, [])
    assert "is there, and this run did not write it. Pass --overwrite" in done.err
    assert (tmp_path / "book.csv").read_text() == MINE
    assert not (tmp_path / "run").exists()


def test_with_overwrite_it_is_replaced_and_is_the_run_s_own_from_then_on(at, tmp_path):
    assert at("-o", "book.csv", "--overwrite").code == 0
    assert at("-o", "book.csv").code == 0
    assert (tmp_path / "book.csv").read_text() != MINE

    (tmp_path / "book.csv").write_text(MINE)
    again = at("-o", "book.csv")
    assert again.code == 2
    assert "has changed since this run wrote it" in again.err
    assert (tmp_path / "book.csv").read_text() == MINE


def test_every_way_to_write_a_file_keeps_to_it(at, here, tmp_path):
    batch = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": []},
    }
    batch["body"]["messages"].append({"role": "user", "content": "a"})
    (tmp_path / "rows.jsonl").write_text(json.dumps(batch) + "\n")
    refused = at("-o", "out.jsonl", "--errors", "book.csv")
    assert refused.code == 2
    assert at("-o", "out.jsonl").code == 0

    for words in (["export", "run", "-o", "book.csv"], ["report", "run", "-o", "book.csv"],
                  ["export", "run", "-o", "new.jsonl", "--errors", "book.csv"]):  # fmt: skip
        assert here(*words).code == 2
        assert (tmp_path / "book.csv").read_text() == MINE
    for words in (["export", "run", "-o", "new.csv"], ["report", "run", "-o", "new.html"], ["report", "run"]):
        assert [here(*words).code, here(*words).code] == [0, 0], words
        assert here(*words, "--overwrite").code == 0
    assert here("retry", "run", "--progress", "none").code == 0


@pytest.mark.parametrize("words", [(), ("--overwrite",)])
@pytest.mark.parametrize("kind", ["a pipe", "a socket"])
def test_what_is_no_file_is_not_replaced_by_one(at, here, tmp_path, kind, words):
    """As root, `-o /dev/null` would put a file in the place of the device."""
    assert at().code == 0
    special = tmp_path / "special.csv"
    if kind == "a pipe":
        os.mkfifo(special)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(special))
    before = special.stat()

    tried = [at("-o", "special.csv", *words), here("export", "run", "-o", "special.csv", *words)]
    tried += [here("report", "run", "-o", "special.csv", *words), at("--metrics-file", "special.csv")]

    assert [done.code for done in tried] == [2, 2, 2, 2]
    assert all(f"special.csv: is {kind}" in done.err for done in tried)
    assert (special.stat().st_mode, special.stat().st_ino) == (before.st_mode, before.st_ino)


def test_a_file_that_came_while_the_run_went_on_stays_and_the_rows_are_there(at, here, tmp_path):
    at("-n", "1")
    here_first = at.asked.copy()
    (tmp_path / "out.csv").write_text(MINE)
    os.remove(tmp_path / "out.csv")
    on_end = shlex.join([sys.executable, "-c", "pass"])
    assert at("-o", "out.csv", "--on-end", on_end).code == 0
    assert len(at.asked) == len(here_first) + 1


def test_a_stop_before_any_answer_writes_no_output(at, tmp_path):
    done = at("-o", "out.csv", model="locked")

    assert done.code == 3
    assert not (tmp_path / "out.csv").exists()


def test_a_run_that_an_earlier_version_began_replaces_its_output(at, tmp_path):
    assert at("-o", "out.csv").code == 0
    (tmp_path / "run/written.json").unlink()

    assert at("-o", "out.csv").code == 0
    assert at("-o", "book.csv").code == 2


def test_in_python_the_message_names_the_keyword(at, tmp_path):
    rows = {
        "model": "m",
        "base_url": at.url,
        "api_key_env": "SIMULATOR_KEY",
        "progress": "none",
        "quiet": True,
    }

    with pytest.raises(UsageError, match="overwrite=True"):
        api.run(input="rows.jsonl", output="book.csv", **rows)
    api.run(input="rows.jsonl", output="book.csv", overwrite=True, **rows)

    assert (tmp_path / "book.csv").read_text() != MINE


TELL = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("BATCHLAB_")}
json.dump([json.load(sys.stdin), told], open("told.json", "w"))
"""


@pytest.mark.parametrize(("model", "code", "stopped"), [("m", "0", ""), ("locked", "3", "key")])
def test_somebody_is_told_that_the_run_has_ended_or_stopped(at, tmp_path, model, code, stopped):
    done = at("--on-end", shlex.join([sys.executable, "-c", TELL]), model=model)

    summary, told = json.loads((tmp_path / "told.json").read_text())
    assert str(done.code) == code == told["BATCHLAB_EXIT_CODE"] == str(summary["exit_code"])
    assert told["BATCHLAB_STOPPED"] == stopped == (summary["stopped"] or "")
    assert told["BATCHLAB_RUN"] == summary["run_dir"] == "run"
    assert (told["BATCHLAB_ROWS"], told["BATCHLAB_COST_USD"]) == ("2", "" if model == "m" else "0.000000")


def test_a_command_that_fails_changes_nothing_and_is_told_of(at):
    done = at("--on-end", "echo not here >&2; exit 7")

    assert done.code == 0
    assert "on-end: the command ended with exit code 7: not here" in done.err

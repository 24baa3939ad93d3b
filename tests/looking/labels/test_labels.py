"""Labels of answers: kept beside the run, one word a row, and joined wherever rows are taken."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

import batchlab
from batchlab.errors import UsageError
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.labels.label import NAMES, Answer
from batchlab.looking.labels.placed import Moved, Placed, answer_of, labels_by_row
from batchlab.looking.labels.review import Review
from batchlab.looking.labels.share import share, share_of, shares_by
from batchlab.looking.labels.store import Labels
from batchlab.looking.opening import open_run
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView
from tests.conftest import environment
from tests.provider import chat_reply, providing
from tests.scenarios.test_run import job

ANSWER = Answer(1_700_000_000_000_000, 1, b"h" * 16)


@pytest.fixture
def run(here, simulator, rows_file) -> RunView:
    """A run of 12 rows in three shards, of which row 4 failed."""
    faults = [{"kind": "answer", "status": 400, "body": "{}", "rows": ["The 4th "], "times": 99}]
    words = job(simulator(faults=faults).base_url, rows_file(12), "--shard-rows", "4")
    here(*words, "--price-in", "1", "--price-out", "2")
    return open_run("runs/rows")


def answers(run: RunView) -> dict[int, Answer]:
    """Which answer each row of the sealed shards has now."""
    found = {}
    for index in sorted(run.sealed()):
        for table in part_tables(run.part(index), ["row_id", "finished_at", "attempts", "request_hash"]):
            found |= {row["row_id"]: answer_of(row) for row in table.to_pylist()}
    return found


def say(run: RunView, *said: tuple[int, str | None, str | None]) -> Labels:
    labels, known = Labels(run), answers(run)
    for row, label, note in said:
        labels.say(row, known[row], label, note, custom_id=str(row))
    return labels


def by_row(run: RunView) -> dict:
    index = RowIndex(run)
    index.refresh()
    labels = Labels(run).all()
    return labels_by_row(index, labels, Moved(labels, run.manifest.generation))


def test_labels_are_kept_in_a_small_parquet_that_anybody_reads(run):
    say(run, (0, "pass", None), (5, "fail", "it made\nthis up"), (3, None, "look again"))

    rows = pq.read_table(run.path / "labels.parquet").to_pylist()
    assert [(row["row_id"], row["label"], row["note"]) for row in rows] == [
        (0, "pass", None),
        (3, None, "look again"),
        (5, "fail", "it made\nthis up"),
    ]
    assert rows[0]["answer_at"] is not None
    assert (run.path / "labels.parquet").stat().st_mode & 0o077 == 0
    assert {key[0]: one.label for key, one in Labels(run).all().items()} == {0: "pass", 3: None, 5: "fail"}


def test_load_export_and_cost_have_the_labels_and_nothing_of_them_without_any(run, here):
    assert "label" not in batchlab.load("runs/rows").columns
    assert "label" not in here("export", "runs/rows", "-o", "-").out

    say(run, (0, "pass", None), (5, "fail", "wrong"), (6, "pass", None))

    frame = batchlab.load("runs/rows")
    assert dict(frame["label"].dropna()) == {0: "pass", 5: "fail", 6: "pass"}
    assert dict(frame["label_note"].dropna()) == {5: "wrong"}
    exported = [json.loads(line) for line in here("export", "runs/rows", "-o", "-").out.splitlines()]
    assert [row["label"] for row in exported] == frame["label"].astype(object).where(
        frame["label"].notna(), None
    ).tolist()
    picked = here("export", "runs/rows", "-o", "-", "--columns", "custom_id,label", "--to", "csv").out
    assert picked.splitlines()[:2] == ["custom_id,label", "0,pass"]
    cost = json.loads(here("cost", "runs/rows", "--by", "label", "--format", "json").out)
    assert {one["label"]: one["rows"] for one in cost} == {"": 9, "pass": 2, "fail": 1, "total": 12}
    total = sum(one["kept_usd"] or 0 for one in cost if one["label"] != "total")
    assert total == pytest.approx(cost[-1]["kept_usd"])


def test_cost_by_label_of_a_run_that_has_none_is_one_line(run, here):
    cost = json.loads(here("cost", "runs/rows", "--by", "label", "--format", "json").out)

    assert [(one["label"], one["rows"]) for one in cost] == [("", 12), ("total", 12)]


def test_an_input_that_has_such_a_column_keeps_it(here, simulator, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"The {n}th.", "label": f"given-{n % 2}"}) + "\n" for n in range(4))
    )
    here(*job(simulator().base_url, rows))
    say(open_run("runs/rows"), (2, "fail", None))

    frame = batchlab.load("runs/rows")
    assert list(frame["label"]) == ["given-0", "given-1", "given-0", "given-1"]
    assert dict(frame["batchlab_label"].dropna()) == {2: "fail"}
    cost = json.loads(here("cost", "runs/rows", "--by", "label", "--format", "json").out)
    assert {one["label"] for one in cost} == {"given-0", "given-1", "total"}
    cost = json.loads(here("cost", "runs/rows", "--by", "batchlab_label", "--format", "json").out)
    assert {one["batchlab_label"]: one["rows"] for one in cost} == {"": 3, "fail": 1, "total": 4}


def test_a_label_of_an_answer_that_a_retry_has_replaced_is_of_an_earlier_one(here, tmp_path):
    finish = ["length"]

    def answer(body: dict) -> tuple[int, dict]:
        reply = chat_reply("Yes.")
        reply["choices"][0]["finish_reason"] = finish[0] if "0" in body["messages"][-1]["content"] else "stop"
        return 200, reply

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"row {n}"}) + "\n" for n in range(3)))
    with providing(answer) as server:
        at = ["-m", "m", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY", "--max-tokens", "9"]
        here("run", "rows.jsonl", *at, "--run-dir", "runs/rows", "--progress", "none")
        say(open_run("runs/rows"), (0, "fail", "cut off"), (1, "pass", None))
        finish[0] = "stop"
        said = here("retry", "runs/rows", "--only", "truncated", "--max-tokens", "90", "--progress", "none")
        assert said.code == 0, said.err

    now = by_row(open_run("runs/rows"))
    assert (now[0].label, now[0].is_earlier) == (None, True)
    assert now[0].note == "of an earlier answer: fail: cut off"
    assert (now[1].label, now[1].is_earlier) == ("pass", False)
    frame = batchlab.load("runs/rows")
    assert list(frame["label"].astype(object).where(frame["label"].notna(), None)) == [None, "pass", None]
    assert frame["label_note"][0] == "of an earlier answer: fail: cut off"


def test_labels_go_with_what_was_asked_when_the_input_changes(here, simulator, rows_file, tmp_path):
    words = job(simulator().base_url, rows_file(6), "--shard-rows", "2")
    here(*words)
    say(open_run("runs/rows"), (1, "pass", None), (4, "fail", None))
    lines = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text(
        "".join([json.dumps({"n": 99, "text": "A new one."}) + "\n", *lines[:4]])
    )
    said = here(*words)
    assert said.code == 0, said.err

    run = open_run("runs/rows")
    assert run.manifest.generation == 2
    assert {row: one.label for row, one in by_row(run).items()} == {2: "pass"}
    frame = batchlab.load("runs/rows")
    assert dict(frame["label"].dropna()) == {2: "pass"}

    # what is said of rows now leaves what was said of others before
    labels = say(run, (1, "fail", None))
    assert {row: one.label for row, one in by_row(run).items()} == {1: "fail", 2: "pass"}
    change = labels.say(2, answers(run)[2], None, None)
    assert {row: one.label for row, one in by_row(run).items()} == {1: "fail"}
    assert dict(batchlab.load("runs/rows")["label"].dropna()) == {1: "fail"}
    labels.undo(change.token)
    assert {row: one.label for row, one in by_row(run).items()} == {1: "fail", 2: "pass"}


def test_undo_takes_back_what_nobody_has_said_over(run):
    labels, answer = Labels(run), answers(run)[0]
    first = labels.say(0, answer, "pass", None)
    second = labels.say(0, answer, "fail", "no")

    assert labels.undo(second.token).after.label == "pass"
    assert labels.all()[0, "", 1].label == "pass"
    with pytest.raises(UsageError, match="nothing to undo"):
        labels.undo(second.token)
    assert labels.undo(first.token).after is None
    third = labels.say(1, answer, "pass", None)
    Labels(run).say(1, answer, "unsure", None)
    with pytest.raises(UsageError, match="row 1: another has said something"):
        labels.undo(third.token)
    fourth = labels.say(2, answer, "pass", None)
    Labels(run).say(3, answer, "fail", None)
    assert labels.undo(fourth.token).after is None
    assert {row for row, *_ in labels.all()} == {1, 3}


def test_a_label_leaves_the_note_and_a_note_the_label_of_whoever_has_said_them(run):
    mine, theirs, index = Review(run), Review(run), RowIndex(run)
    index.refresh()

    theirs.say(index, 0, label="fail", note="made up")
    mine.say(index, 0, label="pass")
    mine.say(index, 1, note="look at this")
    theirs.say(index, 1, label="fail")

    assert by_row(run)[0] == Placed("pass", "made up")
    assert by_row(run)[1] == Placed("fail", "look at this")


def test_what_another_has_said_is_not_taken_away_unseen(run):
    mine, theirs, index = Review(run), Review(run), RowIndex(run)
    index.refresh()
    mine.say(index, 0, label="pass")
    theirs.say(index, 0, label="fail", note="no")

    with pytest.raises(UsageError, match="row 0: another has said “fail” of it since; that stays"):
        mine.say(index, 0, label=None, seen={"label": "pass"})
    with pytest.raises(UsageError, match="row 0: another has said “no” of it since"):
        mine.say(index, 0, note="mine", seen={"note": None})

    assert by_row(run)[0] == Placed("fail", "no")
    mine.say(index, 0, label=None, seen={"label": "fail"})
    mine.say(index, 0, note="no, indeed", seen={"note": "no"})
    assert by_row(run)[0] == Placed(None, "no, indeed")


def test_two_who_label_at_once_are_both_heard(run, tmp_path):
    """Threads of this process and a process of its own, each in turn."""
    script = (
        "import sys\nfrom batchlab.looking.labels.store import Labels\nfrom batchlab.looking.labels.label import Answer\n"
        "from batchlab.looking.opening import open_run\nlabels = Labels(open_run('runs/rows'))\n"
        "for row in range(100, 130):\n    labels.say(row, Answer(1, 1), 'pass', None)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment())
    shared = Labels(run)

    def label(labels: Labels, first: int) -> None:
        for row in range(first, first + 30):
            labels.say(row, ANSWER, "fail", None)

    threads = [
        threading.Thread(target=label, args=args)
        for args in ((shared, 200), (shared, 300), (Labels(run), 400))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(60) == 0

    assert len(Labels(run).all()) == 120


def test_names_are_chosen_for_the_keys_and_kept(run):
    labels = Labels(run)
    assert labels.names() == NAMES
    labels.rename(["good", "bad", " good "])

    assert Labels(run).names() == ("good", "bad")
    with pytest.raises(UsageError, match="1 to 9 labels"):
        labels.rename([str(n) for n in range(10)])
    for bad in ("", "\x00", "x" * 41):
        with pytest.raises(UsageError, match="a label has 1 to 40 characters"):
            labels.say(0, ANSWER, bad, None)


@pytest.mark.parametrize("content", [b"", b"PAR1nothingPAR1", b"\x00" * 5_000])
def test_a_file_that_is_none_is_one_line_and_never_replaced(run, here, content):
    (run.path / "labels.parquet").write_bytes(content)

    said = here("export", "runs/rows", "-o", "-")
    assert said.code == 2
    assert "labels.parquet: no whole file of labels" in said.err
    assert "Move it away" in said.err
    with pytest.raises(UsageError, match="no whole file"):
        Labels(run).say(0, ANSWER, "pass", None)
    assert (run.path / "labels.parquet").read_bytes() == content


def test_a_foreign_file_of_labels_is_read_as_data(run):
    import pandas as pd

    pd.DataFrame(
        {
            "row_id": [0, -1, 99_999, None],
            "label": ["<b>\x1b[31m", "x", "y", "z"],
            "note": ["n" * 20_000, None, None, None],
        }
    ).to_parquet(run.path / "labels.parquet")

    said = by_row(run)
    assert list(said) == [0]
    assert said[0].is_earlier
    assert "\x1b" not in said[0].note
    assert len(said[0].note) < 10_200


def test_a_run_with_labels_is_whole_and_goes_on(run, here):
    say(run, (0, "pass", None))

    assert "labels" not in here("verify", "runs/rows").out + here("verify", "runs/rows").err
    assert here("retry", "runs/rows", "--progress", "none").code in {0, 1}
    assert Labels(open_run("runs/rows")).all()[0, "", 1].label == "pass"


def test_shares_are_those_of_each_value_of_any_column(run):
    say(run, *((row, "pass" if row % 3 else "fail", None) for row in range(12) if row != 4))

    index = RowIndex(run)
    index.refresh()
    said = by_row(run)
    whole = share_of(one.label for one in said.values())
    assert (whole.k, whole.n) == (7, 11)
    by = dict(shares_by(index, said, "status"))
    assert sum(one.n for one in by.values()) == 11
    by = dict(shares_by(index, said, "n"))
    assert {value: (one.k, one.n) for value, one in by.items()}["3"] == (0, 1)


# R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998),
# table I, method 3: the score interval without a continuity correction
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(k, n, low, high):
    found = share(k, n)

    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    mirrored = share(n - k, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_the_interval_holds_the_true_share_as_often_as_it_says():
    rng = np.random.default_rng(3)
    for true in (0.03, 0.5, 0.9):
        drawn = rng.binomial(200, true, 4_000)
        inside = np.mean([(one := share(int(k), 200)).low <= true <= one.high for k in drawn])
        assert 0.92 <= inside <= 0.975


def test_unsure_is_no_decision_and_no_label_no_share():
    assert share(0, 0) is None
    assert share_of(["unsure", None]) is None
    found = share_of(["pass", "unsure", "fail", "wrong", None])
    assert (found.k, found.n) == (1, 3)
    found = share_of(["good", "bad", "bad"], "bad")
    assert (found.k, found.n) == (2, 3)

"""Labels of a run at a URL: by several, from several machines."""

from __future__ import annotations

import pytest

import batchlab
from batchlab.errors import UsageError
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.labels.label import Answer
from batchlab.looking.labels.placed import Moved, labels_by_row
from batchlab.looking.labels.store import Labels
from batchlab.looking.opening import open_run
from tests.remote.test_looking import URL, away, made

__all__ = ["away", "made"]


def answers() -> dict[int, Answer]:
    index = RowIndex(open_run(URL))
    index.refresh()
    return {row: Answer(round(float(index["finished_at"][row]) * 1e6), 1) for row in range(50)}


def test_labels_of_a_run_at_a_url_are_there_for_all_and_the_last_word_counts(made, here, away, memory):
    assert made().code == 0
    known = answers()
    mine = Labels(open_run(URL))
    mine.say(0, known[0], "pass", None)
    mine.say(1, known[1], "pass", None)
    away()
    theirs = Labels(open_run(URL))
    assert {row: one.label for (row, *_), one in theirs.all().items()} == {0: "pass", 1: "pass"}
    theirs.say(1, known[1], "fail", "no")
    change = theirs.say(2, known[2], "unsure", None)
    mine.say(3, known[3], "pass", None)  # without having read what the other wrote

    everyone = {0: "pass", 1: "fail", 2: "unsure", 3: "pass"}
    assert {row: one.label for (row, *_), one in Labels(open_run(URL)).all().items()} == everyone
    theirs.undo(change.token)
    del everyone[2]
    assert {row: one.label for (row, *_), one in Labels(open_run(URL)).all().items()} == everyone
    frame = batchlab.load(URL)
    assert dict(frame["label"].dropna()) == everyone
    index = RowIndex(open_run(URL))
    index.refresh()
    labels = Labels(open_run(URL)).all()
    assert not [one for one in labels_by_row(index, labels, Moved(labels, 1)).values() if one.is_earlier]


def test_a_store_that_is_down_is_one_line(made, here, memory, monkeypatch):
    assert made().code == 0
    labels = Labels(open_run(URL))

    def down(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(type(memory), "glob", down)
    with pytest.raises(UsageError, match="labels cannot be read"):
        labels.say(0, Answer(1, 1), "pass", None)

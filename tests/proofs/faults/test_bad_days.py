"""Every line of what real servers say, plain and streamed: see `bad_days`, which prints them as a table."""

from __future__ import annotations

import pytest

from tests.conftest import CANARY
from tests.proofs.faults.bad_days import LINES, problems, run, short_waits, ways


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    with short_waits():
        yield


@pytest.mark.parametrize(
    ("line", "stream"),
    [
        pytest.param(line, stream, id=f"{line}-{'streamed' if stream else 'plain'}")
        for line in LINES
        for stream in ways(line)
    ],
)
def test_an_odd_answer_is_its_own_row_s_affair(line, stream, tmp_path):
    assert problems(line, run(line, tmp_path, stream=stream)) == []

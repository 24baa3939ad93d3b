"""Counted nouns: right at one, and counted by the one function that knows how."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import batchlab
from batchlab.counts import agreeing, counted, lasting, plain

NOUNS = "rows|requests|answers|parts|files|problems|lines|shards|workers|nodes|cells|columns|dimensions|embeddings"
# what is no count of nouns, or never one
ALLOWED = {
    "of the first {FIRST_ROWS} answers",
    "{word} rows always make",
    "with {endpoint.trust_env} requests go",
    "so that all {rows:,} rows would ask",
    "{rates.rows_per_s:.1f} rows/s",
    "{worker['requests_per_s']:.1f} requests/s",
    "this process may open {soft} files",
}


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2_000, "2,000 rows")]
)
def test_one_is_told_from_none_and_from_several(count, said):
    assert counted(count, "row") == said


def test_a_noun_may_have_a_plural_of_its_own_and_a_verb():
    assert [counted(count, "batch", "batches") for count in (1, 2)] == ["1 batch", "2 batches"]
    assert [agreeing(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]


def test_no_message_counts_by_itself():
    """`{count} rows` in an f-string says `1 rows` one day: a kind of fault, ended by `counted`."""
    home = Path(batchlab.__file__).parent
    found = [
        f"{path.relative_to(home)}: {line.strip()}"
        for path in sorted(home.rglob("*.py"))
        if "simulator" not in path.parts  # it says what services say
        for line in path.read_text("utf-8").splitlines()
        if re.search(rf"(?<!\{{)\{{(?!agreeing\()[^{{}}]+\}} (malformed |pending |more )?({NOUNS})\b", line)
        and not any(words in line for words in ALLOWED)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "0.5 s"), (45, "45 s"), (90, "1.5 min"), (100, "100 s"), (900, "15 min"), (5_400, "1.5 h")],
)
def test_a_duration_that_was_set_is_told_in_its_unit(seconds, said):
    assert lasting(seconds) == said


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.6, "0.6"),
        (3.8e-05, "0.000038"),
        (0.000574, "0.000574"),
        (2.5e-08, "0.000000025"),
        (20.0, "20"),
        (1_500_000, "1500000"),
    ],
)
def test_sums_are_written_without_an_exponent(number, text):
    assert plain(number) == text

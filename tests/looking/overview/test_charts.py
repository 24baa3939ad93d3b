"""The charts of a run, as numbers: of real runs, and of times and rows that are made up."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from batchlab.errors import UsageError
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.money.books import cost_of
from batchlab.looking.opening import open_run
from batchlab.looking.overview.charts import Charter
from batchlab.looking.overview.distributions import distribution
from batchlab.looking.overview.over_time import MOST_BUCKETS, Finished, finished_of, over_time
from batchlab.looking.overview.sessions import Session
from batchlab.store.history import Moment
from tests.scenarios.test_run import job

WEIRD = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "sim",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Well."}, "finish_reason": "weird"}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
)
PRICED = ("--price-in", "1", "--price-out", "2")


def drawn(place="runs/rows", *wanted) -> dict:
    """The charts as the page gets them: through JSON."""
    index = RowIndex(open_run(place))
    index.refresh()
    return json.loads(json.dumps(Charter(wanted).charts(index).json(), allow_nan=False))


@pytest.fixture
def mixed(here, simulator, tmp_path):
    """A run of 60 rows in 6 shards of three languages, with answers of every kind."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"text": f"The {n}th of them.", "lang": ["de", "en", "fr"][n % 3], "grade": n % 2})
            + "\n"
            for n in range(60)
        )
    )
    faults = [
        {"kind": "answer", "status": 400, "body": '{"error": {"message": "no such thing"}}', "rows": ["The 3th "], "times": 99},
        {"kind": "answer", "status": 413, "body": '{"error": {"message": "too long"}}', "rows": ["The 7th "], "times": 99},
        {"kind": "answer", "status": 200, "body": WEIRD, "rows": ["The 11th "], "times": 1},
    ]  # fmt: skip
    server = simulator(faults=faults)
    return here(*job(server.base_url, rows, "--shard-rows", "10", *PRICED, "--max-tokens", "60"))


def test_cost_by_a_column_is_what_the_cost_command_says(mixed):
    page = drawn()

    found = {one["column"]: one["values"] for one in page["by"]}
    assert {"status", "lang", "grade"} <= found.keys()
    for column in ("status", "lang", "grade"):
        table = cost_of(["runs/rows"], by=[column]).table.iloc[:-1]
        wanted = {
            value: (rows, kept, tokens)
            for value, rows, kept, tokens in zip(
                table[column], table["rows"], table["kept_usd"], table["completion_tokens"], strict=True
            )
        }
        got = {
            one["value"]: (one["rows"], one["kept_usd"], one["completion_tokens"]) for one in found[column]
        }
        assert got.keys() == wanted.keys()
        for value, (rows, kept, tokens) in wanted.items():
            assert got[value] == (rows, pytest.approx(kept), tokens if tokens == tokens else 0)


def test_errors_have_their_classes_and_examples_and_odd_answers_their_words(mixed):
    page = drawn()

    errors = {one["class"]: one for one in page["errors"]}
    assert {name: one["rows"] for name, one in errors.items()} == {"bad_request": 1, "too_large": 1}
    [example] = errors["bad_request"]["examples"]
    assert example["row_id"] == 3
    assert example["code"] == 400
    assert "no such thing" in example["message"]
    odd = {(one["what"], one["word"]): one["rows"] for one in page["odd"]}
    totals = open_run("runs/rows").totals()
    assert odd.get(("truncated", "length"), 0) == totals.truncated > 0
    assert odd.get(("unknown finish", "weird"), 0) == totals.unknown_finish.rows
    assert page["upto"] == 60


def test_distributions_are_those_of_the_rows(mixed, here):
    import batchlab

    frame = batchlab.load("runs/rows")
    found = {one["name"]: one for one in drawn()["distributions"]}

    for name in ("latency_ms", "completion_tokens", "cost_usd"):
        values = frame[name].dropna().astype("float64").to_numpy()
        wanted = np.quantile(values, [0.5, 0.9, 0.99])
        assert [found[name][key] for key in ("p50", "p90", "p99")] == pytest.approx(wanted, rel=1e-6)
        assert sum(found[name]["counts"]) == found[name]["n"] == len(values)
        assert len(found[name]["edges"]) == len(found[name]["counts"]) + 1


def test_a_run_that_grows_is_read_once_and_shown_as_far_as_it_is(here, simulator, rows_file, monkeypatch):
    words = job(simulator().base_url, rows_file(40), "--shard-rows", "10", "-c", "1", *PRICED)
    here(*words, "--max-tokens-total", "1000", "--max-tokens", "40")
    run = open_run("runs/rows")
    index, charter = RowIndex(run), Charter()
    index.refresh()
    first = charter.charts(index).json()
    assert 0 < first["upto"] == run.totals().rows < 40

    here(*words, "--max-tokens", "40")
    index.refresh()
    whole = charter.charts(index).json()
    assert whole["upto"] == 40
    assert json.dumps(whole["by"]) == json.dumps(drawn()["by"])

    monkeypatch.setattr("batchlab.looking.overview.groups.part_tables", None)  # nothing is read again
    index.refresh()
    assert charter.charts(index).json() == whole


@pytest.mark.parametrize("number", [0, 2])
def test_a_part_that_is_damaged_is_said_once_and_the_others_are_drawn(mixed, number):
    part = open_run("runs/rows").layout.part(number)
    part.write_bytes(part.read_bytes()[:200])

    page = drawn()
    assert page["upto"] == 50
    [problem] = page["problems"]
    assert part.name in problem
    assert "lang" in {one["column"] for one in page["by"]}


def test_a_run_of_which_no_part_can_be_read_has_charts_of_nothing(mixed):
    for part in open_run("runs/rows").layout.part_files():
        part.write_bytes(part.read_bytes()[:200])

    page = drawn()
    assert page["upto"] == 0
    assert len(page["problems"]) == 6


def test_a_column_that_is_named_is_shown_and_an_unknown_one_refused(mixed):
    page = drawn("runs/rows", "text", "finish_reason")
    by = {one["column"]: one for one in page["by"]}
    assert len(by["text"]["values"]) == 20
    assert by["text"]["left_out"] == 40
    assert {"stop", "length"} <= {one["value"] for one in by["finish_reason"]["values"]}

    with pytest.raises(UsageError, match="colour: no such column"):
        drawn("runs/rows", "colour")


def test_a_run_without_an_answer_has_charts_of_nothing(here, rows_file, simulator):
    here(*job(simulator().base_url, rows_file(3), "--max-tokens-total", "1"))

    page = drawn()
    assert page["upto"] == 0
    assert page["distributions"] == page["by"] == page["errors"] == page["odd"] == []


def moments(begin: float, end: float, began: float, **more) -> tuple[Moment, ...]:
    values = {"window": 8, "in_flight": 3, "limited": 0, "errors": 0, "paused": False, **more}
    return tuple(Moment(at=at, began=began, **values) for at in np.arange(begin, end, 2.0).tolist())


def rows_at(seconds) -> Finished:
    at = np.asarray(seconds, np.float64)
    return finished_of(at, np.zeros(len(at), bool), np.zeros(len(at)))


def test_nothing_is_drawn_where_nothing_ran():
    """Twelve idle minutes between two sessions are no '3 in flight'."""
    day, idle = 1_000_000.0, 720.0
    again = day + 60 + idle
    sessions = [
        Session(day, day + 60, "live", "budget", moments(day, day + 60, day)),
        Session(again, again + 60, "live", "finished", moments(again, again + 60, again)),
    ]
    tally = rows_at([*np.arange(day, day + 60), *np.arange(again, again + 60)])

    found = over_time(tally, sessions, now=again + 1_000)

    assert found.gaps == [(day + 60, again)]
    nothing = [number for number, done in enumerate(found.done) if done is None]
    assert len(nothing) == 1
    [place] = nothing
    assert day + 60 <= found.at[place] < again
    for series in (found.window, found.in_flight, found.limited, found.errors, found.paused, found.why):
        assert series[place] is None
    assert sum(done or 0 for done in found.done) == 120
    assert not [at for at in found.at[:place] if at > day + 60]
    assert {one for one in found.in_flight if one is not None} == {3.0}


def test_a_pause_is_drawn_as_one_and_the_window_says_why():
    began = 2_000_000.0
    moved = [
        *moments(began, began + 20, began),
        *moments(
            began + 20, began + 40, began, window=1, in_flight=0, paused=True, limited=2, why="rate limit"
        ),
        *moments(began + 40, began + 60, began),
    ]
    found = over_time(
        rows_at(began + np.arange(20)),
        [Session(began, began + 60, "live", "finished", tuple(moved))],
        began + 60,
    )

    paused = [at - began for at, is_paused in zip(found.at, found.paused, strict=True) if is_paused]
    assert (min(paused), max(paused)) == (20, 39 if found.bucket_s == 1 else 40 - found.bucket_s)
    assert "rate limit" in found.why
    assert sum(one or 0 for one in found.limited) == 20
    assert found.done[-1] == 0


def test_a_session_that_runs_is_drawn_up_to_now_and_one_that_was_cut_off_to_its_last_sign():
    began = 3_000_000.0
    for ended, last in ((None, began + 100), (began + 30, began + 30)):
        session = Session(began, ended, "live", "", moments(began, began + 30, began))
        found = over_time(rows_at([began + 5]), [session], now=began + 100)
        assert last - found.bucket_s <= found.at[-1] + found.bucket_s <= last + found.bucket_s


def test_a_run_without_a_history_is_drawn_by_its_rows():
    began = 4_000_000.0
    tally = rows_at([*(began + np.arange(30)), *(began + 7_200 + np.arange(30))])

    found = over_time(tally, [], now=time.time())

    assert len(found.gaps) == 1
    assert sum(done or 0 for done in found.done) == 60
    assert {one for one in found.window if one is not None} == set()


@pytest.mark.parametrize("spans", [1, 7, 300, 3_000])
def test_there_are_never_too_many_buckets(spans):
    day = 5_000_000.0
    sessions = [Session(day + n * 3_600, day + n * 3_600 + 1_000, "live") for n in range(spans)]

    found = over_time(rows_at([day + n * 3_600 + 500 for n in range(spans)]), sessions, now=0.0)

    assert len(found.at) <= 3 * max(MOST_BUCKETS, 2 * min(spans, 500))
    assert sum(done or 0 for done in found.done) == spans


def test_histograms_have_edges_for_whole_numbers_and_logarithmic_ones_for_long_tails():
    whole = distribution("a", "A", "tokens", np.array([5, 5, 6], np.float32), is_whole=True)
    assert (whole.edges, whole.counts) == ([4.5, 5.5, 6.5], [2, 1])
    rng = np.random.default_rng(1)
    tail = distribution("a", "A", "ms", rng.lognormal(3, 3, 10_000).astype(np.float32))
    assert tail.log
    assert sum(tail.counts) == tail.n == 10_000
    one = distribution("a", "A", "ms", np.array([7.0], np.float32))
    assert sum(one.counts) == 1
    assert (one.p50, one.p99, one.max) == (7.0, 7.0, 7.0)

"""What the page shows of a run without reading its rows: real run directories, in every state."""

from __future__ import annotations

import json
import os
import time

import pytest

from batchlab.errors import UsageError
from batchlab.looking.opening import open_run
from batchlab.looking.overview.of_run import overview_of
from batchlab.looking.overview.sessions import GAP_S, sessions_of
from batchlab.store.history import Moment, history_of
from batchlab.store.integrity.checksums import append_records
from batchlab.store.layout import Layout
from tests.conftest import CANARY
from tests.looking.test_watching import running
from tests.scenarios.test_run import PROMPT, job

__all__ = ["running"]


def seen(place="runs/rows") -> dict:
    """The overview as the page gets it: through JSON."""
    return json.loads(json.dumps(overview_of(open_run(place)).json(), allow_nan=False))


PRICED = ("--price-in", "1", "--price-out", "2")


def test_a_finished_run_says_what_it_was_and_what_it_cost(here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(12), *PRICED, "-s", "Be short.", "--param", "seed=7"))

    page = seen()
    assert page["stage"] == "finished"
    assert page["counts"] | {"pending": 0} == page["counts"]
    assert page["counts"]["ok"] == page["rows"] == 12
    what = page["what"]
    assert (what["model"], what["system"], what["template"]) == ("sim", "Be short.", PROMPT)
    assert what["params"] == {"seed": 7}
    assert what["lane"] == what["endpoints"][0]["lane"] == "live"
    assert what["made_by"].startswith("batchlab ")
    assert what["started"] < what["ended"] <= time.time()
    assert page["cost"]["so_far"] == page["cost"]["kept"] == pytest.approx(page["cost"]["by_lane"][0]["usd"])
    assert page["cost"]["forecast"] is None
    assert page["now"] is None
    assert [(one["by"], one["how"]) for one in page["sessions"]] == [("live", "finished")]
    assert {one["name"]: one["kind"] for one in page["columns"]["input"]} == {"n": "number", "text": "text"}
    assert page["problems"] == page["losses"] == []


def test_no_key_is_on_the_page(here, simulator, rows_file, monkeypatch):
    monkeypatch.setenv("GATEWAY_KEY", "gw-1234567890")
    key = "sk-abcdefghijklmnop"
    more = ("--header", "x-gateway-key: env:GATEWAY_KEY", "-s", f"The key is {key}.")
    here(*job(simulator().base_url, rows_file(2), *more))

    text = json.dumps(seen())
    assert CANARY not in text
    assert "gw-1234567890" not in text
    assert key not in text
    assert "The key is ****." in text
    assert "env:GATEWAY_KEY" in text


def test_a_run_that_runs_says_how_it_goes_and_what_it_will_cost(running, here, tmp_path):
    deadline = time.time() + 30
    while (page := seen())["counts"]["ok"] < 30 and time.time() < deadline:
        time.sleep(0.1)

    assert page["stage"] == "running"
    assert page["now"]["in_flight"] > 0
    assert page["now"]["window"] > 0
    assert page["now"]["rows_per_s"] > 0
    assert page["now"]["parts"]
    assert page["cost"]["forecast"]["by"] == "rows"
    assert page["cost"]["forecast"]["usd"] > page["cost"]["so_far"] > 0
    assert page["sessions"][-1]["ended"] is None
    assert page["what"]["ended"] is None
    assert not [note for note in page["notes"] if "no final result" in note]

    running.kill()
    running.wait()
    page = seen()
    assert page["stage"] == "crashed"
    assert page["sessions"][-1]["how"] == "cut off"
    assert page["go_on"]["command"].startswith("batchlab run ")
    assert page["counts"]["pending"] > 0


def test_a_resumed_run_shows_each_of_its_sessions_and_why_it_ended(here, simulator, rows_file):
    server = simulator()
    words = job(server.base_url, rows_file(30), "-c", "1", "--max-tokens", "40")
    here(*words, "--max-tokens-total", "600")
    here(*words, "--max-tokens-total", "1000")
    here(*words)

    page = seen()
    assert [one["how"] for one in page["sessions"]] == ["budget", "budget", "finished"]
    times = [(one["began"], one["ended"]) for one in page["sessions"]]
    assert times == sorted(times)
    assert page["what"]["started"] == times[0][0]
    moments = history_of(open_run("runs/rows").path)
    assert [one.rows for one in moments] == sorted(one.rows for one in moments)
    assert moments[-1].rows == 30


def test_a_history_of_an_earlier_version_is_read_and_its_gaps_tell_sessions_apart():
    old = [
        {"at": 1000.0 + n, "window": 4, "in_flight": 3, "limited": 0, "errors": 0, "paused": False}
        for n in (0, 2, 4)
    ]
    later = [{**line, "at": line["at"] + GAP_S + 700} for line in old]

    moments = [Moment.of(line) for line in [*old, *later]]
    found = sessions_of(moments, None, runs=False, with_batches=False)

    assert [(one.began, one.ended, one.how) for one in found] == [(1000.0, 1004.0, ""), (1760.0, 1764.0, "")]
    assert moments[0].rows is moments[0].usd is moments[0].began is None


def test_lines_that_are_none_are_left_out_of_a_history(tmp_path):
    good = {"at": 1.0, "window": 1, "in_flight": 1, "limited": 0, "errors": 0, "paused": False}
    lines = [good, {**good, "at": "x"}, {"at": 3.0}, [], {**good, "why": "rate limit", "later": 1}]
    deep = "[" * 100_000
    text = "\n".join([*map(json.dumps, lines), '{"at": NaN}', deep, '{"at": 4.0, "win'])
    Layout(tmp_path).history.write_text(text)

    assert [(one.at, one.why) for one in history_of(tmp_path)] == [(1.0, ""), (1.0, "rate limit")]


def test_of_a_history_that_grows_only_what_is_new_is_read(tmp_path, monkeypatch):
    path = Layout(tmp_path).history
    line = {"at": 1.0, "window": 1, "in_flight": 1, "limited": 0, "errors": 0, "paused": False}
    path.write_text(json.dumps(line) + "\n" + json.dumps({**line, "at": 2.0})[:20])
    assert [one.at for one in history_of(tmp_path)] == [1.0]

    with path.open("a") as file:  # the line that was on its way comes whole, and another
        file.write(json.dumps({**line, "at": 2.0})[20:] + "\n" + json.dumps({**line, "at": 3.0}) + "\n")
    read: list[float] = []
    made = Moment.of
    monkeypatch.setattr(Moment, "of", lambda data: (read.append(data["at"]), made(data))[1])
    assert [one.at for one in history_of(tmp_path)] == [1.0, 2.0, 3.0]
    assert read == [2.0, 3.0]

    path.write_text(json.dumps({**line, "at": 9.0}) + "\n")  # another one
    assert [one.at for one in history_of(tmp_path)] == [9.0]


def test_what_is_damaged_is_said_and_the_rest_is_there(here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(30), "--shard-rows", "10", *PRICED))
    layout = open_run("runs/rows").layout
    whole = seen()
    layout.part(1).unlink()
    layout.batches.write_bytes(b"this is no record\n" * 3)
    append_records(layout.batches, [{"t": "absent", "key": "nobody's"}])
    layout.standing.write_text("{}")
    layout.history.write_bytes(os.urandom(200))

    page = seen()
    assert "completions/part-000001.parquet: gone (10 rows" in str(page["losses"] + page["problems"])
    assert any("batches.log" in problem for problem in page["problems"])
    assert page["what"] | {"started": 0, "ended": 0} == whole["what"] | {"started": 0, "ended": 0}
    assert page["counts"]["ok"] == 20
    assert page["counts"]["pending"] == 10


def test_a_footer_that_says_nothing_leaves_the_others(here, simulator, rows_file):
    here(*job(simulator().base_url, rows_file(30), "--shard-rows", "10"))
    layout = open_run("runs/rows").layout
    layout.checksums.unlink()
    layout.part(2).write_bytes(b"PAR1 and nothing else PAR1")

    page = seen()
    assert page["counts"]["ok"] == 20
    assert any("part-000002.parquet" in problem for problem in page["problems"])


def test_a_run_that_is_gone_or_from_a_newer_version_is_one_line(here, simulator, rows_file, tmp_path):
    here(*job(simulator().base_url, rows_file(2)))
    manifest = tmp_path / "runs/rows/run.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))

    with pytest.raises(UsageError, match="newer batchlab"):
        seen()
    manifest.unlink()
    with pytest.raises(UsageError, match="not a run directory"):
        seen()

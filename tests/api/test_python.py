"""batchlab in a Python program: rows in, frame out; results as they arrive; what is said when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import json
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import batchlab
import batchlab.api
from batchlab.errors import InputError, UsageError
from batchlab.guide import page
from batchlab.records import Completion, Failure
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.run_end import RunStopped
from batchlab.store.locked import LockedRun
from batchlab.store.view import RunView
from tests.conftest import CANARY, ROOT, environment

ASK = {"prompt": "Say it shorter: {text}", "model": "sim", "api_key_env": "SIMULATOR_KEY"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    return tmp_path


@pytest.fixture
def ask(simulator):
    """The keywords of a call that a fresh simulator answers; the simulator is its attribute."""

    def start(**options) -> dict:
        server = simulator(**options)
        return {**ASK, "base_url": server.base_url, "progress": "none", "server": server}

    return start


def frame_of(rows: int, **columns) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"remark {number}" for number in range(rows)], **columns})


def billed(server) -> int:
    return server.ledger()["billed"]


def call(keywords: dict, **more) -> dict:
    return {**{name: value for name, value in keywords.items() if name != "server"}, **more}


def test_the_docstrings_examples_are_true():
    results = doctest.testmod(batchlab.api)

    assert results.attempted > 10
    assert results.failed == 0


def test_a_frame_comes_back_with_its_own_columns_index_and_order_then_the_results(ask, capsys):
    keywords = ask()
    frame = frame_of(
        5,
        kind=pd.Categorical(list("abaab")),
        when=pd.date_range("2026-01-01", periods=5),
        mixed=pd.Series([1, "a", None, [2], {"x": 1}], dtype=object),
    ).set_axis(pd.Index(["r", "r", "s", "t", "u"], name="key"))

    answers = batchlab.run(frame, **call(keywords, prompt="{key}: {text} {mixed}", null_as="none"))

    pd.testing.assert_frame_equal(answers[frame.columns], frame)
    assert [*answers.columns] == [*frame.columns, *RESULT_COLUMNS]
    assert [*answers["status"]] == ["ok"] * 5
    assert [*answers["row_id"]] == [0, 1, 2, 3, 4]
    assert answers.attrs["batchlab"]["totals"]["ok"] == 5
    json.dumps(answers.attrs)  # pandas writes attrs as JSON into a Parquet file
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"run directory: {answers.attrs['batchlab']['run_dir']} ")
    loaded = batchlab.load(answers.attrs["batchlab"]["run_dir"])
    assert [*loaded.index] == [*frame.index]
    assert loaded.index.name == "key"
    assert [*loaded["completion"]] == [*answers["completion"]]


def test_the_same_call_again_sends_nothing_and_finds_its_run(ask):
    keywords = ask()
    first = batchlab.run(frame_of(4), **call(keywords))
    again = batchlab.run(frame_of(4), **call(keywords, concurrency=2, quiet=True))

    assert billed(keywords["server"]) == 4
    pd.testing.assert_frame_equal(first, again)
    assert again.attrs["batchlab"]["run_dir"] == first.attrs["batchlab"]["run_dir"]


def test_another_request_or_other_rows_are_another_run_unless_a_directory_is_named(ask):
    keywords = ask()
    runs = [
        batchlab.run(frame_of(2), **call(keywords)),
        batchlab.run(frame_of(2), **call(keywords, max_tokens=5)),
        batchlab.run(frame_of(3), **call(keywords)),
    ]

    assert len({run.attrs["batchlab"]["run_dir"] for run in runs}) == 3


def test_an_edited_frame_sends_its_new_and_changed_rows_only(ask, capsys):
    keywords = ask()
    frame = frame_of(6)
    before = batchlab.run(frame, **call(keywords, run_dir="runs/mine"))
    edited = pd.concat([frame.iloc[::-1], pd.DataFrame({"text": ["new"]})])
    edited.iloc[0, 0] = "changed"

    after = batchlab.run(edited, **call(keywords, run_dir="runs/mine"))

    assert billed(keywords["server"]) == 8
    assert len([*Path("runs/mine").glob("input-*")]) == 1
    assert [*after["completion"]][1:6] == [*before["completion"]][4::-1]
    assert "5 of 7 rows are answered and kept; 2 to send" in capsys.readouterr().err


def test_a_changed_request_in_a_named_directory_is_refused_until_fresh(ask):
    keywords = ask()
    batchlab.run(frame_of(2), **call(keywords, run_dir="runs/mine"))
    with pytest.raises(
        UsageError, match="Pass fresh=True to ask the new request, or another run_dir= to keep"
    ):
        batchlab.run(frame_of(2), **call(keywords, run_dir="runs/mine", max_tokens=5))

    again = batchlab.run(frame_of(2), **call(keywords, run_dir="runs/mine", max_tokens=5, fresh=True))

    assert [*again["completion_tokens"]] == [5, 5]


def test_tables_dicts_and_prompts_are_rows_too(ask):
    keywords = call(ask(), quiet=True)
    table = batchlab.run(pa.table({"text": ["a", "b"], "n": [1, 2]}), **keywords)
    dicts = batchlab.run([{"text": "a"}, {"text": "b", "n": None}], **keywords)
    prompts = batchlab.run(["Say hello.", "Say more."], **{**keywords, "prompt": None})

    assert [*table["status"]] == [*dicts["status"]] == [*prompts["status"]] == ["ok", "ok"]
    assert [*table.columns[:3]] == ["text", "n", "row_id"]
    assert [*prompts["prompt"]] == ["Say hello.", "Say more."]


def test_a_failed_row_is_a_row(ask):
    keywords = ask(context_tokens=40)
    frame = pd.DataFrame({"text": ["short", "long " * 200]})

    answers = batchlab.run(frame, **call(keywords))

    assert [*answers["status"]] == ["ok", "failed"]
    assert answers["error_class"].iloc[1] == "context_length"


def test_a_run_that_stops_early_raises_and_the_same_call_goes_on(ask):
    keywords = call(ask(), price_in=1.0, price_out=1.0, max_tokens=50, concurrency=1)
    frame = frame_of(30)
    with pytest.raises(RunStopped) as stopped:
        batchlab.run(frame, **keywords, max_cost=0.0005)

    error = stopped.value
    assert error.reason == "budget"
    assert "The same call goes on." in str(error)
    assert 0 < error.summary.totals.rows < 30
    assert (
        batchlab.load(error.summary.run_dir)["status"] == "pending"
    ).sum() == 30 - error.summary.totals.rows
    answers = batchlab.run(frame, **keywords, max_cost=1.0)
    assert len(answers) == 30
    assert answers.attrs["batchlab"]["sent"] == 30 - error.summary.totals.rows


@pytest.mark.parametrize(
    ("rows", "keywords", "said"),
    [
        (frame_of(2), {"prompt": "{txt}"}, "prompt: there is no column 'txt'; did you mean {text}?"),
        (frame_of(2), {"prompt": None}, "rows: no 'prompt' or 'messages' column; found: text. Pass prompt= with"),
        (frame_of(2, status="x"), {}, "rows: has columns that the results need: status. Pass prefix="),
        (pd.DataFrame({"text": ["a", None]}), {}, 'rows:2: column \'text\' is null; pass null_as="TEXT"'),
        (frame_of(0), {}, "rows: there are none."),
        ([], {}, "rows: there are none."),
        ([1], {}, "rows:1: type int is no row."),
        (5, {}, "type int is no rows"),
        (frame_of(2), {"concurency": 3}, "no keyword 'concurency'; did you mean 'concurrency'?"),
        (frame_of(2), {"concurrency": 0}, "concurrency: must be at least 1"),
        (frame_of(2), {"input": "x.csv"}, "both rows and input= are given"),
        (frame_of(2), {"run_dir": "file/run"}, "cannot be written"),
        ("rows.csv", {}, "rows.csv: a job file ends in .toml. To read rows from it, pass input='rows.csv'."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_sends_nothing_and_leaves_nothing(rows, keywords, said, home):
    Path("file").write_text("")
    asked = {**ASK, "base_url": "simulator", "progress": "none", **keywords}
    with pytest.raises(UsageError) as refused:
        batchlab.run(rows, **asked)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value._render_traceback_() == [f"{type(refused.value).__name__}: {refused.value}"]
    assert not [*home.glob("runs/*")]


def test_plan_takes_rows_and_writes_nothing(home):
    preview = batchlab.plan(frame_of(3), model="sim", prompt="{text}", base_url="simulator")

    assert preview.rows == 3
    assert preview.problems == []
    assert not [*home.iterdir()]
    assert (
        "no column" in batchlab.plan(frame_of(3), model="sim", prompt="{x}", base_url="simulator").problems[0]
    )


async def results_of(rows, **keywords) -> list[Completion | Failure]:
    return [result async for result in batchlab.stream(rows, quiet=True, **keywords)]


async def test_a_stream_hands_out_every_row_once_from_a_file_a_frame_or_an_iterable(ask, rows_file):
    keywords = call(ask())
    for rows in (rows_file(7), frame_of(7), ({"text": f"item {number}"} for number in range(7))):
        found = await results_of(rows, **keywords)

        assert sorted(result.row_id for result in found) == list(range(7))
        assert all(isinstance(result, Completion) for result in found)


async def test_a_stream_that_is_asked_again_hands_out_what_is_stored_and_sends_nothing(ask):
    keywords = ask()
    first = await results_of(frame_of(9), **call(keywords, run_dir="runs/s"), output__shard_rows=4)
    again = await results_of(frame_of(9), **call(keywords, run_dir="runs/s"), output__shard_rows=4)

    assert billed(keywords["server"]) == 9
    by_row = lambda found: sorted((result.row_id, result.reply.completion) for result in found)  # noqa: E731
    assert by_row(first) == by_row(again)


async def test_a_failure_that_the_last_pass_answers_is_handed_out_once_as_the_answer(ask):
    keywords = ask(faults=[{"kind": "http_500", "rate": 0.6}], seed=3)
    found = await results_of(frame_of(12), **call(keywords), limits__max_attempts=1)

    assert sorted(result.row_id for result in found) == list(range(12))
    stored = {result.row_id: type(result) for result in found}
    loaded = batchlab.load(next(Path("runs").iterdir()))
    assert [stored[row] is Failure for row in range(12)] == [*(loaded["status"] == "failed")]


async def test_a_stored_failure_that_is_asked_again_is_handed_out_once(ask):
    keywords = call(ask(faults=[{"kind": "http_500", "rate": 0.6}], seed=3), limits__max_attempts=1)
    async with contextlib.aclosing(batchlab.stream(frame_of(30), quiet=True, **keywords)) as results:
        async for result in results:
            assert isinstance(result, Completion)
            if result.row_id >= 10:
                break
    stored = batchlab.load(next(Path("runs").iterdir()))["status"]
    assert {"failed", "pending"} <= {*stored}

    found = await results_of(frame_of(30), **keywords)

    assert sorted(result.row_id for result in found) == list(range(30))


async def test_a_slow_program_holds_requests_back(ask):
    """Rows begun are at most those taken, those that wait, and those in flight when the buffer was full."""
    keywords = ask()
    async with contextlib.aclosing(
        batchlab.stream(frame_of(400), **call(keywords, concurrency=4), buffer=5, quiet=True)
    ) as results:
        taken = 0
        async for result in results:
            taken += 1
            if taken == 1:  # a result that was handed out is in the journal
                loaded = batchlab.load(next(Path("runs").iterdir()))
                assert loaded["status"].iloc[result.row_id] == "ok"
            if taken == 3:
                for _ in range(200):  # until nothing moves any more
                    before = billed(keywords["server"])
                    await asyncio.sleep(0.02)
                    if billed(keywords["server"]) == before:
                        break
                assert billed(keywords["server"]) <= 3 + 2 * 5 + 4
            if taken == 50:
                break
    assert billed(keywords["server"]) <= 50 + 2 * 5 + 4


async def test_leaving_a_stream_stops_in_order_and_the_same_call_goes_on(ask):
    keywords = ask(latency_median_s=0.05)
    first: list[int] = []
    async with contextlib.aclosing(
        batchlab.stream(frame_of(60), **call(keywords, concurrency=4), quiet=True)
    ) as results:
        async for result in results:
            first.append(result.row_id)
            if len(first) == 10:
                break

    run_dir = next(Path("runs").iterdir())
    loaded = batchlab.load(run_dir)
    sent = billed(keywords["server"])
    assert (loaded["status"] == "ok").sum() == sent < 60  # what was in flight has arrived, and is kept
    rest = await results_of(frame_of(60), **call(keywords, concurrency=4))
    assert sorted(result.row_id for result in rest) == list(range(60))
    assert billed(keywords["server"]) == 60


async def test_a_cancelled_program_stops_its_stream_in_order(ask):
    keywords = ask(latency_median_s=0.05)
    begun = asyncio.Event()

    async def program() -> None:
        async for _ in batchlab.stream(frame_of(60), **call(keywords, concurrency=4), quiet=True):
            begun.set()

    task = asyncio.create_task(program())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_asyncgens()

    loaded = batchlab.load(next(Path("runs").iterdir()))
    assert (loaded["status"] == "ok").sum() == billed(keywords["server"]) < 60
    assert not [thread for thread in threading.enumerate() if thread.name == "batchlab-run"]


async def test_a_stream_raises_what_run_raises(ask):
    with pytest.raises(UsageError, match="no column 'txt'"):
        await results_of(frame_of(2), **call(ask(), prompt="{txt}"))
    with pytest.raises(InputError, match="rows:2: type int is no row"):
        await results_of([{"text": "a"}, 7], **call(ask()))
    with pytest.raises(UsageError, match="buffer"):
        batchlab.stream(frame_of(2), **call(ask()), buffer=0)
    with pytest.raises(RunStopped, match="The same call goes on"):
        await results_of(
            frame_of(30), **call(ask(), price_in=1.0, price_out=1.0, max_tokens=50, max_cost=0.0005, concurrency=1)
        )  # fmt: skip


PROGRAM = """
    import sys, batchlab, pandas as pd
    frame = pd.DataFrame({"text": [f"remark {number}" for number in range(60)]})
    answers = batchlab.run(
        frame, prompt="Say it shorter: {text}", model="sim", base_url=sys.argv[1], api_key_env="SIMULATOR_KEY",
        concurrency=4, progress="json",
    )
    print((answers["status"] == "ok").sum())
"""


def started(base_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), base_url],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs the tests in the background ignores SIGINT, and so would the program
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_rows(process: subprocess.Popen[str], rows: int) -> str:
    """Reads the program's progress until `rows` are saved; what it said until then."""
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("{") and json.loads(line).get("saved", 0) >= rows:
            break
    return said


def test_ctrl_c_in_a_program_drains_and_the_same_call_goes_on(ask):
    server = ask(latency_median_s=0.1)["server"]
    process = started(server.base_url)
    wait_for_rows(process, 4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGINT
    assert "interrupted: sending nothing new" in said
    assert "KeyboardInterrupt: the rows so far: batchlab.load('runs/df-" in said
    assert (batchlab.load(next(Path("runs").iterdir()))["status"] == "ok").sum() == billed(server) < 60
    out, said = started(server.base_url).communicate(timeout=60)
    assert out.strip() == "60"
    assert "in flight" not in said
    assert billed(server) == 60


def test_a_second_ctrl_c_leaves_at_once_and_says_later_what_was_in_flight(ask):
    server = ask(latency_median_s=600.0)["server"]
    process = started(server.base_url)
    while server.ledger()["in_flight"] < 4:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if line.startswith("interrupted: sending nothing new"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == -signal.SIGINT
    path = next(Path("runs").iterdir())
    assert RunView.open(path).lock_holder() is None
    with contextlib.closing(LockedRun.open(path)) as run:
        totals, in_flight = run.standing(run.manifest.plan.shards)
    assert (totals.rows, in_flight) == (0, 4)


def test_a_killed_program_called_again_pays_for_no_journalled_row_twice(ask):
    server = ask(latency_median_s=0.1)["server"]
    process = started(server.base_url)
    wait_for_rows(process, 4)
    process.kill()
    process.communicate()

    done = batchlab.load(next(Path("runs").iterdir()))
    journalled = (done["status"] == "ok").sum()
    out, said = started(server.base_url).communicate(timeout=60)
    in_flight = int(
        re.search(r"cut off with (\d+) requests? in flight, which may be billed twice", said).group(1)
    )
    assert out.strip() == "60"
    assert f"resuming: {journalled} of 60 rows have a final result" in said
    assert 0 < in_flight <= 4
    assert billed(server) <= 60 + in_flight
    assert server.ledger()["billed_repeats"] == billed(server) - 60


@pytest.mark.proof  # mypy takes 13 s of CPU
def test_a_user_s_types_are_what_the_docs_say(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        textwrap.dedent("""
            import batchlab, pandas as pd
            from pathlib import Path

            async def main(frame: pd.DataFrame) -> None:
                reveal_type(batchlab.run(frame, model="m", max_tokens=5))
                reveal_type(batchlab.run([{"text": "a"}], model="m"))
                reveal_type(batchlab.run(["a"], model="m"))
                reveal_type(batchlab.run("job.toml"))
                reveal_type(batchlab.run(Path("job.toml"), fresh=True))
                reveal_type(batchlab.run(input="rows.csv", model="m"))
                reveal_type(batchlab.load("runs/x"))
                async for result in batchlab.stream(frame, model="m"):
                    reveal_type(result)
        """)
    )
    # the project's own settings, so that the linter's cache is this test's too
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(tmp_path / "user.py")], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    frames, summaries = "pandas.DataFrame", "batchlab.run_end.RunSummary"
    revealed = [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed type" in line]
    names = [name.replace("pandas.core.frame.DataFrame", frames) for name in revealed]
    assert names == [frames] * 3 + [summaries] * 3 + [
        frames,
        "batchlab.records.Completion | batchlab.records.Failure",
    ]


def test_the_guide_s_example_gives_a_row_for_each_of_the_file(home):
    (home / "sample_data").symlink_to(ROOT / "sample_data")
    names: dict = {}
    exec(page("python").split("```python\n")[1].split("```")[0], names)

    assert (home / "topics.parquet").exists()
    assert len(names["answers"]) == names["summary"].totals.ok + names["summary"].totals.truncated


def test_what_is_returned_reads_as_a_person_would_say_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    question = {"model": "m", "prompt": "Say {text}", "base_url": "simulator"}
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')

    plan = batchlab.plan([{"text": "a"}, {"text": "b"}], **question)
    summary = batchlab.run(input="rows.jsonl", progress="none", **question)

    assert repr(plan).startswith("input: rows: 2 rows, columns text\nto send: 2 requests\n")
    assert repr(summary).startswith("<RunSummary done: 2 rows = 2 ok; ")
    assert repr(summary).endswith(" s; runs/rows>")


def test_a_problem_names_the_keyword(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(batchlab.UsageError, match=r"^concurrency: must be at least 1$"):
        batchlab.run(["a"], model="m", base_url="simulator", concurrency=0)
    plan = batchlab.plan(["a"], model="m", base_url="simulator", max_cost=1.0)
    assert any("Pass price_in= and price_out=" in line for line in plan.lines), plan.lines

"""The main job through the real command, against the simulator, as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import CANARY, command, environment

PROMPT = "Say it shorter: {text}"


def job(base_url: str, rows: Path, *more: str) -> list[str]:
    """The words of a run of `rows` against a simulator."""
    return [
        "run",
        "-i",
        str(rows),
        "-m",
        "sim",
        "-p",
        PROMPT,
        "--base-url",
        base_url,
        "--api-key-env",
        "SIMULATOR_KEY",
        "--progress",
        "none",
        *more,
    ]


def parts(run: Path):
    return pq.read_table(sorted((run / "completions").glob("part-*.parquet")))


def test_a_file_of_prompts_comes_back_as_parquet_with_every_column(batchlab, simulator, rows_file, tmp_path):
    server = simulator()

    done = batchlab(*job(server.base_url, rows_file(25), "-o", "out.parquet", "--shard-rows", "10"))

    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names[:4] == ["n", "text", "row_id", "custom_id"]
    assert table["n"].to_pylist() == list(range(25))
    assert set(table["status"].to_pylist()) == {"ok"}
    assert all(table["completion"].to_pylist())
    assert server.ledger()["billed"] == 25
    assert sum(table["completion_tokens"].to_pylist()) == server.ledger()["completion_tokens"]
    assert sum(table["prompt_tokens"].to_pylist()) == server.ledger()["prompt_tokens"]
    assert [path.name for path in sorted((tmp_path / "runs/rows/completions").iterdir())] == [
        "part-000000.parquet",
        "part-000001.parquet",
        "part-000002.parquet",
    ]


def test_the_same_command_again_asks_for_nothing(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(25)
    batchlab(*job(server.base_url, rows))

    again = batchlab(*job(server.base_url, rows))

    assert again.code == 0
    assert "0 requests" in again.err
    assert server.ledger()["requests"] == 25


def test_added_edited_removed_and_moved_rows_cost_only_the_new_ones(batchlab, simulator, rows_file, tmp_path):
    server = simulator()
    rows = rows_file(6, texts=["a", "b", "b", "c", "d", "e"])
    batchlab(*job(server.base_url, rows))
    before = {row["text"]: row["completion"] for row in parts(tmp_path / "runs/rows").to_pylist()}

    rows_file(
        7, texts=["e", "b", "c", "b", "b", "new", "a"]
    )  # d removed, one b and "new" added, e and a moved
    again = batchlab(*job(server.base_url, rows))

    assert again.code == 0, again.err
    assert "5 of 7 rows are answered and kept; 2 to send" in again.err
    assert server.ledger()["requests"] == 6 + 2
    table = parts(tmp_path / "runs/rows").to_pylist()
    assert [row["text"] for row in table] == ["e", "b", "c", "b", "b", "new", "a"]
    assert {row["text"]: row["completion"] for row in table if row["text"] in "eca"} == {
        text: before[text] for text in "eca"
    }
    assert batchlab("verify", "runs/rows").code == 0


def test_another_file_of_the_same_name_does_not_take_over_the_run(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(), rows_file(3)
    batchlab(*job(server.base_url, rows))
    (tmp_path / "other").mkdir()

    refused = batchlab(*job(server.base_url, rows_file(4, name="other/rows.jsonl")))

    assert refused.code == 2
    assert "--run-dir" in refused.err
    assert server.ledger()["requests"] == 3


def test_changed_request_settings_are_refused_until_fresh(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(5)
    batchlab(*job(server.base_url, rows))

    refused = batchlab(*job(server.base_url, rows, "--temperature", "0.5"))
    assert refused.code == 2
    assert "--temperature: not set -> 0.5" in refused.err
    assert server.ledger()["requests"] == 5

    fresh = batchlab(*job(server.base_url, rows, "--temperature", "0.5", "--fresh"))
    assert fresh.code == 0, fresh.err
    assert server.ledger()["requests"] == 10

    back = batchlab(*job(server.base_url, rows, "--fresh"))
    assert back.code == 0, back.err


def test_more_max_tokens_alone_are_refused_with_the_way_to_ask_only_what_was_cut_off(
    batchlab, simulator, rows_file
):
    server, rows = simulator(), rows_file(5)
    short = job(server.base_url, rows, "--max-tokens", "3")
    batchlab(*short)

    def refused(*more: str) -> str:
        return batchlab(*job(server.base_url, rows, *more)).err

    way = "only the 5 that were cut off: batchlab retry runs/rows --only truncated --max-tokens "
    assert f"{way}400" in refused("--max-tokens", "400")
    assert f"{way}N" in refused()
    assert way not in refused("--max-tokens", "2")
    assert way not in refused("--max-tokens", "400", "--temperature", "0.5")
    assert server.ledger()["requests"] == 5


def test_limits_and_concurrency_may_change_on_resume(batchlab, simulator, rows_file):
    server, rows = simulator(), rows_file(5)
    batchlab(*job(server.base_url, rows))

    assert batchlab(*job(server.base_url, rows, "-c", "3", "--rpm", "600")).code == 0
    assert server.ledger()["requests"] == 5


def test_a_refused_key_stops_at_once_and_keeps_every_row_pending(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(), rows_file(50)

    refused = batchlab(*job(server.base_url, rows), SIMULATOR_KEY="wrong-" + CANARY)

    assert refused.code == 3
    assert "to go on: batchlab run" in refused.err
    status = json.loads(batchlab("status", "runs/rows", "--json").out)
    assert status["pending"] == 50
    assert server.ledger()["requests"] < 20

    assert batchlab(*job(server.base_url, rows)).code == 0


def test_server_errors_are_retried_until_the_rows_are_answered(batchlab, simulator, rows_file, tmp_path):
    server = simulator(faults=[{"kind": "http_503", "every": 9}])

    done = batchlab(*job(server.base_url, rows_file(30)))

    assert done.code == 0, done.err
    assert max(parts(tmp_path / "runs/rows")["attempts"].to_pylist()) >= 2


def test_a_queue_cap_slows_the_run_down_and_fails_no_row(batchlab, simulator, rows_file):
    server = simulator(queue_cap=5, latency_median_s=0.01)

    done = batchlab(*job(server.base_url, rows_file(100)))

    assert done.code == 0, done.err
    assert server.ledger()["billed"] == 100


def test_rows_that_failed_for_good_are_asked_again_by_retry_only(batchlab, simulator, rows_file, tmp_path):
    rows = rows_file(10)
    server = simulator(faults=[{"kind": "http_400", "rows": ["The 3th"], "times": 1}])

    first = batchlab(*job(server.base_url, rows))
    assert first.code == 1
    assert "1 failed" in first.err
    assert batchlab(*job(server.base_url, rows)).code == 1
    assert server.ledger()["requests"] == 10

    again = batchlab("retry", "runs/rows", "--progress", "none")
    assert again.code == 0, again.err
    assert server.ledger()["requests"] == 11
    assert set(parts(tmp_path / "runs/rows")["status"].to_pylist()) == {"ok"}


def test_a_wrong_model_stops_the_run_before_it_burns_the_rows(batchlab, simulator, rows_file):
    server = simulator(models=["other"])

    done = batchlab(*job(server.base_url, rows_file(200)))

    assert done.code == 3
    assert server.ledger()["requests"] < 20


def test_streamed_and_plain_runs_give_the_same_rows(batchlab, simulator, rows_file, tmp_path):
    rows = rows_file(12)
    plain, streamed = simulator(), simulator()

    batchlab(*job(plain.base_url, rows, "--run-dir", "runs/plain"))
    batchlab(*job(streamed.base_url, rows, "--run-dir", "runs/streamed", "--stream"))

    columns = [
        "text",
        "status",
        "completion",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
    ]
    assert parts(tmp_path / "runs/plain").select(columns) == parts(tmp_path / "runs/streamed").select(columns)
    assert all(value is not None for value in parts(tmp_path / "runs/streamed")["ttft_ms"].to_pylist())


def test_a_malformed_line_fails_its_row_and_loses_nothing(batchlab, simulator, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": "three"}\n')
    server = simulator()

    done = batchlab(*job(server.base_url, tmp_path / "rows.jsonl"))

    assert done.code == 1
    assert "rows.jsonl:2:" in done.err
    assert parts(tmp_path / "runs/rows")["status"].to_pylist() == ["ok", "failed", "ok"]
    assert parts(tmp_path / "runs/rows")["error_class"].to_pylist()[1] == "bad_input"
    assert batchlab("verify", "runs/rows").code == 0

    strict = batchlab(*job(server.base_url, tmp_path / "rows.jsonl", "--strict", "--run-dir", "runs/strict"))
    assert strict.code == 2
    assert not (tmp_path / "runs/strict").exists()


@pytest.mark.parametrize(
    ("content", "prompt", "said"),
    [
        ('{"text": "a"}\n', "{txt}", "text"),
        ('{"text": null}\n', "{text}", "rows.jsonl:1:"),
        ("", "{text}", "no rows"),
        ('{"text": "a", "completion": "b"}\n', "{text}", "--prefix"),
    ],
)
def test_what_is_wrong_with_an_input_is_one_line_and_nothing_is_sent(
    batchlab, simulator, tmp_path, content, prompt, said
):
    (tmp_path / "rows.jsonl").write_text(content)
    server = simulator()
    words = job(server.base_url, tmp_path / "rows.jsonl", "-p", prompt)

    done = batchlab(*words)

    assert done.code == 2
    assert said in done.err
    assert server.ledger()["requests"] == 0
    assert not (tmp_path / "runs").exists()


def test_standard_input_is_an_input(batchlab, simulator, tmp_path):
    server = simulator()
    words = ["run", "-i", "-", *job(server.base_url, tmp_path)[3:]]

    assert batchlab(*words, stdin='{"text": "one"}\n{"text": "two"}\n').code == 0
    assert batchlab(*words, stdin='{"text": "one"}\n{"text": "two"}\n').code == 0
    assert server.ledger()["requests"] == 2


def test_a_second_process_on_the_same_run_is_refused_with_pid_and_host(
    batchlab, simulator, rows_file, tmp_path
):
    server, rows = simulator(latency_median_s=5.0), rows_file(5)
    with subprocess.Popen(
        command(*job(server.base_url, rows)), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL
    ) as first:
        wait_for(lambda: server.ledger()["requests"] > 0)

        second = batchlab(*job(server.base_url, rows))
        status = batchlab("status", "runs/rows")
        first.kill()

    assert second.code == 2
    assert str(first.pid) in second.err
    assert os.uname().nodename in second.err
    assert status.code == 0
    assert str(first.pid) in status.out


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_p3_a_signal_drains_what_is_in_flight_and_nothing_is_paid_twice(
    simulator, batchlab, rows_file, tmp_path, number, code
):
    server, rows = simulator(latency_median_s=0.2), rows_file(60)
    with subprocess.Popen(
        command(*job(server.base_url, rows)),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        wait_for(lambda: server.ledger()["billed"] >= 3)
        first.send_signal(number)
        _, said = first.communicate(timeout=30)

    assert first.returncode == code
    assert "to go on: batchlab run" in said
    status = json.loads(batchlab("status", "runs/rows", "--json").out)
    assert status["totals"]["ok"] == server.ledger()["billed"]
    assert status["pending"] > 0

    assert batchlab(*job(server.base_url, rows)).code == 0
    assert server.ledger()["billed_repeats"] == 0
    assert server.ledger()["billed"] == 60


def test_a_second_ctrl_c_leaves_at_once_and_the_run_goes_on_later(simulator, batchlab, rows_file, tmp_path):
    server, rows = (
        simulator(latency_median_s=0.1, faults=[{"kind": "hang", "rows": ["The 3th"]}]),
        rows_file(30),
    )
    words = job(server.base_url, rows)
    with subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as first:
        wait_for(lambda: server.ledger()["billed"] >= 5)
        first.send_signal(signal.SIGINT)
        wait_for(lambda: server.ledger()["in_flight"] <= 1)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=30)

    assert first.returncode == 130
    assert "left at once" in said
    saved = json.loads(batchlab("status", "runs/rows", "--json").out)["totals"]["ok"]
    done = batchlab(*words)
    assert done.code == 0, done.err
    assert "with 1 request in flight" in done.err
    assert server.ledger()["billed_repeats"] == 1  # the one that hung, billed each time
    assert saved >= 4


def test_a_budget_is_never_passed_and_a_higher_one_goes_on(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(), rows_file(200)
    price = ("--price-in", "1000", "--price-out", "1000", "--max-tokens", "50")

    capped = batchlab(*job(server.base_url, rows, *price, "--max-cost", "6"))

    assert capped.code == 3
    ledger = server.ledger()
    spent = (ledger["prompt_tokens"] + ledger["completion_tokens"]) / 1000
    assert 0.97 * 6 <= spent <= 6

    assert batchlab(*job(server.base_url, rows, *price, "--max-cost", "1000")).code == 0
    assert server.ledger()["billed"] == 200


def test_a_truncated_row_is_asked_once_more_and_the_first_answer_is_accounted(
    batchlab, simulator, rows_file, tmp_path
):
    server, rows = simulator(tokens_median=30.0, tokens_sigma=0.0), rows_file(10)

    kept = batchlab(*job(server.base_url, rows, "--max-tokens", "20", "--run-dir", "runs/kept"))
    assert kept.code == 0
    assert set(parts(tmp_path / "runs/kept")["status"].to_pylist()) == {"truncated"}

    server.reset()
    done = batchlab(*job(server.base_url, rows, "--max-tokens", "20", "--retry-truncated", "2"))
    assert done.code == 0, done.err
    table = parts(tmp_path / "runs/rows")
    assert set(table["status"].to_pylist()) == {"ok"}
    assert set(table["wasted_completion_tokens"].to_pylist()) == {20}
    assert set(table["attempts"].to_pylist()) == {2}
    ledger = server.ledger()
    used = sum(table["completion_tokens"].to_pylist()) + sum(table["wasted_completion_tokens"].to_pylist())
    assert used == ledger["completion_tokens"]


def test_an_empty_answer_is_flagged_and_asked_again_only_on_request(batchlab, simulator, rows_file, tmp_path):
    rows = rows_file(6)
    faults = [{"kind": "null_content", "rows": ["The 2th"]}]

    flagged = batchlab(*job(simulator(faults=faults).base_url, rows, "--run-dir", "runs/flagged"))
    assert flagged.code == 0
    assert parts(tmp_path / "runs/flagged")["error_class"].to_pylist() == [
        None,
        None,
        "empty",
        None,
        None,
        None,
    ]

    again = batchlab(*job(simulator(faults=faults).base_url, rows, "--retry-empty", "2"))
    assert again.code == 0
    assert parts(tmp_path / "runs/rows")["error_class"].to_pylist() == [None] * 6
    assert parts(tmp_path / "runs/rows")["wasted_prompt_tokens"].to_pylist()[2] == 5


def test_a_pause_longer_than_max_pause_stops_with_the_time_to_come_back(batchlab, simulator, rows_file):
    server, rows = simulator(faults=[{"kind": "rate_limit_huge", "rows": ["The 4th"]}]), rows_file(10)

    stopped = batchlab(*job(server.base_url, rows))

    assert stopped.code == 3
    assert "Come back at" in stopped.err
    assert batchlab(*job(server.base_url, rows)).code == 0


@pytest.mark.parametrize("more", [[], ["--processes", "2", "--shard-rows", "20"]])
def test_a_deadline_stops_in_order_and_the_same_command_goes_on(batchlab, simulator, rows_file, more):
    server, rows = simulator(latency_median_s=0.2, queue_cap=2), rows_file(40)

    stopped = batchlab(*job(server.base_url, rows, "--deadline", "1s", *more))

    assert stopped.code == 3
    assert "deadline" in stopped.err
    assert batchlab(*job(server.base_url, rows, *more)).code == 0
    assert server.ledger()["billed_repeats"] == 0


def test_a_cap_on_an_unknown_price_refuses_to_start(batchlab, simulator, rows_file):
    server = simulator()

    done = batchlab(*job(server.base_url, rows_file(3), "--max-cost", "1"))

    assert done.code == 2
    assert "price" in done.err
    assert server.ledger()["requests"] == 0


def test_status_verify_and_export_of_an_unfinished_run(batchlab, simulator, rows_file, tmp_path):
    server, rows = simulator(latency_median_s=0.05), rows_file(40)
    with subprocess.Popen(
        command(*job(server.base_url, rows, "--shard-rows", "10")),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as first:
        wait_for(lambda: server.ledger()["billed"] >= 15)
        first.kill()

    verified = batchlab("verify", "runs/rows")
    assert (verified.code, "whole so far" in verified.out) == (3, True)
    exported = batchlab("export", "runs/rows", "-o", "part.jsonl")
    assert exported.code == 0, exported.err
    rows_out = [json.loads(line) for line in (tmp_path / "part.jsonl").read_text().splitlines()]
    assert [row["n"] for row in rows_out] == list(range(40))
    assert {row["status"] for row in rows_out} == {"ok", "pending"}

    finished = batchlab(*job(server.base_url, rows, "--shard-rows", "10"))
    assert finished.code == 0
    assert "may be billed twice" in finished.err


def test_the_key_is_in_no_file_of_a_run(batchlab, simulator, rows_file, tmp_path):
    server = simulator(faults=[{"kind": "http_503", "every": 4}])
    batchlab(*job(server.base_url, rows_file(20), "-o", "out.csv"))

    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    assert files
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def wait_for(condition) -> None:
    """Returns when `condition` holds; the only way to know what another process has done."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited 30 s in vain"
        time.sleep(0.01)


def test_an_output_file_that_cannot_be_written_ends_a_paid_run_with_exit_code_3(
    batchlab, simulator, rows_file, tmp_path
):
    """2 would say that nothing was sent."""
    (tmp_path / "file").write_text("")
    words = job(simulator().base_url, rows_file(5), "-o", "file/out.csv")

    done = batchlab(*words)

    assert done.code == 3, done.err
    assert "file/out.csv: cannot write the output file" in done.err
    assert "5 ok" in done.err


def test_a_finished_run_is_exported_without_its_input(batchlab, simulator, rows_file, tmp_path):
    rows = rows_file(5)
    assert batchlab(*job(simulator().base_url, rows)).code == 0
    rows.unlink()

    done = batchlab("export", "runs/rows", "-o", "out.csv")

    assert done.code == 0, done.err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6

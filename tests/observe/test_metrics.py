"""The metrics file as Prometheus' own parser reads it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchlab.errors import UsageError
from batchlab.job import EndpointJob, InputJob, Job, RequestJob
from batchlab.job.file import job_from
from batchlab.observe.facts import RunFacts
from batchlab.observe.metrics import EVERY_S, Life, MetricsFile, metrics_text
from batchlab.run_state import RunState
from batchlab.totals import Totals
from tests.conftest import command, environment
from tests.scenarios.test_run import job, wait_for


def samples(text: str) -> dict[tuple, float]:
    """(name, value of the label beside `run`) to value; every family must have a type and a help text."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type in {"gauge", "counter"}
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, *(value for name, value in sample.labels.items() if name != "run"))
            assert key not in found
            assert "run" in sample.labels
            found[key] = sample.value
    return found


def facts(rows: int = 10, model: str = "sim") -> RunFacts:
    described = Job(InputJob("rows.jsonl"), (EndpointJob(),), RequestJob(model=model))
    return RunFacts("/runs/rows", described, RunState(rows=rows))


def text_of(totals: Totals, **more) -> str:
    return metrics_text(facts(**more), RunState(rows=10, earlier=totals), Life(started_at=1.0, at=2.0))


def test_a_run_leaves_its_numbers_and_how_it_ended(batchlab, simulator, rows_file, tmp_path):
    fault = {"kind": "answer", "status": 400, "body": "{}", "rows": ["The 3th "], "times": 99}
    server = simulator(faults=[fault])

    done = batchlab(
        *job(
            server.base_url,
            rows_file(20),
            "--metrics-file",
            "run.prom",
            "--price-in",
            "1",
            "--price-out",
            "2",
        )
    )

    assert done.code == 1, done.err
    text = (tmp_path / "run.prom").read_text()
    found, ledger = samples(text), server.ledger()
    assert found["batchlab_rows_total", "ok"] == found["batchlab_input_rows", "ok"] == 19
    assert found["batchlab_rows_total", "failed"] == found["batchlab_input_rows", "failed"] == 1
    assert found["batchlab_input_rows", "pending"] == 0
    assert found["batchlab_tokens_total", "prompt"] == ledger["prompt_tokens"]
    assert found["batchlab_tokens_total", "completion"] == ledger["completion_tokens"]
    cost = (ledger["prompt_tokens"] + 2 * ledger["completion_tokens"]) / 1e6
    assert found["batchlab_cost_usd_total",] == pytest.approx(cost)
    assert found["batchlab_requests_sent_total",] == ledger["requests"] == 20
    assert found["batchlab_run_state", "finished"] == 1
    assert found["batchlab_run_state", "running"] == 0
    assert found["batchlab_exit_code",] == 1
    assert found["batchlab_run_info", "sim", "0.1.0"] == 1
    assert f'run="{tmp_path}/runs/rows"' in text
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["run.prom"]
    assert stat.S_IMODE((tmp_path / "run.prom").stat().st_mode) & 0o044, "another user's collector reads it"


def test_an_interrupted_run_says_so_and_the_next_one_counts_on(batchlab, simulator, rows_file, tmp_path):
    server = simulator(latency_median_s=0.2)
    words = job(server.base_url, rows_file(30), "-c", "4", "--metrics-file", "run.prom")
    file = tmp_path / "run.prom"
    with subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as run:
        wait_for(lambda: server.ledger()["billed"] >= 4)
        before = samples(file.read_text())
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    after = samples(file.read_text())

    assert before["batchlab_run_state", "running"] == 1
    assert ("batchlab_exit_code",) not in before
    assert after["batchlab_run_state", "interrupted"] == 1
    assert after["batchlab_stop_info", "interrupted"] == 1
    assert after["batchlab_exit_code",] == 143
    kept = after["batchlab_rows_total", "ok"]
    assert 0 < kept < 30
    assert after["batchlab_input_rows", "pending"] == 30 - kept

    assert batchlab(*words).code == 0
    last = samples(file.read_text())
    assert last["batchlab_rows_total", "ok"] == 30
    assert last["batchlab_requests_sent_total",] == 30 - kept


def test_an_unknown_cost_is_left_out_and_is_never_zero():
    answered = Totals(rows=2, ok=2, rows_without_cost=2)

    thrown_away = Totals(rows=1, failed=1, wasted_prompt_tokens=9, waste_without_cost=1)
    for unknown in (answered, thrown_away):
        assert "batchlab_cost_usd_total" not in text_of(unknown)
    for nothing in (Totals(), Totals(rows=2, ok=2)):
        assert samples(text_of(nothing))["batchlab_cost_usd_total",] == 0
    partly = Totals(rows=2, ok=2, rows_without_cost=1, cost_usd=0.5, cost_wasted_usd=0.25)
    found = samples(text_of(partly))
    assert found["batchlab_cost_usd_total",] == 0.75
    assert found["batchlab_rows_without_cost",] == 1


@pytest.mark.parametrize(
    "model", ['a"b', "a\\b", "a\nb", "a\\nb", '"} 1\nevil 1\n#', "é漢🙂", "a{b}=,c", "x\u2028y\x85z\r"]
)
def test_no_name_of_a_model_can_break_the_format(model):
    text = text_of(Totals(), model=model)
    info = [family for family in text_string_to_metric_families(text) if family.name == "batchlab_run_info"]

    expected = "".join(one if one == "\n" or one.isprintable() else " " for one in model)
    assert info[0].samples[0].labels["model"] == expected
    assert "evil" not in {family.name for family in text_string_to_metric_families(text)}


def test_it_is_written_every_10_seconds(tmp_path):
    class Clock:
        now = 1_000.0

        def __call__(self) -> float:
            return self.now

    clock, path = Clock(), tmp_path / "run.prom"
    written = []
    file = MetricsFile(str(path), print, clock=clock)
    file.started(facts())
    for _ in range(164):
        clock.now += 0.25
        file.update(RunState(window=7))
        written.append(samples(path.read_text())["batchlab_last_update_timestamp_seconds",])

    assert EVERY_S == 10.0
    assert sorted(set(written)) == [1_000, 1_010, 1_020, 1_030, 1_040]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(
    batchlab, simulator, rows_file, tmp_path
):
    server, rows = simulator(), rows_file(3)
    (tmp_path / "notes.txt").write_text("mine\n")
    done = batchlab(*job(server.base_url, rows, "--metrics-file", "missing/run.prom"))
    assert done.code == 2
    assert "missing/run.prom: the metrics file cannot be written: No such file or directory." in done.err
    with pytest.raises(UsageError, match="Is a directory"):
        MetricsFile(str(tmp_path), print)
    with pytest.raises(UsageError, match="not a metrics file of batchlab"):
        MetricsFile(str(tmp_path / "notes.txt"), print)
    with pytest.raises(
        UsageError, match=r"output\.metrics_file: 'rows\.jsonl' would be written over the input"
    ):
        job_from(
            {
                "input": {"path": "rows.jsonl"},
                "request": {"model": "m"},
                "output": {"metrics_file": "rows.jsonl"},
            }
        )
    assert server.ledger()["requests"] == 0
    MetricsFile(str(tmp_path / "new.prom"), print)
    assert not list(tmp_path.glob("*.prom*")), "a check leaves nothing behind"
    assert (tmp_path / "notes.txt").read_text() == "mine\n"
    assert not (tmp_path / "runs").exists()


def test_a_file_that_cannot_be_written_any_more_is_said_once_and_ends_nothing(tmp_path):
    said: list[str] = []
    clock = iter(range(0, 10_000, 20))
    place = tmp_path / "metrics"
    place.mkdir()
    file = MetricsFile(str(place / "run.prom"), said.append, clock=lambda: float(next(clock)))
    file.started(facts())
    (place / "run.prom").unlink()
    place.rmdir()

    for _ in range(3):
        file.update(RunState())

    assert len(said) == 1
    assert "No such file or directory" in said[0]
    assert "the run goes on" in said[0]


def test_a_refused_second_process_leaves_the_first_one_s_file_alone(simulator, batchlab, rows_file, tmp_path):
    server = simulator(latency_median_s=0.3)
    words = job(server.base_url, rows_file(200), "-c", "2", "--metrics-file", "run.prom")
    began = "batchlab_start_timestamp_seconds"
    with subprocess.Popen(command(*words), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE) as first:
        wait_for(lambda: server.ledger()["billed"] >= 1)
        before = samples((tmp_path / "run.prom").read_text())
        second = batchlab(*words)
        assert second.code == 2
        assert "in use by" in second.err
        after = samples((tmp_path / "run.prom").read_text())
        assert after["batchlab_run_state", "running"] == 1
        assert after[began,] == before[began,]
        first.terminate()
        first.communicate(timeout=60)


def test_a_job_file_may_name_the_files(batchlab, simulator, rows_file, tmp_path):
    server = simulator()
    (tmp_path / "job.toml").write_text(
        f"""
        input = {{ path = {json.dumps(str(rows_file(3)))} }}
        endpoint = {{ base_url = "{server.base_url}", api_key_env = "SIMULATOR_KEY" }}
        request = {{ model = "sim", prompt = "{{text}}" }}
        output = {{ metrics_file = "a.prom", log_file = "a.log" }}
        """
    )

    assert batchlab("run", "job.toml", "-q").code == 0
    assert Path(tmp_path / "a.prom").exists()
    assert Path(tmp_path / "a.log").exists()

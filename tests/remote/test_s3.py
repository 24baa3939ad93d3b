"""Runs from and to a real S3 server (moto on loopback), with kills, refusals and changes.

Needs `pip install s3fs 'moto[server]'`; skipped without.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.remote import presence, storage
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.locked import LockedRun
from tests.canary import files_with_key
from tests.conftest import CANARY, Finished, command, ended_here, environment
from tests.remote.store import DENIED, EXPIRED, SECRET, UNKNOWN_KEY, Door, moto, s3_environment

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto")
pytest.importorskip("s3fs")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    process, port = moto()
    door = Door(port)
    door.start()
    yield door
    door.stop()
    process.kill()
    process.communicate()


class Bucket:
    """A bucket of one test, as the store itself sees it."""

    def __init__(self, name: str, door: Door) -> None:
        self.name, self.door = name, door
        self.client = boto3.client("s3", **_client(f"http://127.0.0.1:{door.port}"))
        self.client.create_bucket(Bucket=name)
        self.url = f"s3://{name}"
        self.env = s3_environment(door.url)

    def put(self, key: str, content: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def etags(self, prefix: str = "") -> dict[str, str]:
        """Key → ETag."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return {item["Key"]: item["ETag"] for item in found}

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        """All rows of the Parquet objects under a prefix."""
        tables = [pq.read_table(io.BytesIO(self.get(key))) for key in sorted(self.etags(prefix))]
        return [row for table in tables for row in table.to_pylist()]


def _client(url: str) -> dict[str, str]:
    env = s3_environment(url)
    return {
        "endpoint_url": url,
        "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        "region_name": "us-east-1",
    }


@pytest.fixture
def bucket(door: Door, request: pytest.FixtureRequest) -> Bucket:
    door.refuse.clear()
    door.seen.clear()
    return Bucket(f"b-{zlib.crc32(request.node.name.encode()):x}", door)


@pytest.fixture
def at(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Runs the command on a machine: a directory of its own under `tmp_path`.

    In this process, because importing a store's library takes longer than a small run.
    """
    for name, value in {**environment(**bucket.env)}.items():
        monkeypatch.setenv(name, value)

    def run(machine: str, *words: str) -> Finished:
        home = tmp_path / machine
        home.mkdir(exist_ok=True)
        monkeypatch.chdir(home)
        done = ended_here(monkeypatch, capsys, words)
        assert SECRET not in done.out + done.err
        return done

    return run


def lines(rows: range) -> bytes:
    return b"".join(json.dumps({"n": row, "text": f"The {row}th remark."}).encode() + b"\n" for row in rows)


def job(bucket: Bucket, base_url: str, source: str, *more: str) -> list[str]:
    words = ["run", "-i", source, "-m", "sim", "-p", "Say it shorter: {text}", "--base-url", base_url]
    words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "none", "--shard-rows", "100"]
    return [*words, "--run-dir", f"{bucket.url}/runs/x", *more]


def test_a_run_reads_writes_and_exports_at_urls_and_any_machine_can_read_it(bucket, at, simulator, tmp_path):
    source = bucket.put("in/prompts.jsonl", lines(range(350)))
    provider = simulator()

    done = at("one", *job(bucket, provider.base_url, source, "-o", f"{bucket.url}/out.csv"))

    assert done.code == 0, done.err
    assert f"parts go to {bucket.url}/runs/x" in done.err
    assert sorted(bucket.etags("runs/x/")) == [
        "runs/x/checksums.log",
        *(f"runs/x/completions/part-{part:06d}.parquet" for part in range(4)),
        "runs/x/history.jsonl",
        "runs/x/run.json",
    ]
    assert [row["n"] for row in bucket.rows("runs/x/completions/")] == list(range(350))
    assert bucket.get("out.csv").count(b"The ") >= 350
    # another machine, which has nothing of the run and whose input is gone
    bucket.delete("in/prompts.jsonl")
    url = f"{bucket.url}/runs/x"
    assert "350 answered" in at("two", "status", url).out
    assert "verified" in at("two", "verify", url).out
    assert "350" in at("two", "cost", url).out
    assert at("two", "export", url, "-o", "here.parquet").code == 0
    assert pq.read_metadata(tmp_path / "two" / "here.parquet").num_rows == 350
    assert not (tmp_path / "two" / "runs").exists()
    assert provider.ledger()["requests"] == 350
    # P8: neither the provider's key nor the store's is in a file or an object
    assert not files_with_key(tmp_path)
    stored = b"".join(bucket.get(key) for key in bucket.etags())
    assert CANARY.encode() not in stored
    assert SECRET.encode() not in stored
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def stopped(
    bucket: Bucket, home: Path, words: list[str], number: signal.Signals, *, parts: int
) -> tuple[int, str]:
    """Starts a run and signals it when the store has some parts of it; its exit code and what it said."""
    home.mkdir(exist_ok=True)
    process = subprocess.Popen(
        command(*words), cwd=home, env=environment(**bucket.env), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(bucket.etags("runs/x/completions/")) < parts:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate()[1]
    return process.returncode, said


def test_a_killed_run_goes_on_and_sends_no_sealed_part_again(bucket, at, simulator, tmp_path):
    source = bucket.put("prompts.jsonl", lines(range(600)))
    provider = simulator(latency_median_s=0.03)
    words = job(bucket, provider.base_url, source, "-c", "16")
    stopped(bucket, tmp_path / "one", words, signal.SIGKILL, parts=2)
    before = bucket.etags("runs/x/completions/")
    assert len(before) < 6
    bucket.door.seen.clear()

    done = at("one", *words)

    assert done.code == 0, done.err
    assert "resuming:" in done.err
    after = bucket.etags("runs/x/completions/")
    assert len(after) == 6
    assert {key: after[key] for key in before} == before
    names = [key.rpartition("/")[2] for key in before]
    put_again = [name for name in names if bucket.door.count(f"PUT .*{name}")]
    assert len(put_again) <= 1  # the one whose upload the kill may have kept from being noted
    assert all(bucket.door.count(f"GET .*{name}") == 0 for name in set(names) - set(put_again))
    assert [row["n"] for row in bucket.rows("runs/x/completions/")] == list(range(600))
    ledger = provider.ledger()
    assert ledger["distinct"] == 600
    assert ledger["billed_repeats"] <= 16
    assert "600 ok" in at("one", "verify", f"{bucket.url}/runs/x").out
    assert "verified" in at("two", "verify", f"{bucket.url}/runs/x").out


def test_another_machine_takes_over_only_what_nobody_is_at_and_the_first_is_refused_then(
    bucket, at, simulator, tmp_path
):
    source = bucket.put("prompts.jsonl", lines(range(600)))
    provider = simulator(latency_median_s=0.03)
    words = job(bucket, provider.base_url, source, "-c", "16")
    stopped(bucket, tmp_path / "one", words, signal.SIGKILL, parts=2)

    live = at("two", *words)
    assert live.code == 2
    assert "was at work here" in live.err
    stale = {**json.loads(bucket.get("runs/x/lease.json")), "at": time.time() - 600}
    bucket.put("runs/x/lease.json", json.dumps(stale).encode())
    parts = len(bucket.etags("runs/x/completions/"))
    requests = provider.ledger()["requests"]
    done = at("two", *words)

    assert done.code == 0, done.err
    assert f"{parts} of 6 parts are there" in done.err
    assert f"resuming: {parts * 100} of 600 rows" in done.err
    assert provider.ledger()["requests"] - requests == 600 - parts * 100
    assert "verified" in at("two", "verify", f"{bucket.url}/runs/x").out
    assert [row["n"] for row in bucket.rows("runs/x/completions/")] == list(range(600))
    late = at("one", *words)
    assert late.code == 2
    assert "went on elsewhere" in late.err


@pytest.mark.parametrize(
    ("pattern", "status", "body", "said"),
    [
        (r"PUT .*/run\.json", 403, DENIED, "run.json: access denied"),
        (r"GET .*run\.json", 400, EXPIRED, "runs/x: access denied (The provided token has expired)"),
        (r"(GET|HEAD) .*prompts", 403, DENIED, "prompts.jsonl: cannot be read: access denied"),
    ],
)
def test_a_store_that_refuses_is_one_line_and_nothing_is_sent(
    bucket, at, simulator, tmp_path, pattern, status, body, said
):
    source = bucket.put("prompts.jsonl", lines(range(5)))
    provider = simulator()
    bucket.door.refuse.append((pattern, status, body))

    done = at("one", *job(bucket, provider.base_url, source))

    assert done.code == 2, done.err
    assert said in done.err.splitlines()[-1]
    assert provider.ledger()["requests"] == 0
    assert not (tmp_path / "one" / "runs" / f"s3-{bucket.name}-runs-x").exists()


def test_places_that_are_not_there_are_one_line_each(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(5)))
    url = simulator().base_url

    for words, said in (
        (job(bucket, url, f"{bucket.url}/none.jsonl"), "none.jsonl: cannot be read: no such object."),
        (
            job(bucket, url, "s3://no-such/x.jsonl"),
            "s3://no-such/x.jsonl: cannot be read: no such bucket; create it",
        ),
        (
            job(bucket, url, source, "-o", "s3://no-such/x.csv"),
            "s3://no-such/x.csv: no such bucket; create it",
        ),
        (
            job(bucket, url, source, "--run-dir", "s3://no-such/x"),
            "s3://no-such/x/run.json: no such bucket; create it",
        ),
        (["verify", f"{bucket.url}/none"], f"{bucket.url}/none: not a run directory"),
    ):
        done = at("one", *words)
        assert done.code == 2, done.err
        assert said in done.err


def test_keys_that_the_store_does_not_know_are_said_before_anything_is_paid(bucket, at, simulator):
    """A store may hide a bucket from a key that may write there, but not from one it does not know."""
    source = bucket.put("prompts.jsonl", lines(range(5)))
    provider = simulator()
    words = job(bucket, provider.base_url, source, "-o", f"{bucket.url}/new.jsonl")
    bucket.door.refuse += [
        (rf"HEAD /{bucket.name} ", 403, b""),
        (r"(GET|PUT) .*new\.jsonl", 403, UNKNOWN_KEY),
    ]

    done = at("one", *words)

    assert done.code == 2, done.err
    assert "new.jsonl: access denied (The AWS Access Key Id" in done.err.splitlines()[-1]
    assert "check the credentials" in done.err.splitlines()[-1]
    assert provider.ledger()["requests"] == 0
    bucket.door.refuse = [(rf"HEAD /{bucket.name} ", 403, b""), (r"GET .*new\.jsonl", 403, DENIED)]
    assert at("one", *words).code == 0


def test_an_upload_that_fails_stops_nothing_and_the_next_run_makes_up_for_it(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(300)))
    provider = simulator()
    words = job(bucket, provider.base_url, source, "-o", f"{bucket.url}/out.jsonl")
    bucket.door.refuse.append((r"PUT .*part-00000[12]", 403, DENIED))

    failed = at("one", *words)

    assert failed.code == 3, failed.err
    assert "done" not in failed.err
    assert "part-000001.parquet: access denied" in failed.err
    assert "the next run uploads the rest" in failed.err
    assert list(bucket.etags("runs/x/completions/")) == ["runs/x/completions/part-000000.parquet"]
    bucket.door.refuse.clear()
    again = at("one", *words)
    assert again.code == 0, again.err
    assert provider.ledger()["requests"] == 300
    assert len(bucket.etags("runs/x/completions/")) == 3
    assert bucket.get("out.jsonl").count(b"\n") == 300
    assert "verified" in at("two", "verify", f"{bucket.url}/runs/x").out


def test_an_output_that_cannot_be_written_leaves_the_old_one_and_exit_code_3(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(20)))
    bucket.put("out.jsonl", b"the old one\n")
    bucket.door.refuse.append((r"PUT .*out\.jsonl", 403, DENIED))
    words = job(bucket, simulator().base_url, source, "-o", f"{bucket.url}/out.jsonl")

    done = at("one", *words)

    assert done.code == 3, done.err
    assert "out.jsonl: cannot write the output file: access denied" in done.err
    assert bucket.get("out.jsonl") == b"the old one\n"


def test_a_changed_object_is_noticed_and_costs_only_its_new_rows(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(250)))
    provider = simulator()
    words = job(bucket, provider.base_url, source)
    assert at("one", *words).code == 0
    # the same size, the same name, another content: rows 100 and 101 change places
    rows = lines(range(250)).splitlines(keepends=True)
    rows[100], rows[101] = rows[101], rows[100].replace(b"100th", b"xyzth")
    bucket.put("prompts.jsonl", b"".join(rows))

    done = at("one", *words)

    assert done.code == 0, done.err
    assert "249 of 250 rows are answered and kept; 1 to send" in done.err
    assert provider.ledger()["requests"] == 251
    texts = [row["text"] for row in bucket.rows("runs/x/completions/")]
    assert texts == [json.loads(row)["text"] for row in rows]
    assert len(bucket.etags("runs/x/previous/1/completions/")) == 3
    assert "verified" in at("two", "verify", f"{bucket.url}/runs/x").out


@pytest.mark.parametrize("machine", ["one", "two"])
def test_retry_replaces_the_part_at_the_url_from_any_machine(bucket, at, simulator, machine):
    source = bucket.put("prompts.jsonl", lines(range(120)))
    provider = simulator(faults=[{"kind": "http_400", "rows": ["The 3th"], "times": 1}])
    assert at("one", *job(bucket, provider.base_url, source)).code == 1

    done = at(machine, "retry", f"{bucket.url}/runs/x")

    assert done.code == 0, done.err
    rows = bucket.rows("runs/x/completions/")
    assert {row["status"] for row in rows} <= {"ok", "truncated"}
    assert provider.ledger()["requests"] == 121
    assert "verified" in at("three", "verify", f"{bucket.url}/runs/x").out


def test_a_part_that_somebody_else_wrote_is_not_replaced(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(120)))
    bucket.put("runs/x/completions/part-000001.parquet", b"somebody else's")

    done = at("one", *job(bucket, simulator().base_url, source))

    assert done.code == 3
    assert "part-000001.parquet: another run wrote a part of that name" in done.err
    assert bucket.get("runs/x/completions/part-000001.parquet") == b"somebody else's"


@pytest.mark.parametrize("kind", ["csv.gz", "directory", "glob", "object"])
def test_every_kind_of_input_is_read_from_a_url(bucket, at, simulator, kind):
    table = pa.table({"n": range(150), "text": [f"The {n}th remark." for n in range(150)]})
    stored = io.BytesIO()
    pq.write_table(table, stored, row_group_size=40)
    bucket.put("in/a.parquet", stored.getvalue())
    bucket.put("in/b.parquet", stored.getvalue())
    bucket.put("in/_SUCCESS", b"")
    text = "n,text\n" + "".join(f"{n},The {n}th remark.\n" for n in range(150))
    packed = bucket.put("prompts.csv.gz", gzip.compress(text.encode()))
    source, rows = {
        "csv.gz": (packed, 150),
        "directory": (f"{bucket.url}/in", 300),
        "glob": (f"{bucket.url}/in/*.parquet", 300),
        "object": (f"{bucket.url}/in/a.parquet", 150),
    }[kind]

    words = job(bucket, simulator().base_url, source)
    done = at("one", *words)

    assert done.code == 0, done.err
    assert [int(row["n"]) % 150 for row in bucket.rows("runs/x/completions/")] == [
        n % 150 for n in range(rows)
    ]
    again = at("one", *words)
    assert "(0 requests" in again.err


def test_any_parquet_at_a_url_has_a_cost(bucket, at):
    stored = io.BytesIO()
    pq.write_table(pa.table({"input_tokens": [10, 20], "output_tokens": [1, 2]}), stored)
    url = bucket.put("theirs/usage.parquet", stored.getvalue())

    done = at("one", "cost", url, "--columns", "prompt_tokens=input_tokens,completion_tokens=output_tokens")

    assert done.code == 0, done.err
    assert "30" in done.out


def test_the_report_of_a_run_at_a_url_goes_to_the_url(bucket, at, simulator):
    source = bucket.put("prompts.jsonl", lines(range(30)))
    assert at("one", *job(bucket, simulator().base_url, source)).code == 0

    done = at("two", "report", f"{bucket.url}/runs/x")

    assert done.out.strip() == f"{bucket.url}/runs/x/report.html"
    assert b"The 3th remark." in bucket.get("runs/x/report.html")


def test_a_resume_reads_from_where_its_shard_begins(bucket, at, monkeypatch):
    monkeypatch.setattr(storage, "BLOCK_BYTES", 4_096)
    source = open_source(bucket.put("prompts.jsonl", lines(range(2_000))))
    plan = source.scan(100)
    bucket.door.seen.clear()

    with contextlib.closing(source):
        rows = list(source.rows(plan.shards[15], plan))

    assert [row.values["n"] for row in rows] == list(range(1_500, 1_600))
    ranges = [asked for line, asked in bucket.door.seen if line.startswith("GET") and asked]
    first = min(int(asked.removeprefix("bytes=").split("-")[0]) for asked in ranges)
    assert first == plan.shards[15].position["offset"]
    assert len(ranges) <= 4


@pytest.mark.parametrize("what", ["refused", "replaced"])
def test_an_input_that_fails_in_mid_run_ends_it_in_order_and_the_next_run_goes_on(
    bucket, at, simulator, monkeypatch, tmp_path, what
):
    """What was asked is kept; exit code 3, because 2 would say that nothing was sent."""
    monkeypatch.setattr(storage, "BLOCK_BYTES", 4_096)
    content = lines(range(2_000))
    source = bucket.put("prompts.jsonl", content)
    provider = simulator()
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    described = job_from(
        {
            "input": {"path": source},
            "endpoint": {"base_url": provider.base_url, "api_key_env": "SIMULATOR_KEY"},
            "request": {"model": "sim", "prompt": "{text}"},
            "output": {"run_dir": f"{bucket.url}/runs/x", "shard_rows": 200},
        }
    )

    def trouble(_store: LockedRun) -> None:
        if what == "replaced":
            bucket.put("prompts.jsonl", content[::-1])
        else:
            bucket.door.refuse.append((r"GET .*prompts.jsonl bytes=[4-9]\d{4}-", 403, DENIED))

    summary = execute(described, RunOptions(progress="none", quiet=True, on_start=trouble))

    assert (summary.stopped, summary.exit_code) == ("input", 3), summary.message
    assert ("access denied" if what == "refused" else "changed") in summary.message
    assert summary.totals.rows == summary.sent < 2_000
    bucket.door.refuse.clear()
    bucket.put("prompts.jsonl", content)
    again = execute(described, RunOptions(progress="none", quiet=True))
    assert again.exit_code == 0
    assert again.totals.rows == 2_000
    assert provider.ledger()["billed_repeats"] == 0


def test_the_store_itself_refuses_a_second_part_of_one_name(bucket, at, tmp_path):
    (tmp_path / "one").write_bytes(b"first")
    (tmp_path / "two").write_bytes(b"second")
    storage.put_file(tmp_path / "one", f"{bucket.url}/part", absent=True)

    with pytest.raises(storage.AlreadyThereError):
        storage.put_file(tmp_path / "two", f"{bucket.url}/part", absent=True)

    assert bucket.get("part") == b"first"
    # put-if-absent is one request: nobody looks first
    assert [line.split("?")[0] for line, _ in bucket.door.seen if "/part" in line] == [
        f"PUT /{bucket.name}/part",
        f"HEAD /{bucket.name}/part",
        f"PUT /{bucket.name}/part",
    ]


def test_a_run_that_another_machine_took_stops_in_order(bucket, at, simulator, monkeypatch, tmp_path):
    monkeypatch.setattr(presence, "BEAT_S", 0.05)
    source = bucket.put("prompts.jsonl", lines(range(2_000)))
    provider = simulator(latency_median_s=0.02)
    monkeypatch.chdir(tmp_path)

    def taken(_store: LockedRun) -> None:
        lease = {"owner": "somebody", "host": "elsewhere", "at": time.time()}
        bucket.put("runs/x/lease.json", json.dumps(lease).encode())

    described = job_from(
        {
            "input": {"path": source},
            "endpoint": {"base_url": provider.base_url, "api_key_env": "SIMULATOR_KEY"},
            "request": {"model": "sim", "prompt": "{text}"},
            "limits": {"concurrency": 8},
            "output": {"run_dir": f"{bucket.url}/runs/x"},
        }
    )
    summary = execute(described, RunOptions(progress="none", quiet=True, on_start=taken))

    assert (summary.stopped, summary.exit_code) == ("storage", 3)
    assert "elsewhere has taken the run over" in summary.message
    assert summary.sent < 2_000


def test_an_interrupt_uploads_what_is_sealed_and_frees_the_run_for_others(bucket, at, simulator, tmp_path):
    source = bucket.put("prompts.jsonl", lines(range(600)))
    provider = simulator(latency_median_s=0.03)
    words = job(bucket, provider.base_url, source, "-c", "16")

    code, said = stopped(bucket, tmp_path / "one", words, signal.SIGINT, parts=2)

    assert code == 130, said
    assert len(bucket.etags("runs/x/completions/")) < 6
    assert "runs/x/lease.json" not in bucket.etags()
    done = at("two", *words)
    assert done.code == 0, done.err
    assert "taken over" in done.err
    assert len(bucket.rows("runs/x/completions/")) == 600

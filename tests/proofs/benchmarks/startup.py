"""Everything before the first request: `--help`, a small job, and a large run that is resumed.

    python -m tests.proofs.benchmarks.startup [--rows 1000000] [--repeats 7] [--keep DIR]

The run that is resumed is fabricated: batchlab's own store seals answers that nobody gave, which
leaves on disk what a real run leaves when it is killed, in a tenth of the time.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job import Job
from batchlab.job.file import job_from
from batchlab.records import Completion, Reply, Timing, Usage
from batchlab.store.layout import is_run
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest, read_manifest, write_manifest
from tests.proofs.arguments import a_path, options
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.rows import write_rows
from tests.proofs.benchmarks.server import ANSWER

HELP_S, HELP_MB = 0.15, 25.0
SMALL_S = 0.6
RESUME_S = 1.5
# A process inherits its starter's peak of memory, so the starter has to be smaller than what it starts.
_LAUNCHER = """
import os, sys, time
started = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
print(time.perf_counter() - started, usage.ru_maxrss)
sys.exit(status != 0)
"""
IN_FLIGHT = 64  # when the fabricated run was cut off
_COMMAND = (sys.executable, "-m", "batchlab")


def figures(*, rows: int = 1_000_000, repeats: int = 7, keep: Path | None = None) -> Iterator[Figure]:
    """The figures of this module.

    Args:
        rows: of the run that is resumed.
        repeats: of every measurement, taken in turns.
        keep: where the fabricated run is kept for another time; a temporary directory when None.
    """
    with tempfile.TemporaryDirectory(prefix="batchlab-startup-") as scratch:
        folder = Path(scratch)
        write_rows(folder / "small.jsonl", 50, 200)
        large = fabricated_run(keep or folder, rows)
        helps: list[tuple[float, float]] = []
        smalls: list[float] = []
        resumes: list[float] = []
        bare: list[float] = []
        for _ in range(repeats):
            bare.append(finished([sys.executable, "-c", "pass"])[0])
            helps.append(finished([*_COMMAND, "--help"]))
            smalls.append(first_request(folder / "small.jsonl", _gone(folder / "small-run")))
            resumes.append(first_request(large / "rows.jsonl", _copied(large / "run", folder / "resumed")))
    seconds, megabytes = [one for one, _ in helps], max(one for _, one in helps)
    beside = f"python -c pass {spread(bare)}"
    value = statistics.median(seconds)
    yield Figure(
        "batchlab --help",
        f"≤ {HELP_S} s, ≤ {HELP_MB:g} MB",
        f"{value:.3f} s, {megabytes:.1f} MB",
        value <= HELP_S and megabytes <= HELP_MB,
        f"{spread(seconds)}; {beside}",
    )
    value = statistics.median(smalls)
    yield Figure(
        "start to first request of a small job", f"≤ {SMALL_S} s", f"{value:.3f} s", value <= SMALL_S,
        f"{spread(smalls)}; {beside}",
    )  # fmt: skip
    value = statistics.median(resumes)
    yield Figure(
        f"resume of a {rows:,}-row run that is 99 % done, to the first request",
        f"≤ {RESUME_S} s", f"{value:.3f} s", value <= RESUME_S,
        f"{spread(resumes)}; fabricated run; {beside}",
    )  # fmt: skip


def spread(seconds: Sequence[float]) -> str:
    """Median, range and repeats, for the table."""
    middle = statistics.median(seconds)
    return f"median {middle:.3f} s ({min(seconds):.3f} to {max(seconds):.3f}, {len(seconds)} repeats)"


def finished(command: Sequence[str]) -> tuple[float, float]:
    """Seconds a command takes to its end, and the most memory (MB) it had."""
    small = [sys.executable, "-S", "-E", "-c", _LAUNCHER, *command]
    seconds, kilobytes = subprocess.run(small, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), int(kilobytes) / 1024


def run_command(rows: Path, run_dir: Path, base_url: str) -> list[str]:
    """The command that runs the benchmarks' job."""
    return [
        *_COMMAND, "run", "-i", str(rows), "-m", "bench", "-p", "Summarize: {text}",
        "--base-url", base_url, "--run-dir", str(run_dir), "--progress", "none",
    ]  # fmt: skip


def first_request(rows: Path, run_dir: Path) -> float:
    """Seconds from the start of the process to the first byte of its first request at a server.

    The process is killed then.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _at_port(run_dir, port)
        run = subprocess.Popen(
            run_command(rows, run_dir, f"http://127.0.0.1:{port}/v1"), stderr=subprocess.PIPE, text=True
        )
        started = time.perf_counter()
        assert run.stderr is not None
        server.settimeout(60)
        try:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                return time.perf_counter() - started
        except TimeoutError:
            raise AssertionError(f"no request came: {run.stderr.read()}") from None
        finally:
            run.kill()
            run.stderr.close()
            run.wait()


def fabricated_run(folder: Path, rows: int) -> Path:
    """A folder with rows.jsonl and a run of it that was killed when 99 % of its rows were done.

    All shards but the last two are sealed; those have journals with 90 % and 10 % of their rows.
    """
    where = folder / f"fabricated-{rows}"
    if (where / "done").exists():
        return where
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    job = fabricated_job(write_rows(where / "rows.jsonl", rows, 200), max(10, rows // 100))
    # a file younger than two seconds is read again on resume, because it may be changing
    os.utime(where / "rows.jsonl", (time.time() - 60, time.time() - 60))
    source = open_source(job.input.path)
    planned = plan_input(job, source)
    plan, builder = planned.plan, planned.ready_builder
    store = LockedRun.create(where / "run", Manifest.of(job, plan))
    for shard in plan.shards:
        opened = store.open_shard(shard)
        left = plan.shards[-1].index - shard.index
        done = shard.rows if left > 1 else round(shard.rows * (0.9 if left else 0.1))
        for row in source.rows(shard, plan):
            if row.row_id - shard.first_row < done + (0 if left > 1 else IN_FLIGHT // 2):
                opened.append_sent(row.row_id, 1)
            if row.row_id - shard.first_row < done:
                request = builder.build(row)
                opened.append(_answer(row.row_id, request.custom_id, request.request_hash))
        if opened.complete:
            opened.seal(source.table(shard, plan))
        else:
            opened.close()
    store.close()
    source.close()
    (where / "done").touch()
    return where


def fabricated_job(rows: Path, shard_rows: int) -> Job:
    """The job of `run_command`, with shards of a hundredth of the rows."""
    return job_from(
        {
            "input": {"path": str(rows)},
            "request": {"model": "bench", "prompt": "Summarize: {text}"},
            "endpoint": {"base_url": "http://127.0.0.1:1/v1"},
            "output": {"shard_rows": shard_rows},
        },
        {},
        where="the benchmark",
    )


def _answer(row_id: int, custom_id: str, request_hash: bytes) -> Completion:
    usage = Usage(125, 180, 305, raw='{"prompt_tokens":125,"completion_tokens":180,"total_tokens":305}')
    reply = Reply(ANSWER, finish_reason="stop", usage=usage, model="bench", response_id=f"id-{row_id}")
    now = 1_764_000_000.0 + row_id / 1_000
    timing = Timing(now, now + 0.5, 500.0)
    return Completion(row_id, custom_id, request_hash, "ok", reply, attempts=1, timing=timing)


def _at_port(run_dir: Path, port: int) -> None:
    """Lets a run that is there go on at another port: the host is part of what is asked."""
    if is_run(run_dir):
        manifest = read_manifest(run_dir)
        settings = {**manifest.settings, "endpoint.host": f"127.0.0.1:{port}"}
        write_manifest(run_dir, dataclasses.replace(manifest, settings=settings))


def _gone(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def _copied(path: Path, to: Path) -> Path:
    """A copy of a run: what one repeat leaves in its journals must not be there for the next."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(path, to)
    return to


def main() -> None:
    """Prints the figures as a table."""
    asked = options(
        __doc__, rows=1_000_000, repeats=7, keep=a_path("a folder for the input, kept for the next time")
    )
    print(printed(list(figures(rows=asked.rows, repeats=asked.repeats, keep=asked.keep))))


if __name__ == "__main__":
    main()

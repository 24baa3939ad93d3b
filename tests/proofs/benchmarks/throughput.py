"""CPU and requests a second of whole runs, against a bare aiohttp loop in the same run.

The client is held to one core and the server to another, where there are two. Rounds are
interleaved, medians quoted; CPU is user + system time of the whole process, imports included.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.proofs.arguments import options
from tests.proofs.benchmarks.fallback_server import MEAN_S
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.server import STREAM_CHUNKS, asyncio_server, canned_server

IN_FLIGHT = 256
PROMPT = "The parcel arrived on a Tuesday, two days late, and the box was dented in one corner. " * 6


@dataclass(frozen=True, slots=True)
class Round:
    """One process that sent `requests`: its CPU seconds, and seconds from first request to last answer."""

    cpu_s: float
    seconds: float


def write_prompts(path: Path, rows: int, chars: int = 500) -> Path:
    """A JSON Lines file of distinct prompts."""
    with path.open("w") as file:
        for row in range(rows):
            file.write(json.dumps({"id": row, "text": f"{row}: {PROMPT}"[:chars]}) + "\n")
    return path


def client_cpus() -> set[int] | None:
    """The core that clients are held to; None when there is but one."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpus[0]} if len(cpus) > 1 else None


def server_cpus() -> set[int] | None:
    """The core that the server is held to."""
    cpus = sorted(os.sched_getaffinity(0))
    return {cpus[1]} if len(cpus) > 1 else None


def cpu_of(words: Sequence[str], **more: object) -> tuple[float, str]:
    """Runs a command on the client's core; its CPU seconds and standard output."""
    cpus = client_cpus()
    hold = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        words,
        preexec_fn=hold,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run_words(prompts: Path, url: str, home: Path, *more: str) -> list[str]:
    """The command that runs `prompts` against `url`, in a new run directory."""
    run_dir = tempfile.mkdtemp(prefix="run-", dir=home) + "/run"
    words = [
        "run",
        "-i",
        str(prompts),
        "-m",
        "bench",
        "-p",
        "{text}",
        "--base-url",
        url,
        "--run-dir",
        run_dir,
    ]
    return [sys.executable, "-m", "batchlab", *words, "-q", "--progress", "none", *more]


def span_s(run_dir: Path) -> float:
    """Seconds from a run's first request to its last answer."""
    table = pq.read_table(run_dir / "completions", columns=["started_at", "finished_at"])
    first = min(table["started_at"].to_pylist())
    return (max(table["finished_at"].to_pylist()) - first).total_seconds()


def bare_round(prompts: Path, url: str, *more: str) -> Round:
    """The bare loop's."""
    words = [sys.executable, "-m", "tests.proofs.benchmarks.bare_loop", str(prompts), url, *more]
    cpu_s, out = cpu_of(words)
    return Round(cpu_s, json.loads(out)["seconds"])


def our_round(prompts: Path, url: str, home: Path, *more: str) -> Round:
    """batchlab's, with all that it does."""
    words = run_words(prompts, url, home, "-c", str(IN_FLIGHT), *more)
    cpu_s, _ = cpu_of(words)
    return Round(cpu_s, span_s(Path(words[words.index("--run-dir") + 1])))


def median(rounds: Sequence[Round], name: str) -> float:
    """The median of an attribute."""
    return statistics.median(getattr(one, name) for one in rounds)


def ratio_text(ours: Sequence[Round], bare: Sequence[Round]) -> str:
    """Lowest and highest ratio of CPU of the interleaved pairs."""
    ratios = [one.cpu_s / other.cpu_s for one, other in zip(ours, bare, strict=True)]
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def plain(home: Path, *, rows: int, repeats: int) -> Iterator[Figure]:
    """CPU and requests a second, plain replies."""
    prompts = write_prompts(home / "plain.jsonl", rows)
    ours, bare = [], []
    with canned_server(cpus=server_cpus()) as server:
        for _ in range(repeats):
            bare.append(bare_round(prompts, server.plain))
            ours.append(our_round(prompts, server.plain, home))
    cpu = median(ours, "cpu_s") / median(bare, "cpu_s")
    per_1k = [1000 * median(rounds, "cpu_s") / rows for rounds in (ours, bare)]
    yield Figure(
        f"CPU per 1,000 requests, whole run of {rows:,} rows, plain",
        "≤ 1.35 ×",
        f"{cpu:.2f} ×",
        cpu <= 1.35,
        f"{per_1k[0]:.3f} s against {per_1k[1]:.3f} s; pairs {ratio_text(ours, bare)}; {server.name}",
    )
    rates = [rows / median(rounds, "seconds") for rounds in (ours, bare)]
    yield Figure(
        "requests/s, same run, one process",
        "≥ 0.75 ×",
        f"{rates[0] / rates[1]:.2f} ×",
        rates[0] / rates[1] >= 0.75,
        f"{rates[0]:,.0f} against {rates[1]:,.0f}",
    )


def streamed(home: Path, *, rows: int, repeats: int) -> Iterator[Figure]:
    """CPU of streamed replies: a chunk a write, and all chunks at once."""
    prompts = write_prompts(home / "streamed.jsonl", rows)
    with canned_server(cpus=server_cpus()) as burst, asyncio_server(cpus=server_cpus()) as paced:
        for url, what, target in (
            (paced.chunks, "a chunk a write, 20 ms apart", 2.0),
            (burst.stream, "all chunks in one burst", None),
        ):
            ours, bare = [], []
            for _ in range(repeats):
                bare.append(bare_round(prompts, url, "--stream"))
                ours.append(our_round(prompts, url, home, "--stream"))
            ratio = median(ours, "cpu_s") / median(bare, "cpu_s")
            per_1k = [1e6 * median(one, "cpu_s") / rows / STREAM_CHUNKS for one in (ours, bare)]
            yield Figure(
                f"CPU per 1,000 chunks, {rows:,} streams of {STREAM_CHUNKS}, {what}",
                f"≤ {target:.1f} ×" if target else "(beside it)",
                f"{ratio:.2f} ×",
                None if target is None else ratio <= target,
                f"{per_1k[0]:.2f} ms against {per_1k[1]:.2f} ms, imports included; pairs {ratio_text(ours, bare)}",
            )


def littles_law(home: Path, *, seconds: float = 30.0, in_flight: int = 2_000) -> Iterator[Figure]:
    """Rows a second with many in flight, against in flight ÷ mean latency."""
    prompts = write_prompts(home / "slow.jsonl", int(in_flight * seconds / MEAN_S), 100)
    with asyncio_server() as server:
        words = run_words(prompts, server.slow, home, "-c", str(in_flight))
        subprocess.run(words, check=True)
    table = pq.read_table(
        Path(words[words.index("--run-dir") + 1]) / "completions",
        columns=["started_at", "finished_at", "latency_ms"],
    )
    finished = sorted(one.timestamp() for one in table["finished_at"].to_pylist())
    began = min(one.timestamp() for one in table["started_at"].to_pylist())
    # the middle: after the ramp-up, before the tail
    low, high = began + seconds / 3, finished[-1] - 5 * MEAN_S
    rate = sum(low <= one < high for one in finished) / (high - low)
    mean_s = statistics.fmean(table["latency_ms"].to_pylist()) / 1000
    share = rate / (in_flight / MEAN_S)
    yield Figure(
        f"{in_flight:,} in flight, lognormal latency, mean 1 s: rows/s against Little's law",
        "≥ 0.95",
        f"{share:.3f}",
        share >= 0.95,
        f"{rate:,.0f} rows/s after ramp-up; mean latency seen {mean_s:.3f} s, the server's own {MEAN_S:g} s",
    )


def stall(home: Path, *, rows: int = 50_000) -> Iterator[Figure]:
    """The event loop's longest stall while shards are sealed."""
    prompts = write_prompts(home / "stall.jsonl", rows)
    with canned_server(cpus=server_cpus()) as server:
        words = run_words(prompts, server.plain, home, "-c", str(IN_FLIGHT))
        out = cpu_of([sys.executable, "-m", "tests.proofs.benchmarks.watched_run", *words[3:]])[1]
    seen = json.loads(out.splitlines()[-1])
    worst = 1000 * max(seen["while_sealing_s"], default=0.0)
    yield Figure(
        "seal of a 10,000-row shard: longest stall of the event loop",
        "≤ 50 ms",
        f"{worst:.0f} ms",
        worst <= 50,
        f"{len(seen['seals_s'])} seals of {1000 * statistics.median(seen['seals_s']):.0f} ms (median) in a run "
        f"at full speed; longest stall at other times {1000 * seen['otherwise_s']:.0f} ms",
    )


def figures(*, short: bool = False) -> Iterator[Figure]:
    """All of them; `short` for a look in a minute or two."""
    with tempfile.TemporaryDirectory(prefix="batchlab-bench-") as folder:
        home = Path(folder)
        yield from plain(home, rows=5_000 if short else 50_000, repeats=1 if short else 5)
        yield from streamed(home, rows=300 if short else 3_000, repeats=1 if short else 3)
        yield from littles_law(home, seconds=15 if short else 30)
        yield from stall(home, rows=20_000 if short else 50_000)


def main() -> None:
    """Prints the figures as a table."""
    given, started = options(__doc__, short=False), time.monotonic()
    print(printed(list(figures(short=given.short))))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

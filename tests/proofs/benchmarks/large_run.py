"""A finished run of a million rows and 2 GB, in a minute: its parts are written column by column.

python -m tests.proofs.benchmarks.large_run --into /tmp/large --rows 1000000

Texts are drawn from a Zipf-like vocabulary, so that they compress as English does (about 2.4 to 1), and vary
in length as answers do. Each row is numbered in its question, and one in 5,000 answers holds `RARE`.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from batchlab.arrow import pa, pq
from batchlab.inputs.sources.source import InputPlan
from batchlab.job.file import job_from
from batchlab.records import Shard
from batchlab.result_columns import FORMAT
from batchlab.store.columns.results import columns_totals, result_schema
from batchlab.store.disk.files import private_dir
from batchlab.store.integrity.checksums import ChecksumLog, checksum_record, plan_record
from batchlab.store.layout import DIRECTORIES, Layout
from batchlab.store.manifest import Manifest, plan_digest, write_manifest
from batchlab.store.parts import BATCH_ROWS, file_digest, part_schema
from tests.proofs.arguments import Option, options

SHARD_ROWS = 10_000
RARE = "quincunxial"  # in one answer of 5,000
RARE_EVERY = 5_000
TOPICS = ("delivery", "billing", "returns", "product", "account", "press", "other")
COLUMNS = {"n": "int", "topic": "str", "stars": "int", "text": "str"}
PROMPT = "Summarize the customer's letter and say what to do.\n\n{text}"
SYSTEM = "You are a careful clerk of a mail-order house. Answer in Markdown."
_CORPUS_WORDS = 6_000_000
_TEXT_BYTES, _ANSWER_BYTES = 2_350, 2_400  # medians; a row of both takes 2 kB on disk


class Texts:
    """Pieces of one long text, cut where words end."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        syllables = (
            "ba be con de er fi gra ho in ja ka li mo ne or pa qui re sta ti un ve wi xe yo zu".split()
        )
        words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(30_000)]
        words[:12] = "the of and to a in is it that for was with".split()
        self._numbers = np.random.default_rng(seed)
        shares = np.cumsum(1 / (np.arange(len(words)) + 2.7))  # Zipf and Mandelbrot
        drawn = np.searchsorted(shares / shares[-1], self._numbers.random(_CORPUS_WORDS))
        chosen = np.array(words, dtype=object)[drawn].tolist()
        ends = self._numbers.random(_CORPUS_WORDS)
        for at in np.flatnonzero(ends < 0.07).tolist():
            chosen[at] += "." if ends[at] < 0.055 else ".\n\n"
        for at in np.flatnonzero(ends > 0.9995).tolist():
            chosen[at] = "Zürich café №7"
        self._text = " ".join(chosen)

    def pieces(self, count: int, median: int) -> list[str]:
        """So many, of lengths that spread as those of answers do."""
        lengths = np.minimum(self._numbers.lognormal(np.log(median), 0.45, count), 20 * median).astype(int)
        starts = self._numbers.integers(0, len(self._text) - 20 * median, count)
        text = self._text
        return [
            text[start : start + length]
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]


def made_run(path: Path, rows: int, *, seed: int = 7) -> Path:
    """The run, in a directory that is made; one that is there with as many rows stays as it is."""
    if Layout(path).manifest.exists():
        return path
    private_dir(path)
    for name in DIRECTORIES:
        private_dir(path / name)
    job = job_from(
        {
            "input": {"path": str(path / "gone.parquet")},
            "endpoint": {"base_url": "http://127.0.0.1:9", "api_key_env": "LARGE_RUN_KEY"},
            "request": {"model": "sim-large", "prompt": PROMPT, "system": SYSTEM, "max_tokens": 1024},
            "output": {"run_dir": str(path)},
            "price": {"input": 0.2, "output": 0.6},
        }
    )
    shards = tuple(
        Shard(index, first, min(SHARD_ROWS, rows - first))
        for index, first in enumerate(range(0, rows, SHARD_ROWS))
    )
    plan = InputPlan(
        rows=rows,
        shards=shards,
        columns=tuple(COLUMNS),
        types=dict(COLUMNS),
        content_hash="0" * 32,
        stat=(),
        scanned_at=time.time(),
    )
    texts, numbers = Texts(seed), np.random.default_rng(seed)
    notes = [plan_record(plan_digest(plan))]
    notes += [_written_part(path, plan, shard, texts, numbers) for shard in shards]
    log = ChecksumLog(path)
    log.append(*notes)
    write_manifest(path, Manifest.of(job, plan))  # last: what was cut off is no run, and is made again
    return path


def _written_part(
    run: Path, plan: InputPlan, shard: Shard, texts: Texts, numbers: np.random.Generator
) -> dict[str, object]:
    """Writes a part; returns its record for checksums.log."""
    schema = part_schema(plan.schema, "")
    part = Layout(run).part(shard.index)
    with pq.ParquetWriter(part, schema, compression="zstd", write_page_checksum=True) as writer:
        whole = None
        for first in range(shard.first_row, shard.first_row + shard.rows, BATCH_ROWS):
            count = min(BATCH_ROWS, shard.first_row + shard.rows - first)
            columns = dict(_columns(first, count, texts, numbers))
            arrays = [pa.array(columns[one.name], type=one.type) for one in plan.schema]
            results = [
                pa.array(columns[one.name], type=one.type)
                if one.name in columns
                else pa.nulls(count, type=one.type)
                for one in result_schema()
            ]
            totals = columns_totals(results)
            whole = totals if whole is None else whole + totals
            writer.write_table(pa.Table.from_arrays([*arrays, *results], schema=schema))
        assert whole is not None, "a shard has rows"
        writer.add_key_value_metadata(
            {
                "batchlab.format": str(FORMAT),
                "batchlab.first_row": str(shard.first_row),
                "batchlab.prefix": "",
                "batchlab.totals": json.dumps(asdict(whole)),
            }
        )
    part.chmod(0o600)
    return checksum_record(part.name, file_digest(part), part.stat().st_size, whole)


def _columns(
    first: int, count: int, texts: Texts, numbers: np.random.Generator
) -> Iterator[tuple[str, object]]:
    """The columns of some rows: those of the input, and the result columns that are not null throughout."""
    rows = np.arange(first, first + count)
    chance = numbers.random(count)
    failed, truncated = chance < 0.01, (chance >= 0.01) & (chance < 0.03)
    answers: list[str | None] = texts.pieces(count, _ANSWER_BYTES)  # type: ignore[assignment]
    for at in np.flatnonzero(failed).tolist():
        answers[at] = None
    for at in np.flatnonzero((rows % RARE_EVERY == RARE_EVERY - 1) & ~failed).tolist():
        answers[at] = f"{str(answers[at])[:900]} {RARE} {str(answers[at])[900:]}"
    asked = [
        f"Letter {row}. {text}"
        for row, text in zip(rows.tolist(), texts.pieces(count, _TEXT_BYTES), strict=True)
    ]
    given = np.array([len(text) // 5 for text in asked]) + 40
    made = np.array([len(text or "") // 5 for text in answers])
    latency = (numbers.lognormal(7.2, 0.6, count)).astype("float32")
    ended = (1.75e9 + rows * 0.02) * 1e6 + latency * 1e3
    yield "n", rows
    yield "topic", [TOPICS[place] for place in numbers.integers(0, len(TOPICS), count).tolist()]
    yield "stars", numbers.integers(1, 6, count)
    yield "text", asked
    yield "row_id", rows
    yield "custom_id", [str(row) for row in rows.tolist()]
    yield "status", np.where(failed, "failed", np.where(truncated, "truncated", "ok")).tolist()
    yield "completion", answers
    yield (
        "finish_reason",
        [None if f else "length" if t else "stop" for f, t in zip(failed, truncated, strict=True)],
    )
    for name, values in (
        ("prompt_tokens", given),
        ("completion_tokens", made),
        ("total_tokens", given + made),
    ):
        yield name, pa.array(values, mask=failed)
    yield (
        "usage_raw",
        [
            None if f else f'{{"prompt_tokens":{p},"completion_tokens":{c},"total_tokens":{p + c}}}'
            for f, p, c in zip(failed, given.tolist(), made.tolist(), strict=True)
        ],
    )
    yield "cost_usd", pa.array((0.2 * given + 0.6 * made) / 1e6, mask=failed)
    yield "attempts", 1 + numbers.poisson(0.05, count)
    yield "cut_off", np.zeros(count, dtype="int16")
    yield (
        "error_class",
        [
            "timeout" if f and c < 0.006 else "bad_request" if f else None
            for f, c in zip(failed, chance, strict=True)
        ],
    )
    yield "error_code", pa.array(np.full(count, 400), mask=~failed)
    yield "error_message", ["the endpoint refused the request" if f else None for f in failed]
    yield "endpoint", ["127.0.0.1:9"] * count
    yield "lane", [("live", "batch")[int(c > 0.7)] for c in chance]
    yield "model", ["sim-large"] * count
    yield "response_id", [f"chatcmpl-{value:016x}" for value in numbers.integers(0, 2**62, count).tolist()]
    yield "started_at", pa.array((ended - latency * 1e3).astype("int64")).cast(pa.timestamp("us", tz="UTC"))
    yield "finished_at", pa.array(ended.astype("int64")).cast(pa.timestamp("us", tz="UTC"))
    yield "latency_ms", latency
    yield "queue_ms", numbers.exponential(20, count).astype("float32")


def main() -> None:
    """Makes the run, and says how large it is and how long that took."""
    given = options(
        __doc__,
        into=Option(Path("large-run"), help="the run directory to be", kind=Path),
        rows=1_000_000,
        seed=7,
    )
    began = time.monotonic()
    run = made_run(given.into, given.rows, seed=given.seed)
    size = sum(path.stat().st_size for path in Layout(run).part_files())
    print(f"{run}: {given.rows:,} rows, {size / 1e9:.2f} GB, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

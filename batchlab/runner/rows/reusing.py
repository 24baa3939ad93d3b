"""Answers that need no request: those that other runs have (`--reuse`), copied before anything is sent."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batchlab.counts import counted
from batchlab.errors import CorruptRun, UsageError
from batchlab.inputs.templates import RowProblem
from batchlab.job import Job
from batchlab.looking.opening import open_run
from batchlab.records import ChatRequest, Completion, Row, Shard
from batchlab.runner.preparing.prepare import Prepared
from batchlab.store.answers import Answers, copied
from batchlab.store.view import RunView
from batchlab.totals import RunningTotals

FLUSH_ROWS = 500  # copies that are written at once


@dataclass(frozen=True, slots=True)
class OldRun:
    """A run whose answers are taken over. It is only read, and may be at work."""

    path: str
    store: RunView

    def answers(self) -> Iterator[Completion]:
        """Its whole answers: a truncated, filtered or empty one may do better this time.

        Raises UsageError: a part or journal is damaged; nothing was sent yet.
        """
        try:
            for result in self.store.all_results():
                if isinstance(result, Completion) and result.status == "ok" and result.error_class is None:
                    yield result
        except CorruptRun as error:
            raise UsageError(f"{{output.reuse={self.path}}}: {error}") from error


def old_runs(job: Job) -> list[OldRun]:
    """The runs that the job names. Raises UsageError when there is none at a path, or it is this one."""
    runs = []
    for path in job.output.reuse:
        try:
            store = open_run(path)
        except (CorruptRun, UsageError) as error:
            raise UsageError(f"{{output.reuse}} {error}") from error
        if (
            job.output.remote == path.rstrip("/")
            or store.path.resolve() == Path(job.output.run_dir).resolve()
        ):
            raise UsageError(
                f"{{output.reuse={path}}}: is this run itself, which keeps its answers anyway. Leave it out."
            )
        runs.append(OldRun(path, store))
    return runs


def take_over(prepared: Prepared, runs: Sequence[OldRun], say: Callable[[str], None]) -> int:
    """Gives rows without a result the answers that older runs have to the same requests; says how many.

    The first run that has one gives it. Memory: 8 bytes for each row of the shards that are not sealed.

    Raises:
        UsageError: an older run cannot be read, or the input.
        RunStopped: the disk is full.
    """
    store, plan = prepared.store, prepared.plan
    sealed = store.sealed()
    shards = [shard for shard in plan.shards if shard.index not in sealed]
    if not shards or not runs:
        return 0
    wanted = hashes_of(request for shard in shards for request in requests_of(prepared, shard))
    counts = [0] * len(runs)

    def took(_: Completion, origin: int) -> None:
        counts[origin] += 1

    with Answers(store.path) as answers:
        for origin, run in enumerate(runs):
            found = (answer for answer in run.answers() if _is_in(wanted, answer))
            if prepared.builder.schema is not None:  # the same body can come of a job that checked nothing
                found = (answer for answer in found if answer.parsed is not None)
            answers.add(found, origin=origin)
        for shard in shards:
            copy_into(prepared, shard, answers, took=took)
    resumed = store.totals().rows > sum(counts)
    for run, count in zip(runs, counts, strict=True):
        if count or not resumed:
            say(f"reused: {count:,} of {counted(plan.rows, 'row')} from {run.path}")
    return sum(counts)


def copy_into(
    prepared: Prepared,
    shard: Shard,
    answers: Answers,
    *,
    wanted: Callable[[int], bool] | None = None,
    took: Callable[[Completion, int], None],
    totals: RunningTotals | None = None,
) -> None:
    """Copies answers to a shard's rows that have no result, and seals it if that completes it.

    Args:
        wanted: which rows; all when None.
        took: told of each copy that is in the journal, and the origin of its answer.
        totals: the run's; they change by what the copies count.
    """
    opened = prepared.store.open_shard(shard)
    written: list[tuple[Completion, int]] = []

    def write() -> None:
        opened.flush()
        for copy, origin in written:
            took(copy, origin)
        written.clear()

    def pending(row: Row) -> bool:
        return not opened.done(row.row_id) and (wanted is None or wanted(row.row_id))

    try:
        for request in requests_of(prepared, shard, pending):
            found = answers.find(request.request_hash)
            if found is None:
                continue
            copy = opened.append(copied(found[0], request), totals)
            assert isinstance(copy, Completion)
            written.append((copy, found[1]))
            if len(written) >= FLUSH_ROWS:
                write()
        write()
        # with rows that are worth one more try, it is the engine's to seal
        if opened.complete and not opened.found.retryable_failed:
            opened.seal(prepared.source.table(shard, prepared.plan))
    finally:
        opened.close()


def requests_of(
    prepared: Prepared, shard: Shard, wanted: Callable[[Row], bool] | None = None
) -> Iterator[ChatRequest]:
    """The requests of a shard's rows; rows that make none are left out."""
    for row in prepared.source.rows(shard, prepared.plan):
        if row.problem is None and (wanted is None or wanted(row)):
            try:
                yield prepared.builder.build(row)
            except RowProblem:
                continue  # the run records it as bad_input


def short_hash(request_hash: bytes) -> int:
    """8 of the 16 bytes: enough to look for a request among many, not to take an answer for it."""
    return int.from_bytes(request_hash[:8], "little")


def hashes_of(values: Iterator[ChatRequest] | Iterator[Completion]) -> np.ndarray:
    """Short hashes, sorted: uint64, 8 bytes each."""
    made = array("Q", (short_hash(value.request_hash) for value in values))
    hashes = np.frombuffer(made, dtype=np.uint64) if made else np.zeros(0, dtype=np.uint64)
    return np.sort(hashes)


def _is_in(hashes: np.ndarray, answer: Completion) -> bool:
    looked_for = np.uint64(short_hash(answer.request_hash))
    at = int(np.searchsorted(hashes, looked_for))
    return at < len(hashes) and bool(hashes[at] == looked_for)

"""The desk of the batch API: takes batches, works on them as the clock goes, and keeps their books."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchlab.endpoints.simulator.answering import Answering, Outcome, content_of, whole_numbers
from batchlab.endpoints.simulator.batches.dialects import DIALECTS, Dialect
from batchlab.endpoints.simulator.batches.faults import BatchFault, BatchFaultPlan
from batchlab.endpoints.simulator.batches.files import FileStore, Lines, StoredFile
from batchlab.endpoints.simulator.batches.jobs import Batch, Entry, LineProblem, Stage, Times
from batchlab.endpoints.simulator.batches.lines import read_line, refused_lines
from batchlab.endpoints.simulator.batches.results import LINES, LineResult, ResultWriter, openai_line
from batchlab.endpoints.simulator.faults import chance
from batchlab.endpoints.simulator.kinds import Kind
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.validation import error_body
from batchlab.endpoints.simulator.wire import Wire

SLICE = 100  # lines between two looks at other calls: some 10 ms
MOST_PROBLEMS = 100  # that are told of a batch


class Desk:
    """All batches and files of one provider."""

    def __init__(self, options: SimulatorOptions, answering: Answering, clock: Callable[[], float]) -> None:
        self._options = options
        self._answering = answering
        self.now = clock
        self.files = FileStore()
        self.batches: dict[str, Batch] = {}
        self.faults = BatchFaultPlan(options.batch.faults, seed=options.seed, struck=self._struck)
        self._writers: dict[str, tuple[ResultWriter, ResultWriter]] = {}
        self._working = asyncio.Lock()
        self._made = 0

    def _struck(self, kind: str) -> None:
        self._answering.ledger.by_fault[kind] += 1

    def new_id(self, prefix: str) -> str:
        """An id that no other thing has."""
        self._made += 1
        name = f"{self._options.seed} {prefix} {self._made}".encode()
        return prefix + hashlib.blake2b(name, digest_size=12).hexdigest()

    def add_file(
        self, path: Path, size: int, name: str, purpose: str, *, hidden_s: float = 0.0
    ) -> StoredFile:
        """A file that was received or written."""
        now = self.now()
        file = StoredFile(self.new_id("file-"), name, purpose, size, now, now + hidden_s, path)
        return self.files.add(file)

    def hidden_s(self, fault: BatchFault | None = None) -> float:
        """For how long a file that comes now cannot be found."""
        hidden = self._options.batch.file_hidden_s
        return hidden if fault is None else max(hidden, fault.seconds)

    def create(
        self,
        dialect: str,
        kind: Kind,
        file: StoredFile,
        *,
        window: str,
        window_s: float,
        prefix: str = "batch_",
        model: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Batch:
        """A new batch; nothing of it is looked at yet."""
        options, number, now = self._options, len(self.batches) + 1, self.now()
        draws = (chance(options.seed, name, number) for name in (b"batch 1", b"batch 2"))
        fates = self.faults.fates(number)
        window_s = window_s if options.batch.window_s is None else options.batch.window_s
        times = Times.of(
            now,
            options.batch.seconds.drawn_s(*draws),
            window_s,
            fates,
            late=DIALECTS[dialect].late,
        )
        batch = Batch(self.new_id(prefix), number, dialect, kind, file, times, fates, window, model, metadata)
        self.batches[batch.id] = batch
        return batch

    def cancel(self, batch: Batch) -> None:
        """Cancels a batch that has not ended."""
        if not batch.stage(self.now()).ended:
            batch.times.cancel(self.now(), self._options.batch.cancel_s)

    def listed(self, dialects: frozenset[str]) -> list[Batch]:
        """The batches that a list shows, the newest first."""
        now = self.now()
        shown = []
        for batch in reversed(self.batches.values()):
            hidden = self._options.batch.unlisted_s
            if (fault := batch.fates.get("batch_unlisted")) is not None:
                hidden = max(hidden, fault.seconds)
            if batch.dialect in dialects and not batch.deleted and now >= batch.times.created + hidden:
                shown.append(batch)
        return shown

    async def settle(self) -> None:
        """Does what is due on every batch by now."""
        async with self._working:
            for batch in list(self.batches.values()):
                if not batch.closed:
                    await self._advance(batch, self.now())

    async def _advance(self, batch: Batch, now: float) -> None:
        if now < batch.times.begins and now < batch.times.cancelled:
            return
        if batch.lines is None:
            await self._look_at(batch)
        stage = batch.stage(now)
        await self._answer(batch, batch.times.finished(len(batch.order), now))
        if stage.ended:
            await self._close(batch, stage)

    async def _look_at(self, batch: Batch) -> None:
        """Validates a batch and counts what it asks for."""
        dialect, options = DIALECTS[batch.dialect], self._options
        batch.lines = Lines(batch.input.path)
        most = dialect.max_lines if options.batch.max_lines is None else options.batch.max_lines
        looked = refused_lines(batch, batch.lines, dialect, models=options.models, most=most)
        for count, _ in enumerate(looked):
            if count % SLICE == 0:
                await asyncio.sleep(0)
        batch.tally.total = len(batch.lines)
        waiting = sum(one.enqueued for one in self.batches.values() if one is not batch and not one.closed)
        limit = options.batch.enqueued_tokens
        if "batch_token_limit" in batch.fates or (
            not batch.problems and limit is not None and waiting + batch.enqueued > limit
        ):
            # openai-python 2084, word by word
            said = (
                f"Enqueued token limit reached for {batch.model} in organization org-simulated. Limit: "
                f"{limit or 2_000_000:,} enqueued tokens. Please try again once some in_progress batches "
                "have been completed."
            )
            batch.problems = [LineProblem("token_limit_exceeded", said)]
        if (invalid := batch.fates.get("batch_invalid")) is not None:
            numbers = range(1, min(invalid.count, len(batch.lines)) + 1)
            said = "This line is not parseable as valid JSON."
            batch.problems = [LineProblem("invalid_json_line", said, number) for number in numbers]
        del batch.problems[MOST_PROBLEMS:]
        if batch.problems:
            batch.enqueued = 0
            return
        batch.order = list(range(len(batch.lines)))
        random.Random(f"{options.seed} {batch.number}").shuffle(batch.order)
        output, errors = (
            ResultWriter(self.files.path(f"{batch.id}-{name}"), batch.fates if name == "output" else {})
            for name in ("output", "errors")
        )
        self._writers[batch.id] = (output, errors)

    async def _answer(self, batch: Batch, until: int) -> None:
        """Answers lines up to a place in their order."""
        while batch.answered < until:
            self._answer_one(batch, batch.order[batch.answered])
            batch.answered += 1
            if batch.answered % SLICE == 0:
                await asyncio.sleep(0)

    def _answer_one(self, batch: Batch, index: int) -> None:
        assert batch.lines is not None
        line = read_line(batch.lines[index], batch.model, DIALECTS[batch.dialect])
        body = whole_numbers(line.body)
        content = content_of(b"", body)
        asked = self._answering.asked(batch.kind, batch.kind.path, body, content, batch=True)
        request_id = f"{content.hex()[:12]}{batch.number:04d}"
        failing = batch.fates.get("batch_line_errors")
        share = 1.0 if "batch_all_fail" in batch.fates else 0.0 if failing is None else failing.share
        if isinstance(asked, Wire):
            outcome = Outcome(asked)
        elif chance(self._options.seed, b"line fails", batch.number, index) < share:
            status = 500 if failing is None else failing.status
            said = error_body("The server had an error.", "server_error", "server_error")
            outcome = Outcome(Wire(status=status, pieces=(batch.kind.envelope(status, said),)))
        else:
            outcome = self._answering.answered(asked, {})
        result = LineResult.of(line.custom_id, request_id, outcome)
        entry = Entry(line.custom_id, content.hex(), str(result.status), outcome.billed, outcome.usd)
        self._note(batch, result, entry)

    def _note(self, batch: Batch, result: LineResult, entry: Entry) -> None:
        tally = batch.tally
        batch.entries.append(entry)
        tally.usd += entry.usd or 0.0
        tally.completed += result.good
        tally.failed += not result.good and not result.gone
        tally.expired += result.gone == "expired"
        tally.cancelled += result.gone == "cancelled"
        if result.good:
            used = json.loads(result.body).get("usage") or {}
            tally.prompt_tokens += used.get("prompt_tokens", used.get("input_tokens", 0))
            tally.completion_tokens += used.get("completion_tokens", used.get("output_tokens", 0))
            tally.cached_tokens += (used.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        output, errors = self._writers[batch.id]
        whole = DIALECTS[batch.dialect].inline
        (output if result.good or whole else errors).write(LINES.get(batch.dialect, openai_line)(result))

    async def _close(self, batch: Batch, stage: Stage) -> None:
        """Writes what became of the lines that were never asked, and lets the results be found."""
        assert batch.lines is not None
        if not batch.problems:
            gone = "expired" if stage is Stage.EXPIRED else "cancelled"
            for count, index in enumerate(batch.order[batch.answered :]):
                line = read_line(batch.lines[index], batch.model, DIALECTS[batch.dialect])
                content = content_of(b"", line.body).hex()
                request_id = f"{content[:12]}{batch.number:04d}"
                result = LineResult(line.custom_id, request_id, 0, b"", gone)
                self._note(batch, result, Entry(line.custom_id, content, gone))
                if count % SLICE == 0:
                    await asyncio.sleep(0)
            batch.output, batch.errors = (
                self._results(batch, writer, name)
                for writer, name in zip(self._writers.pop(batch.id), ("output", "error"), strict=True)
            )
        batch.enqueued = 0
        batch.lines.close()
        batch.closed = True

    def _results(self, batch: Batch, writer: ResultWriter, name: str) -> StoredFile | None:
        """The file of what was written, if anything was."""
        size = writer.close()
        if size is None:
            return None
        file = self.add_file(writer.path, size, f"{batch.id}_{name}.jsonl", "batch_output")
        kept = self._options.batch.kept_s
        dialect: Dialect = DIALECTS[batch.dialect]
        file.gone_s = self.now() + (dialect.kept_s if kept is None else kept)
        if "batch_results_gone" in batch.fates:
            file.gone_s = file.created_s
        return file

    def books(self) -> dict[str, Any]:
        """Every batch with each of its lines, and what was charged more than once."""
        now = self.now()
        bills = self._answering.ledger.bills
        return {
            "batches": [
                {
                    "id": batch.id,
                    "dialect": batch.dialect,
                    "state": batch.shown(now).value,
                    "created_at": batch.times.created,
                    "model": batch.model,
                    "metadata": batch.metadata,
                    "input_file_id": batch.input.id,
                    **asdict(batch.tally),
                    "billed": sum(entry.billed for entry in batch.entries),
                    "lines": [asdict(entry) for entry in batch.entries],
                }
                for batch in self.batches.values()
            ],
            "billed_twice": {content.hex(): count for content, count in bills.items() if count > 1},
        }

    def close(self) -> None:
        """Closes and removes all files."""
        for batch in self.batches.values():
            if batch.lines is not None:
                batch.lines.close()
        for writers in self._writers.values():
            for writer in writers:
                writer.close()
        self.files.close()

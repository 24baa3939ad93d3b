"""What happened in a run, one JSON object a line.

Every line has `ts` (RFC 3339, UTC), `level` (info, warning, error), `event` and `run`. Prompts and
answers are in none; an error message is the provider's, redacted and cut short.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from batchlab.errors import UsageError
from batchlab.observe.facts import RunFacts, shown_job, without_credentials
from batchlab.protocol.redact import printable, redact
from batchlab.records import Failure
from batchlab.run_end import RunSummary
from batchlab.run_state import RunState
from batchlab.store.batches import Batch
from batchlab.store.journals.journal import ends_in_mid_line
from batchlab.totals import WordCounts
from batchlab.version import __version__

PROGRESS_EVERY_S = 60.0
LIMITED_EVERY_S = 30.0  # a night behind a rate limit is at most 1,440 lines
ROW_LINES = 1_000  # failed rows with a line of their own; the others are counted
MAX_CHARS = 500  # of any text: a provider's message may echo the prompt
_PRIVATE = 0o600


class LogFile:
    """Appends whole lines to a file, each by one write. What cannot be written is lost, and said once.

    Raises:
        UsageError: it cannot be opened for appending.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._lost = 0
        # a pipe that nobody reads must not hold up the run
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor: int | None = os.open(path, flags | getattr(os, "O_BINARY", 0), _PRIVATE)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise UsageError(f"{path}: the log file cannot be written: {why}.") from error
        if ends_in_mid_line(path, self._descriptor):
            self._append(b"\n")

    def write(self, line: Mapping[str, Any]) -> None:
        """One JSON object."""
        if self._lost:
            line = {**line, "lines_lost": self._lost}
        data = json.dumps(line, default=str, allow_nan=False).encode() + b"\n"
        if self._append(data):
            self._lost = 0
        else:
            self._lost += 1

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, data: bytes) -> bool:
        if self._descriptor is None:
            return False
        try:
            rest = data[os.write(self._descriptor, data) :]
            if rest and os.write(self._descriptor, rest) < len(rest):
                raise OSError(None, "half a line was written")
        except BlockingIOError:  # a full pipe: its reader is slow
            return False
        except OSError as error:
            self.close()
            why = os.strerror(error.errno) if error.errno else error.strerror
            self._say(f"{self._path}: the log file cannot be written ({why}); the run goes on")
            return False
        return True


class EventLog:
    """The events of one run. All methods but `close` may be called from any thread."""

    def __init__(
        self, path: str, run: str, say: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._file = LogFile(path, say)
        self._run = run
        self._secrets: tuple[str, ...] = ()
        self._next_progress = clock() + PROGRESS_EVERY_S
        self._next_limited = 0.0
        self._limited = self._errors = 0
        self._paused = False
        self._out: set[str] = set()
        self._words: set[str] = set()
        self._row_lines = 0
        self._more_failed: Counter[str] = Counter()

    def event(self, level: str, event: str, **fields: Any) -> None:
        """One line."""
        ts = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = {"ts": ts.replace("+00:00", "Z"), "level": level, "event": event, "run": self._run, **fields}
        self._file.write(self._clean(line))

    def started(self, facts: RunFacts) -> None:
        """A run begins or goes on."""
        self._secrets = facts.secrets
        self.event(
            "info",
            "start",
            pid=os.getpid(),
            version=__version__,
            rows=facts.before.rows,
            final_before=facts.before.earlier.rows,
            job=shown_job(facts.job),
        )

    def joined(self, secrets: tuple[str, ...]) -> None:
        """A worker writes its rows to the log of the run it works for."""
        self._secrets = secrets

    def say_rest(self) -> None:
        """What was counted and not said yet."""
        self._say_more_failed()

    def message(self, text: str) -> None:
        """A line that is shown to the person who runs it."""
        self.event("info", "message", message=text)

    def failure(self, failure: Failure) -> None:
        """A row that has failed."""
        self._row_lines += 1
        if self._row_lines > ROW_LINES:
            self._more_failed[failure.error_class] += 1
            return
        self.event(
            "warning",
            "row_failed",
            row_id=failure.row_id,
            custom_id=failure.custom_id,
            error_class=failure.error_class,
            error_code=failure.error_code,
            error_message=failure.error_message,
            error_raw=failure.error_raw,
            attempts=failure.attempts,
            endpoint=failure.endpoint,
            lane=failure.lane,
        )

    def batch(self, step: str, batch: Batch) -> None:
        """A step of a batch's life, one of those of `store.batches`."""
        ended = {"phase": batch.phase} if step == "ended" else {}
        came = {"answered": batch.answered, "failed": batch.failed} if step == "merged" else {}
        self.event(
            "warning" if step in {"absent", "unmerged", "dropped", "stray"} else "info",
            "batch",
            step=step,
            batch=batch.key,
            batch_id=batch.id,
            endpoint=batch.endpoint,
            shard=batch.shard,
            rows=batch.lines,
            **ended,
            **came,
        )

    def update(self, state: RunState) -> None:
        """Says what is new since the last update."""
        for name, why in state.out.items():
            if name not in self._out:
                self._out.add(name)
                self.event("warning", "endpoint_out", endpoint=name, error_message=why)
        self._say_new_words(state.added.unknown_finish)
        now = self._clock()
        limited, errors = state.attempts.limited, state.attempts.errors
        trouble = state.paused or limited > self._limited or errors > self._errors
        if now >= self._next_limited and (trouble or self._paused):
            self._next_limited = now + LIMITED_EVERY_S
            self.event(
                "warning" if trouble else "info",
                "trouble" if trouble else "over",
                rate_limited=limited - self._limited,
                errors=errors - self._errors,
                paused=state.paused,
                why=state.why,
                window=state.window,
                in_flight=state.in_flight,
            )
            self._limited, self._errors, self._paused = limited, errors, state.paused
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY_S
            self._say_more_failed()
            self.event("info", "progress", **_progress(state))

    def ended(self, summary: RunSummary) -> None:
        """How the run ended."""
        self._say_more_failed()
        self._say_new_words(summary.totals.unknown_finish)
        if summary.stopped is not None:
            self.event("warning", "stop", reason=summary.stopped, message=summary.message)
        level = "info" if summary.exit_code == 0 else "warning"
        self.event(level, "end", **_end(summary))

    def crashed(self, error: BaseException, exit_code: int) -> None:
        """The command ended by an error, without a summary."""
        self._say_more_failed()
        self.event("error", "error", error=type(error).__name__, message=str(error), exit_code=exit_code)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _say_more_failed(self) -> None:
        if self._more_failed:
            counts, self._more_failed = dict(self._more_failed), Counter()
            self.event("warning", "rows_failed", more=sum(counts.values()), by_error_class=counts)

    def _say_new_words(self, words: WordCounts) -> None:
        """Each finish reason that is in no table, once, when it first came; `WordCounts` bounds them."""
        for word in words.keys() - self._words:
            self._words.add(word)
            self.event("warning", "unknown_finish", finish_reason=word)

    def _clean(self, value: Any) -> Any:
        """A value that is safe to show, wherever the log may end up."""
        if isinstance(value, str):
            return printable(without_credentials(redact(value, self._secrets)), MAX_CHARS)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {self._clean(str(key)): self._clean(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(one) for one in value]
        return value


def _progress(state: RunState) -> dict[str, Any]:
    totals = state.totals
    return {
        "final": totals.rows,
        "answered": totals.answered,
        "failed": totals.failed,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cached_tokens": totals.cached_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "empty": totals.empty,
        "cost_usd": totals.spent_usd,
        **asdict(state.attempts),
        "window": state.window,
        "in_flight": state.in_flight,
        "batches_out": len(state.batches),
        "rows_out": state.rows_out,
    }


def _end(summary: RunSummary) -> dict[str, Any]:
    totals = summary.totals
    return {
        "exit_code": summary.exit_code,
        "input_rows": summary.input_rows,
        "pending": summary.pending,
        "batches_out": summary.batches_out,
        "rows_out": summary.rows_out,
        "totals": totals.stated(),
        "sent": summary.sent,
        "maybe_repaid": summary.maybe_repaid,
        "elapsed_s": round(summary.elapsed_s, 3),
        "output": summary.output,
    }

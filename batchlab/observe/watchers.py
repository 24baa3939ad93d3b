"""All who watch one run from outside: metrics file, log file, spans; any of them may be absent."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchlab.errors import EXIT_FAILED_ROWS, BatchlabError, UsageError
from batchlab.job import Job
from batchlab.job.index import in_keys
from batchlab.observe.event_log import EventLog
from batchlab.observe.facts import EndpointAddress, RunFacts
from batchlab.observe.metrics import MetricsFile
from batchlab.records import ChatRequest, Failure, Result
from batchlab.run_end import RunSummary
from batchlab.run_state import RunState
from batchlab.store.batches import Batch

if TYPE_CHECKING:
    from batchlab.observe.spans import RunSpans

Say = Callable[[str], None]


class Watchers:
    """Passes on what happens. Files are opened before anything is paid; what fails later is said.

    Raises:
        UsageError: a file cannot be written, or the spans' packages are missing.
    """

    def __init__(self, job: Job, say: Say) -> None:
        self._say = say
        output = job.output
        with contextlib.ExitStack() as stack:
            self._metrics = MetricsFile(output.metrics_file, self._tell) if output.metrics_file else None
            run = str(Path(output.run_dir).absolute())
            self._log = EventLog(output.log_file, run, self._tell) if output.log_file else None
            if self._log is not None:
                stack.callback(self._log.close)
            self._spans = _spans(self.message) if output.otel else None
            stack.pop_all()

    @property
    def span(self) -> tuple[int, int, int] | None:
        """What the spans of workers' rows are linked to, for `worker_watch`; None without spans."""
        return None if self._spans is None else self._spans.link()

    @property
    def of_rows(self) -> bool:
        """Whether any of them wants to know of single rows."""
        return any(one is not None for one in (self._metrics, self._log, self._spans))

    def message(self, text: str) -> None:
        """Shows a line to the person, and logs it."""
        self._say(text)
        self.heard(text)

    @contextlib.contextmanager
    def speaking_by(self, say: Say | None) -> Iterator[None]:
        """Shows lines by `say`, such as above a progress line, while the context lasts; None: as before."""
        before, self._say = self._say, say or self._say
        try:
            yield
        finally:
            self._say = before

    def _tell(self, text: str) -> None:
        self._say(text)

    def heard(self, text: str) -> None:
        """A line was shown."""
        if self._log is not None:
            self._log.message(text)

    def started(self, facts: RunFacts) -> None:
        """The run's lock is held and its first request comes next."""
        if self._metrics is not None:
            self._metrics.started(facts)
        if self._log is not None:
            self._log.started(facts)
        if self._spans is not None:
            self._safely(self._spans.started, facts)

    def joined(
        self,
        span: tuple[int, int, int] | None,
        addresses: Sequence[EndpointAddress],
        secrets: tuple[str, ...],
    ) -> None:
        """This is a worker of a run that has begun."""
        if self._log is not None:
            self._log.joined(secrets)
        if self._spans is not None:
            self._safely(self._spans.joined, span, addresses)

    def update(self, state: RunState) -> None:
        """How far the run is; called a few times a second."""
        if self._metrics is not None:
            self._metrics.update(state)
        if self._log is not None:
            self._log.update(state)

    def begun(self, request: ChatRequest) -> None:
        """The row is about to be sent."""
        if self._spans is not None:
            self._spans.begun(request)

    def sent(self, row_id: int) -> None:
        """A request for the row is about to leave."""
        if self._spans is not None:
            self._spans.sent(row_id)

    def result(self, result: Result) -> None:
        """The row's final result is in the journal."""
        if isinstance(result, Failure):
            if self._metrics is not None:
                self._metrics.failure()
            if self._log is not None:
                self._log.failure(result)
        if self._spans is not None:
            self._safely(self._spans.result, result)

    def batch(self, step: str, batch: Batch) -> None:
        """A step of a batch is in its log."""
        if self._log is not None:
            self._log.batch(step, batch)

    def ended(self, summary: RunSummary) -> None:
        """The run has a summary."""
        if self._metrics is not None:
            self._metrics.ended(summary)
        if self._log is not None:
            self._log.ended(summary)
        if self._spans is not None:
            self._safely(self._spans.ended, summary)

    def crashed(self, error: BaseException) -> None:
        """The command ends by an error."""
        code = error.exit_code if isinstance(error, BatchlabError) else EXIT_FAILED_ROWS
        if self._metrics is not None:
            self._metrics.crashed(code)
        if self._log is not None:
            self._log.crashed(error, code)
        if self._spans is not None:
            self._safely(self._spans.crashed, error)

    def close(self) -> None:
        """Sends and closes what is open."""
        if self._spans is not None:
            self._safely(self._spans.close)
        if self._log is not None:
            self._log.say_rest()
            self._log.close()

    def _safely(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - whatever the SDK does, the run was paid for
            self._spans = None
            self.message(f"OpenTelemetry failed ({type(error).__name__}: {error}); the run goes on without")


def _spans(say: Say) -> RunSpans:
    try:
        from batchlab.observe.spans import RunSpans
    except ImportError as error:
        raise UsageError("{output.otel} needs: pip install 'batchlab[otel]'") from error
    return RunSpans(say)


def worker_watch(
    job: Job,
    span: tuple[int, int, int] | None,
    addresses: Sequence[EndpointAddress],
    secrets: tuple[str, ...],
    say: Say,
) -> Watchers | None:
    """What watches the rows of a worker: its failures go to the run's log, its spans are linked to the run's.

    None when nobody wants to know of rows, or what its parent could open cannot be opened any more.
    """
    output = dataclasses.replace(job.output, metrics_file=None, otel=span is not None)
    try:
        watchers = Watchers(dataclasses.replace(job, output=output), say)
    except UsageError as error:
        say(in_keys(str(error)))
        return None
    watchers.joined(span, addresses, secrets)
    return watchers if watchers.of_rows else None


@contextlib.contextmanager
def watching(job: Job, say: Say) -> Iterator[Watchers]:
    """The watchers of a run, told of the error that ends it, if one does, and closed at the end."""
    watchers = Watchers(job, say)
    try:
        yield watchers
    except BaseException as error:  # whatever it is, the log says how the run ended; it goes on its way
        watchers.crashed(error)
        raise
    finally:
        watchers.close()

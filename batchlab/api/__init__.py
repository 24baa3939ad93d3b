"""The Python API: `batchlab.run`, `stream`, `plan`, `load`, `collect`, `cancel`.

All work inside a running event loop (a notebook): a run gets a thread of its own, and the thread
that called waits for it and hears Ctrl-C or the kernel's interrupt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from batchlab.api.errors import in_keywords, run_stopped, short_errors
from batchlab.api.keywords import JobLike, Rows, is_rows, job_of, job_of_rows
from batchlab.api.signatures import with_settings
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.records import Completion, Failure
from batchlab.run_end import RunSummary, StopReason

if TYPE_CHECKING:
    import pandas as pd

    from batchlab.api.streaming import Start
    from batchlab.planning.preview import Preview
    from batchlab.runner.embedded.interrupt import Interrupt
    from batchlab.runner.embedded.outbox import Outbox
    from batchlab.runner.run_options import RunOptions

BUFFER = 64  # results that wait for a stream's program before rows are held back


@overload
def run(
    job: JobLike = None,
    *,
    fresh: bool = False,
    detach: bool = False,
    progress: str = "auto",
    quiet: bool | None = None,
    **keywords: Any,
) -> RunSummary: ...


@overload
def run(
    job: Rows,
    *,
    fresh: bool = False,
    detach: bool = False,
    progress: str = "auto",
    quiet: bool | None = None,
    **keywords: Any,
) -> pd.DataFrame: ...


def run(
    job: JobLike | Rows = None,
    *,
    fresh: bool = False,
    detach: bool = False,
    progress: str = "auto",
    quiet: bool | None = None,
    **keywords: Any,
) -> RunSummary | pd.DataFrame:
    """Runs a job, or goes on with it.

    Rows in, frame out: with a pandas frame, an Arrow table, a list of dicts or a list of prompts as
    the first argument, the result is a DataFrame with the input's own columns and index, in order,
    then the result columns. `frame.attrs["batchlab"]` holds the fields of the RunSummary; money that is
    not known is None in it.

    >>> import batchlab, pandas as pd
    >>> frame = pd.DataFrame({"text": ["A kettle.", "A lamp."]}, index=["a", "b"])
    >>> answers = batchlab.run(
    ...     frame, prompt="Describe: {text}", model="any", max_tokens=8, base_url="simulator"
    ... )
    >>> answers[["text", "status", "completion_tokens"]]
            text     status  completion_tokens
    a  A kettle.  truncated                  8
    b    A lamp.  truncated                  8
    >>> answers.attrs["batchlab"]["totals"]["completion_tokens"]
    16

    The rows are first written into the run directory: `runs/df-HASH`, named after the rows and the
    request, or `run_dir`. The same call, in a restarted kernel too, goes on where the last one was
    and pays for nothing twice; with a `run_dir`, an edited frame sends its new and changed rows only.

    A job file, or a job described by keywords alone, gives a RunSummary:

    >>> with open("rows.csv", "w") as file:
    ...     _ = file.write("text\\nA kettle.\\n")
    >>> summary = batchlab.run(
    ...     input="rows.csv", prompt="Describe: {text}", model="any", base_url="simulator"
    ... )
    >>> summary.run_dir, summary.totals.ok
    ('runs/rows', 1)

    Args:
        job: rows; or a job file's path, or its content as a mapping; None to describe it by keywords.
        fresh: go on although the request changed; every answer to an unchanged request is kept.
        detach: order the batches that may be ordered, take what has ended, and leave: the summary's `stopped`
            is then `detached`, and of rows given here a frame comes back in which those that are out are
            `pending`. `collect`, or the same call, goes on.
        progress: `auto` is one line that is replaced in a notebook, a bar on a terminal, plain lines
            elsewhere; `bar`, `plain`, `json`, `none`.
        quiet: say nothing but progress; None is False for rows and True for a job.
        keywords: the settings of the job by their names, as `model`, `max_cost` or `schema` (a file, a
            dict or a Pydantic model); the signature and `batchlab guide settings` list them. What no
            setting could mean is a request parameter (`max_tokens=64`, `seed=7`); one that is called
            like a setting goes into `params={...}`.

    Raises:
        UsageError: nothing was sent; with InputError, the rows are the reason.
        RunStopped: rows were given and the run stopped early (key, budget, outage, ...). A failed
            row raises nothing: its `status` is `failed`.
        KeyboardInterrupt: after Ctrl-C or the kernel's interrupt, once requests in flight have
            arrived; a second one leaves at once. `batchlab.load(run_dir)` has the rows so far.
    """
    if is_rows(job):
        options = _options(progress, fresh=fresh, quiet=bool(quiet))
        return _run_rows(job, dataclasses.replace(options, waits=not detach), keywords)
    with short_errors():
        described = job_of(job, keywords)  # type: ignore[arg-type]
    from batchlab.runner.run_options import RunOptions

    options = RunOptions(
        fresh=fresh,
        progress=progress,
        quiet=quiet is not False,
        command="batchlab.run(...)",
        spell=in_keywords,
        waits=not detach,
    )
    return _waited_for(described, options)


def collect(
    run_dir: str | Path, *, overwrite: bool = False, progress: str = "none", quiet: bool | None = None
) -> RunSummary:
    """Takes home what the batches of a run have brought, orders what may be ordered, and leaves.

    It waits for nothing: `stopped` of the summary is `detached` while rows are out, and None once every row
    is final, with the run's output file written.

    Args:
        run_dir: the run, or its job file.
        overwrite: replace the run's output file though it has changed.

    Raises:
        UsageError: no row of the run is for a batch, or its batches were cancelled.
    """
    from batchlab.runner.batches.collecting import collect_run

    options = _options_of_summary(progress, quiet=quiet)
    return _in_its_thread(lambda its: collect_run(str(run_dir), its, overwrite=overwrite), options, run_dir)


def cancel(
    run_dir: str | Path, *, wait: float | str = "10m", progress: str = "none", quiet: bool | None = None
) -> RunSummary:
    """Cancels the batches of a run at their service, and keeps what they had answered by then.

    `batches_out` of the summary says how many have not ended yet; `collect` takes home what they bring.

    Args:
        run_dir: the run, or its job file.
        wait: longest to wait for their end, in seconds or as `10m`.

    Raises:
        UsageError: none is out, or the service cannot cancel one.
    """
    from batchlab.job.values import duration_s
    from batchlab.runner.batches.collecting import cancel_run

    with short_errors():
        try:
            wait_s = duration_s(wait)
        except (TypeError, ValueError) as error:
            raise UsageError(f"wait={wait!r}: {error}") from None
    options = _options_of_summary(progress, quiet=quiet)
    return _in_its_thread(lambda its: cancel_run(str(run_dir), its, wait_s=wait_s), options, run_dir)


def _options_of_summary(progress: str, *, quiet: bool | None) -> RunOptions:
    """How a run that is gone on with by its directory is run."""
    from batchlab.runner.run_options import RunOptions

    return RunOptions(progress=progress, quiet=quiet is not False, spell=in_keywords)


def _options(progress: str, *, fresh: bool, quiet: bool) -> RunOptions:
    """How a run whose results are handed over is run: it has no closing lines."""
    from batchlab.runner.run_options import RunOptions

    return RunOptions(fresh=fresh, progress=progress, quiet=quiet, spell=in_keywords, closing_lines=False)


def _run_rows(rows: Any, options: RunOptions, keywords: Mapping[str, Any]) -> pd.DataFrame:
    from batchlab.runner.embedded.spool import spooled_rows, with_results

    with short_errors():
        described, run_dir = job_of_rows(keywords)
        with spooled_rows(rows, described, run_dir=run_dir) as spooled:
            place = spooled.job.output.run_dir
            _say_place(place, quiet=options.quiet)
            summary = _waited_for(spooled.job, options)
        if summary.stopped not in (None, StopReason.DETACHED):
            raise run_stopped(summary)
        frame: pd.DataFrame = with_results(rows, spooled, place)
    frame.attrs["batchlab"] = summary.stated()
    return frame


def stream(
    rows: str | Path | Rows | Iterable[Mapping[str, Any] | str],
    *,
    fresh: bool = False,
    progress: str = "none",
    quiet: bool | None = None,
    buffer: int = BUFFER,
    **keywords: Any,
) -> AsyncGenerator[Completion | Failure, None]:
    """The results of a run as they arrive, each row's once, for a program that is async itself.

    >>> import asyncio, batchlab
    >>> async def main():
    ...     rows = ({"text": f"Parcel {number}"} for number in range(3))
    ...     results = batchlab.stream(
    ...         rows, prompt="Describe: {text}", model="any", base_url="simulator", quiet=True
    ...     )
    ...     return sorted([(result.row_id, result.status) async for result in results])
    >>> asyncio.run(main())
    [(0, 'ok'), (1, 'ok'), (2, 'ok')]

    A result is in the run's journal before it is handed out. Rows are held back while `buffer`
    results wait, so that a slow program bounds requests and memory. The run has its own thread: a
    program that blocks disturbs no request.

    Leaving the loop stops the run in order once the generator is closed: requests in flight arrive
    and are kept. `async with contextlib.aclosing(batchlab.stream(...)) as results:` closes it at the
    end of its block. The same call goes on: it hands out the stored results first, unpaid, then the
    others.

    Args:
        rows: a file of rows or a job file (`.toml`); or rows, as for `run`. An iterable is read to
            its end first, into the run directory.
        buffer: results that may wait.
        keywords: as for `run`.

    Raises:
        UsageError: nothing was sent.
        RunStopped: after the last result, when the run stopped early.
    """
    from batchlab.api.streaming import streamed

    with short_errors():
        if buffer < 1:
            raise UsageError("buffer: must be at least 1.")
        if isinstance(rows, str | Path):
            is_job = Path(rows).suffix == ".toml"
            described = job_of(rows, keywords) if is_job else job_of(None, {**keywords, "input": rows})
            options = _options(progress, fresh=fresh, quiet=quiet is not False)
            start = _streamed_job(described, options)
        else:
            described, run_dir = job_of_rows(keywords)
            options = _options(progress, fresh=fresh, quiet=bool(quiet))
            start = _streamed_rows(rows, described, run_dir, options)
    return streamed(start, buffer)


def _streamed_job(job: Job, options: RunOptions) -> Start:
    from batchlab.runner.execute import execute

    return lambda interrupt, outbox: execute(
        job, dataclasses.replace(options, on_start=outbox.take_stored, interrupt=interrupt, taker=outbox)
    )


def _streamed_rows(rows: Any, job: Job, run_dir: Path | None, options: RunOptions) -> Start:
    from batchlab.runner.embedded.spool import spooled_rows

    def start(interrupt: Interrupt, outbox: Outbox) -> RunSummary:
        with spooled_rows(rows, job, run_dir=run_dir) as spooled:
            _say_place(spooled.job.output.run_dir, quiet=options.quiet)
            return _streamed_job(spooled.job, options)(interrupt, outbox)

    return start


def plan(job: JobLike | Rows = None, **keywords: Any) -> Preview:
    """Checks a job and estimates tokens, cost and time; sends nothing. Arguments as for `run`.

    >>> import batchlab
    >>> batchlab.plan(["Say hello."], model="any", base_url="simulator").rows
    1
    """
    from batchlab.planning.preview import preview

    with short_errors():
        if not is_rows(job):
            return _in_keywords(preview(job_of(job, keywords)))  # type: ignore[arg-type]
        from batchlab.runner.embedded.spool import looked_at_rows

        described, run_dir = job_of_rows(keywords)
        with looked_at_rows(job, described, run_dir=run_dir) as over_rows:
            return _in_keywords(preview(over_rows))


def _in_keywords(report: Preview) -> Preview:
    return dataclasses.replace(
        report,
        lines=[in_keywords(line) for line in report.lines],
        problems=[in_keywords(problem) for problem in report.problems],
    )


def load(run_dir: str | Path) -> pd.DataFrame:
    """The rows of a run, finished or not, as a DataFrame with Arrow-backed columns.

    Input columns first, then the result columns; rows without a final result have status `pending`.
    The run of a frame has the frame's index. `frame.attrs["batchlab"]["totals"]` has the sums so far;
    money that is not known is None there.

    >>> import batchlab
    >>> _ = batchlab.run(["Say hello."], model="any", base_url="simulator", run_dir="runs/hello")
    >>> batchlab.load("runs/hello")[["prompt", "status"]]
           prompt status
    0  Say hello.     ok

    Raises:
        UsageError: `run_dir` is no run.
    """
    from batchlab.looking.load import load_run

    with short_errors():
        frame: pd.DataFrame = load_run(run_dir)
    return frame


def _say_place(place: str, *, quiet: bool) -> None:
    from batchlab.progress import conversation

    if not quiet:
        print(f"run directory: {place} (the same call goes on there)", file=conversation(), flush=True)


def _waited_for(job: Job, options: RunOptions) -> RunSummary:
    """Runs the job. An interrupt ends it in order and is raised after that."""
    from batchlab.runner.execute import execute

    if not options.waits:
        from batchlab.runner.batches.engine import refuse_to_detach

        with short_errors():
            refuse_to_detach(job)
    return _in_its_thread(lambda its: execute(job, its), options, job.output.run_dir)


def _in_its_thread(
    act: Callable[[RunOptions], RunSummary], options: RunOptions, run_dir: str | Path
) -> RunSummary:
    """What a run comes to that has a thread of its own. An interrupt ends it in order and is raised after
    that."""
    from batchlab.progress import conversation
    from batchlab.runner.embedded.interrupt import Interrupt, waited_for

    def say(text: str) -> None:
        print(text, file=conversation(), flush=True)

    interrupt = Interrupt()
    with short_errors():
        options = dataclasses.replace(options, interrupt=interrupt)
        summary, interrupted = waited_for(lambda: act(options), interrupt, say)
    if interrupted:
        raise KeyboardInterrupt(f"the rows so far: batchlab.load({str(run_dir)!r}); the same call goes on")
    return summary


_FUNCTIONS: tuple[Any, ...] = (run, stream, plan)
for _function in _FUNCTIONS:  # for `help` and a notebook's completion; a type checker reads the stub
    _function.__signature__ = with_settings(_function)

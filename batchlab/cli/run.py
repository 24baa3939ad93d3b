"""`run`, `plan` and `retry`: the commands that describe or start work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from batchlab.cli.completion import run_dirs
from batchlab.cli.options import JobCommand, PlanCommand, job_of, job_options, speller
from batchlab.cli.shell import this_command
from batchlab.cli.spelling import in_flags, in_flags_of_run
from batchlab.errors import EXIT_OK, EXIT_USAGE, BatchlabError, UsageError
from batchlab.job.index import DETACH, FRESH

if TYPE_CHECKING:
    from batchlab.runner.run_options import RunOptions

PROGRESS = click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "plain", "json", "none"]),
    default="auto",
    show_default=True,
    help="How to show progress, on standard error.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")


class OfRun(click.Command):
    """A command that goes on with a run: it takes few of the flags that messages name."""

    def spell(self, text: str) -> str:
        """A message, with flags that are not its own told to be those of `batchlab run`."""
        return in_flags_of_run({flag for one in self.params for flag in one.opts})(text)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BatchlabError as error:
            error.args = (self.spell(str(error)),)
            raise


@click.command(cls=JobCommand)
@job_options
@PROGRESS
@QUIET
@click.option("--fresh", is_flag=True, help=FRESH.help)
@click.option("--detach", is_flag=True, help=DETACH.help)
@click.option(
    "--view", "viewed", is_flag=True, help="Show the run on a page in a browser for as long as it lasts."
)
def run(
    job_file: str | None,
    *,
    progress: str,
    quiet: bool,
    fresh: bool,
    detach: bool,
    viewed: bool,
    **options: Any,
) -> int:
    """Run a job, or go on with it: the same command resumes.

    JOB.toml describes the job; options win over it. Without it, ROWS (or -i), -m and usually -p are
    needed; a batch file, of custom_id, method, url, body, needs neither -m nor -p.

    \b
    Example:
        batchlab run sample_data/tickets.csv -m MODEL \\
          -p "One word, the topic of: {body}" --base-url simulator
    """
    from batchlab.arrow import without_pandas
    from batchlab.runner.execute import execute

    without_pandas()
    job = job_of(job_file, options)
    if detach:
        from batchlab.runner.batches.engine import refuse_to_detach

        refuse_to_detach(job)
    asked = replace(_options(progress, quiet=quiet, fresh=fresh, spell=speller(job_file)), waits=not detach)
    if not viewed:
        return execute(job, asked).exit_code
    from batchlab.page.beside import beside

    with beside(_line_sayer(progress, quiet=quiet)) as page:
        return execute(job, replace(asked, on_start=lambda store: page(store.path))).exit_code


def _line_sayer(progress: str, *, quiet: bool) -> Callable[[str], None]:
    """Says a line while a run shows its progress, from any thread."""

    def say(text: str) -> None:
        if quiet:
            return
        if progress == "json":
            from batchlab.finite import strict_json

            text = strict_json({"message": text})
        if (tqdm := getattr(sys.modules.get("tqdm"), "tqdm", None)) is not None:
            tqdm.write(text, file=sys.stderr)  # above the bar, if there is one
        else:
            click.echo(text, err=True)

    return say


@click.command(cls=PlanCommand)
@job_options
@click.option(
    "--pilot",
    type=int,
    metavar="N",
    help="Really send N rows, drawn at random, and forecast the run from them; they count as done rows.",
)
@click.option(
    "--tokenizer",
    metavar="tokenizer.json",
    type=click.Path(exists=True, dir_okay=False),
    help="Count prompt tokens by the model's own tokenizer file; needs pip install 'batchlab[tokenizer]'.",
)
@PROGRESS
@QUIET
def plan(
    job_file: str | None,
    *,
    pilot: int | None,
    tokenizer: str | None,
    progress: str,
    quiet: bool,
    **options: Any,
) -> int:
    """Check a job and estimate tokens, cost and time. Without --pilot it sends and writes nothing.

    Exit code 2 when a run would be refused for its input; every problem is one line. Rows that would fail
    unsent are named, and refuse nothing unless --strict is given.

    \b
    Example:
        batchlab plan sample_data/tickets.csv -m MODEL \\
          -p "One word, the topic of: {body}" --base-url simulator
    """
    job, spell = job_of(job_file, options), speller(job_file)
    if pilot is not None:
        from batchlab.planning.pilot import pilot as run_pilot

        found = run_pilot(job, pilot, _options(progress, quiet=quiet, spell=spell))
        for line in found.lines:
            click.echo(spell(line))
        for problem in found.problems:
            click.echo(f"batchlab: {in_flags(problem)}", err=True)
        return found.exit_code
    from batchlab.planning.preview import preview

    report = preview(job, tokenizer=tokenizer)
    for line in report.lines:
        click.echo(spell(line))
    for problem in report.problems:
        click.echo(f"batchlab: {in_flags(problem)}", err=True)
    return EXIT_USAGE if report.problems else EXIT_OK


@click.command(cls=OfRun)
@click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)
@click.option(
    "--only",
    multiple=True,
    metavar="WORD[,WORD]",
    help="Only these: truncated, filtered, empty or invalid answers, failed rows, those of an error_class or an "
    "HTTP status; repeatable. [default: failed]",
)
@click.option(
    "--rows", default="", metavar="ROWS", help="Of these rows only: row_ids and ranges, as 17,20-39."
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Ask these rows with this max_tokens; the run keeps its own.",
)
@click.option(
    "-c", "--concurrency", type=int, metavar="N", help="Most requests in flight. [default: as the run]"
)
@click.option(
    "--detach",
    is_flag=True,
    help="Of a run in the lane batch: order what may be ordered, and leave, with exit code 3 while it is out; "
    "batchlab collect RUN orders the rest, and takes home all.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run's output file though it has changed.")
@PROGRESS
@QUIET
def retry(
    run_dir: str,
    *,
    only: tuple[str, ...],
    rows: str,
    max_tokens: int | None,
    concurrency: int | None,
    detach: bool,
    overwrite: bool,
    progress: str,
    quiet: bool,
) -> int:
    """Ask again for the rows of RUN that failed, or whose answers are truncated, filtered, empty or invalid.

    A good answer is never asked for again. One that is not good stays unless a better one comes: a row that
    fails this time keeps what it had. What the old answer cost is then in the books as not kept.

    \b
    Example:
        batchlab retry runs/quickstart --only timeout --only 500
        batchlab retry runs/quickstart --only truncated --max-tokens 400
        batchlab retry runs/night --detach
    """
    from batchlab.arrow import without_pandas
    from batchlab.runner.rows.retry_failed import retry_run
    from batchlab.store.asking import AskAgain, row_ranges

    without_pandas()

    options = replace(_options(progress, quiet=quiet, spell=_spell_own()), waits=not detach)
    words = tuple(one.strip() for word in only for one in word.split(",") if one.strip())
    try:
        meant = row_ranges(rows)
    except ValueError as error:
        raise UsageError(f"--rows: {error}.") from None
    again = AskAgain(words, max_tokens=max_tokens, rows=meant)
    done = retry_run(run_dir, options, retry=again, concurrency=concurrency, overwrite=overwrite)
    return done.exit_code


@click.command(cls=OfRun)
@click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)
@click.option("--overwrite", is_flag=True, help="Replace the run's output file though it has changed.")
@PROGRESS
@QUIET
def collect(run_dir: str, *, overwrite: bool, progress: str, quiet: bool) -> int:
    """Take home what batches of RUN have brought, order what may be ordered, and leave: for cron.

    Waits for nothing. Exit code 0 once every row is answered, 3 while rows are pending. When the last batch
    has ended, the run does, with its output file.

    \b
    Example:
        batchlab collect runs/night
        */15 * * * * cd /srv/night && batchlab collect runs/night -q
    """
    from batchlab.arrow import without_pandas
    from batchlab.runner.batches.collecting import collect_run

    without_pandas()
    options = _options(progress, quiet=quiet, spell=_spell_own())
    return collect_run(run_dir, options, overwrite=overwrite).exit_code


@click.command(cls=OfRun)
@click.argument("run_dir", metavar="RUN", type=click.Path(), shell_complete=run_dirs)
@click.option(
    "--wait",
    "wait_s",
    metavar="TIME",
    default="10m",
    show_default=True,
    help="Longest to wait until they have ended.",
)
@PROGRESS
@QUIET
def cancel(run_dir: str, *, wait_s: str, progress: str, quiet: bool) -> int:
    """Cancel the batches of RUN at their service, and keep what they had answered by then.

    Exit code 0 once none is out any more, 3 while some are: batchlab collect RUN takes home what they bring.
    A run at work is ended in order by Ctrl-C, or kill; its batches go on until they are cancelled.

    \b
    Example:
        batchlab cancel runs/night
    """
    from batchlab.arrow import without_pandas
    from batchlab.runner.batches.collecting import cancel_run

    without_pandas()
    options = _options(progress, quiet=quiet, spell=_spell_own())
    return cancel_run(run_dir, options, wait_s=_seconds(wait_s)).exit_code


def _spell_own() -> Callable[[str], str]:
    """How a command that goes on with a run calls settings: it takes few of their flags itself."""
    command = click.get_current_context().command
    return command.spell if isinstance(command, OfRun) else in_flags


def _seconds(text: str) -> float:
    from batchlab.job.values import duration_s

    try:
        return duration_s(text)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--wait {text}: {error}") from None


def _options(
    progress: str, *, quiet: bool, fresh: bool = False, spell: Callable[[str], str] = in_flags
) -> RunOptions:
    """How a command runs a job: it says how to go on, and hears the terminal's signals."""
    from batchlab.runner.run_options import RunOptions

    return RunOptions(
        fresh=fresh,
        progress="none" if quiet else progress,
        quiet=quiet,
        command=this_command(),
        signals=True,
        spell=spell,
    )

"""The command line: parse, call one function, print.

Nothing heavy is imported until a command runs: `batchlab --help` loads neither pandas
nor pyarrow nor aiohttp.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from batchlab import __version__
from batchlab.cli.money import cost, report
from batchlab.cli.results import export, status, verify
from batchlab.cli.run import plan, retry, run
from batchlab.cli.setup import check, explain_errors, init, simulate
from batchlab.errors import EXIT_STOPPED, EXIT_USAGE, BatchlabError

EPILOG = """\b
Exit codes: 0 every row ok · 1 finished, some rows failed · 2 nothing was sent
            3 stopped early, resumable · 129/130/143 interrupted, resumable

\b
Example:
    batchlab run jobs/quickstart.toml
"""


@click.group(
    epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="batchlab")
def cli() -> None:
    """Run a file of prompts through an OpenAI-compatible endpoint: resumable, with exact books."""


for _command in (
    run,
    plan,
    status,
    verify,
    retry,
    export,
    cost,
    report,
    init,
    check,
    simulate,
    explain_errors,
):
    cli.add_command(_command)


def shortage(error: BaseException) -> str | None:
    """What this machine lacks, when that is what an error says; None when it is something else."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(error.errno or 0)}"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(
        sign in text for sign in ("can't start new thread", "failed to map segment", "cannot allocate memory")
    ):
        return "this machine has too little memory for the run; a lower --concurrency needs less"
    return None


def main() -> NoReturn:
    """The `batchlab` command. Our errors become one line each and an exit code; never a traceback."""
    try:
        code = cli.main(prog_name="batchlab", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BatchlabError as error:
        for line in str(error).splitlines():
            click.echo(f"batchlab: {line}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("batchlab: interrupted; nothing was sent by this command.", err=True)
        code = 130
    except BrokenPipeError:
        # the reader of our output left (`batchlab status | head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        reason = shortage(error)
        if reason is None:
            raise
        click.echo(f"batchlab: {reason}. What had arrived is saved: run the same command to go on.", err=True)
        code = EXIT_USAGE if isinstance(error, ImportError) else EXIT_STOPPED
    sys.exit(code if isinstance(code, int) else 0)

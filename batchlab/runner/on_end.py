"""`--on-end COMMAND`: somebody is told that a run has ended. Whatever comes of it, the run's end stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from batchlab.finite import strict_json
from batchlab.run_end import RunSummary

MOST_S = 60.0  # a notification that hangs may not keep a shell script waiting


def tell(command: str, summary: RunSummary, say: Callable[[str], None]) -> None:
    """Runs a command of the user's shell, with the summary as JSON on its standard input.

    What most commands need is also in variables: BATCHLAB_RUN, BATCHLAB_EXIT_CODE, BATCHLAB_STOPPED (empty
    for a run that finished), BATCHLAB_ROWS, BATCHLAB_OK, BATCHLAB_FAILED, BATCHLAB_COST_USD (empty when it
    is not known) and BATCHLAB_MESSAGE. A command that fails, or takes more than a minute, is told of in a
    line.
    """
    totals, spent = summary.totals, summary.spent_usd
    told = {
        "RUN": summary.run_dir,
        "EXIT_CODE": str(summary.exit_code),
        "STOPPED": summary.stopped or "",
        "ROWS": str(summary.input_rows),
        "OK": str(totals.ok),
        "FAILED": str(totals.failed),
        "COST_USD": "" if spent is None else f"{spent:.6f}",
        "MESSAGE": summary.message,
    }
    try:
        done = subprocess.run(  # noqa: S602 - the user's own line: pipes and variables are why it is given
            command,
            shell=True,
            input=strict_json(summary.stated()).encode(),
            env={**os.environ, **{f"BATCHLAB_{name}": value for name, value in told.items()}},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=MOST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"on-end: the command took more than {MOST_S:g} s and was ended")
    except OSError as error:
        say(f"on-end: the command cannot be started: {os.strerror(error.errno or 0)}")
    else:
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            said = f": {lines[-1][:200]}" if lines else ""
            say(f"on-end: the command ended with exit code {done.returncode}{said}")

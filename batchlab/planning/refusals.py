"""Why `run` would not start now, for `plan`: a key, a price, a directory, something that a run has lost.

Sends nothing, asks no store, and takes no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.inputs.plan import Planned
from batchlab.job import Job
from batchlab.job.key import find_key
from batchlab.runner.execute import refuse_unpayable
from batchlab.runner.losses import losses_refusal
from batchlab.runner.preparing.changes import changed_settings
from batchlab.runner.preparing.planned_input import refuse_unpriced
from batchlab.runner.preparing.prepare import refuse_foreign_directory
from batchlab.store.integrity.losses import find_losses
from batchlab.store.layout import is_run
from batchlab.store.view import RunView


def refusals(job: Job, planned: Planned) -> list[str]:
    """What a run would be refused for, one line each; empty when it would start."""
    path = Path(job.output.run_dir)
    checks: list[Callable[[], object]] = [partial(find_key, endpoint) for endpoint in job.endpoint]
    checks += [partial(refuse_unpayable, job), partial(refuse_unpriced, job, planned.plan)]
    if not is_run(path):
        checks.append(partial(refuse_foreign_directory, job, path))
    found = []
    for check in checks:
        try:
            check()
        except UsageError as error:
            found.append(str(error))
    if is_run(path):
        found += _of_run(job, RunView.open(path))
    return list(dict.fromkeys(found))


def _of_run(job: Job, run: RunView) -> Iterator[str]:
    """Why a run would not go on."""
    if (holder := run.lock_holder()) is not None:
        yield f"{run.path}: in use by process {holder}. Wait for it, or stop it: `kill` ends it in order."
    losses = find_losses(run)
    if any(loss.is_strange for loss in losses) or (losses and not job.output.accept_lost_parts):
        text, url = losses_refusal(run, losses), run.manifest.remote
        # only the run itself asks the store
        yield text if url is None else f"{text}\nIt looks first whether {url} has them."
    if run.totals().rows:
        changed = [name for name, _, _ in changed_settings(run.manifest.settings, job.request_settings())]
        if changed:
            yield (
                f"{run.path}: holds answers to another request ({', '.join(changed)} changed). "
                "Pass {run.fresh} to ask the new one, or another {output.run_dir} to keep both."
            )

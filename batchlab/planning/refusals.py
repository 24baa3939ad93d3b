"""Why `run` would not start now, for `plan`: a key, a price, a directory. Sends nothing, asks no store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.inputs.plan import Planned
from batchlab.job import Job
from batchlab.job.key import find_key
from batchlab.runner.execute import refuse_unpayable
from batchlab.runner.prepare import changed_settings, refuse_foreign_directory, refuse_unpriced
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
    if is_run(path) and (run := RunView.open(path)).totals().rows:
        changed = [name for name, _, _ in changed_settings(run.manifest.settings, job.request_settings())]
        if changed:
            found.append(
                f"{path}: holds answers to another request ({', '.join(changed)} changed). "
                "Pass {run.fresh} to ask the new one, or another {output.run_dir} to keep both."
            )
    return list(dict.fromkeys(found))

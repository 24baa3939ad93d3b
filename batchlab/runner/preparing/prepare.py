"""From a job to a locked run directory with a plan: new, resumed, or a new generation.

A run goes on when it is the same input and the same request. A changed input makes a new
generation that keeps every answer to an unchanged request; changed request settings do so
only with `fresh`, because asking the new question again costs money.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.engines.sizing import merged, planned_shard_rows
from batchlab.errors import UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import source_of, spool_stdin, spooled_anew
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.job import Job, default_run_dir
from batchlab.remote.urls import is_url
from batchlab.runner.batches.left import refuse_batches_out, refuse_left_alone
from batchlab.runner.losses import settle_losses
from batchlab.runner.mirroring import brought_home, follow_at_url, refuse_other_url, taken_over
from batchlab.runner.preparing.changes import begin_generation, changed_settings, settings_refusal
from batchlab.runner.preparing.planned_input import plan_or_refuse, refuse_undedupable, refuse_unpriced
from batchlab.store.disk.files import private_dir
from batchlab.store.layout import Layout, foreign_files, is_run
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import FORMAT, Manifest, plan_digest

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that may start: its directory is locked."""

    store: LockedRun
    source: Source
    plan: InputPlan
    builder: RequestBuilder


def prepare(
    job: Job,
    *,
    fresh: bool,
    say: Say,
    on_scan: Callable[[int, int | None], None] | None = None,
    is_own: bool = False,
) -> Prepared:
    """Opens or creates the job's run directory, locked.

    Args:
        is_own: the job came with the run, and so do rows that came through standard input.

    Raises:
        UsageError: the input has problems, the request settings changed without `fresh`, the
            directory is not writable or in use by another process. Nothing was sent.
    """
    path, accept = Path(job.output.run_dir), job.output.accept_lost_parts
    # said of this invocation, not of those that go on from its run.json
    job = dataclasses.replace(job, output=dataclasses.replace(job.output, accept_lost_parts=False))
    if job.output.remote is not None and not is_run(path):
        taken_over(path, job.output.remote, say, accept=accept)
    new = not is_run(path)
    if new:
        prepared = _created(job, path, say=say, on_scan=on_scan)
    else:
        keeps_rows = is_own and Layout(path).stdin.exists()
        prepared = _reopened(
            job, path, fresh=fresh, accept=accept, say=say, on_scan=on_scan, keeps_rows=keeps_rows
        )
    try:
        follow_at_url(prepared.store, job.output.remote, say)
    except BaseException:  # whatever it is, neither the lock nor a refused run may stay behind
        prepared.store.close()
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return prepared


def _reopened(
    job: Job,
    path: Path,
    *,
    fresh: bool,
    accept: bool,
    say: Say,
    on_scan: Callable[[int, int | None], None] | None,
    keeps_rows: bool,
) -> Prepared:
    store = LockedRun.open(path)
    spool = store.layout.stdin
    try:
        with spooled_anew(spool) if job.input.path == "-" and not keeps_rows else contextlib.nullcontext():
            brought_home(store, say)
            settle_losses(store, accept=accept, say=say)
            source = source_of(job.input, spool)
            return _resumed(job, store, source, fresh=fresh, say=say, on_scan=on_scan)
    except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
        store.close()
        raise


def _created(
    job: Job, path: Path, *, say: Say, on_scan: Callable[[int, int | None], None] | None
) -> Prepared:
    refuse_foreign_directory(job, path)
    piped, spool = job.input.path == "-", Layout(path).stdin
    if piped:
        private_dir(path)
        spool_stdin(spool)
    try:
        source = source_of(job.input, spool)
        small = planned_shard_rows(job)
        planned = plan_or_refuse(small, source, on_scan=on_scan, say=say)
        plan, rows = merged(job, small, planned.plan)
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, shard_rows=rows))
        store = LockedRun.create(path, Manifest.of(job, plan))
    except UsageError:
        if piped:  # a refused run leaves nothing behind
            spool.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return Prepared(store, source, plan, planned.ready_builder)


def refuse_foreign_directory(job: Job, path: Path) -> None:
    """Raises UsageError if a new run would begin among files that are somebody's."""
    output = job.output
    if path.is_file():
        raise UsageError(
            f"{path}: is a file, and a run is a directory. Pass {{output.run_dir}} with another name."
        )
    written = (output.file, output.errors, output.log_file, output.metrics_file)
    own = {Path(name).absolute() for name in written if name and not is_url(name)}
    foreign = [name for name in foreign_files(path) if (path / name).absolute() not in own]
    if foreign:
        more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"{path}: holds files that are no run's: {foreign[0]}{more}. "
            f"Pass {{output.run_dir={path / 'run'}}}, or leave it out."
        )


def _resumed(
    job: Job,
    store: LockedRun,
    source: Source,
    *,
    fresh: bool,
    say: Say,
    on_scan: Callable[[int, int | None], None] | None,
) -> Prepared:
    manifest = store.manifest
    before, plan = manifest.job, manifest.plan
    refuse_left_alone(job, store)
    refuse_other_url(store, before.output.remote, job.output.remote)
    if job.output.run_dir == default_run_dir(job) and _is_other_file(before.input.path, job.input.path):
        raise UsageError(
            f"{store.path}: holds the answers for {before.input.path}. "
            f"Pass {{output.run_dir}} to name another directory for {job.input.path}."
        )
    changed = changed_settings(manifest.settings, job.request_settings())
    # The parts that exist were cut at this size; a new value counts for new runs only.
    job = dataclasses.replace(
        job,
        output=dataclasses.replace(
            job.output,
            shard_rows=before.output.shard_rows,
            remote=job.output.remote or before.output.remote,
        ),
    )
    if changed and not fresh and store.totals().rows:
        raise UsageError(settings_refusal(store, changed, plan))
    same_input = _input_identity(before) == _input_identity(job)
    noted = store.noted().plan  # unknown of an earlier version's run
    intact = noted in (None, plan_digest(plan)) and (manifest.format == FORMAT or _fits(store, source))
    if same_input and not changed and not job.reads_files and intact and source.unchanged(plan):
        refuse_unpriced(job, plan)
        builder = RequestBuilder(job, plan.columns)
        refuse_undedupable(job, builder)
        if _ways(job) != _ways(before):  # `collect` knows the job from there only
            # when a run was to begin is for the start itself to compare
            limits = dataclasses.replace(job.limits, start_at=before.limits.start_at)
            kept = dataclasses.replace(job, limits=limits)
            store.write_manifest(dataclasses.replace(manifest, job=kept))
        return Prepared(store, source, plan, builder)
    planned = plan_or_refuse(job, source, on_scan=on_scan, say=say)
    generation = manifest.generation
    if not intact:
        say(f"{store.path}: the plan in run.json cannot be gone on with; the input was read again")
    is_same = planned.plan.content_hash == plan.content_hash if intact else plan_digest(planned.plan) == noted
    if same_input and not changed and is_same:
        # the same rows in a touched or moved file
        store.write_manifest(manifest.planned_again(job, planned.plan, generation=generation))
    else:
        refuse_batches_out(store, rows_are_there=is_same or not same_input)
        manifest = manifest.planned_again(job, planned.plan, generation=generation + 1)
        begin_generation(store, source, planned, manifest, say)
    return Prepared(store, source, planned.plan, planned.ready_builder)


def _ways(job: Job) -> tuple[Any, ...]:
    """Where a job's rows go, how, and until when."""
    at = [(one.name, one.base_url, one.batch_api, job.limits_at(one).lane) for one in job.endpoint]
    return (at, job.limits.deadline_s, job.limits.deadline_at)


def _fits(store: LockedRun, source: Source) -> bool:
    """Whether the rows that are left can be written as a plan of an earlier format says.

    Found out before they are paid: an earlier version read some values otherwise.
    """
    plan, sealed = store.manifest.plan, store.sealed()
    try:
        if source.unchanged(plan):
            for shard in plan.shards:
                if shard.index not in sealed:
                    source.table(shard, plan)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


def _is_other_file(before: str, now: str) -> bool:
    """Whether two inputs have the same name but are not the same path."""
    if "-" in (before, now) or before == now:
        return False
    return is_url(before) or is_url(now) or Path(before).absolute() != Path(now).absolute()


def _input_identity(job: Job) -> tuple[Any, ...]:
    """What decides the rows and columns of a run's parts, beside the content of the input."""
    own, output = job.input, job.output
    columns = (output.prefix, output.expand, output.expand_prefix if output.expand else "")
    return (own.id, own.delimiter, own.quotes, own.encoding, own.limit, *columns)

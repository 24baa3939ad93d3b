"""From a job to a locked run directory with a plan: new, resumed, or a new generation.

A run goes on when it is the same input and the same request. A changed input makes a new
generation that keeps every answer to an unchanged request; changed request settings do so
only with `fresh`, because asking the new question again costs money.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from batchlab.costs.pricing import price_book
from batchlab.dispatch.rate.budget import NO_PRICE
from batchlab.engines.sizing import merged, planned_shard_rows
from batchlab.errors import CorruptRun, InputError, UsageError
from batchlab.inputs.plan import InputPlan, Planned, plan_input
from batchlab.inputs.requests import RequestBuilder, RowProblem
from batchlab.inputs.sources.opening import Source, open_source, spool_stdin
from batchlab.job import Job, default_run_dir
from batchlab.records import ChatRequest, Row
from batchlab.remote.urls import is_url
from batchlab.runner.mirroring import OWNERSHIP, brought_home, follow_at_url, refuse_other_url, taken_over
from batchlab.store.disk.files import private_dir
from batchlab.store.expanded import expanded_schema, to_text
from batchlab.store.run_dir import RunDir
from batchlab.version import __version__

FORMAT = 2  # of run.json; a newer one is refused. 1 had Arrow types for every kind of input
SHOWN_PROBLEMS = 20
SHOWN_CHARS = 500  # of a changed setting

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that may start: its directory is locked."""

    store: RunDir
    source: Source
    plan: InputPlan
    builder: RequestBuilder


def prepare(
    job: Job, *, fresh: bool, say: Say, on_scan: Callable[[int, int | None], None] | None = None
) -> Prepared:
    """Opens or creates the job's run directory, locked.

    Raises:
        UsageError: the input has problems, the request settings changed without `fresh`, the
            directory is not writable or in use by another process. Nothing was sent.
    """
    path = Path(job.output.run_dir)
    if job.output.remote is not None and not RunDir.exists(path):
        taken_over(path, job.output.remote, say)
    new = not RunDir.exists(path)
    if new:
        prepared = _created(job, path, say=say, on_scan=on_scan)
    else:
        prepared = _reopened(job, path, fresh=fresh, say=say, on_scan=on_scan)
    try:
        follow_at_url(prepared.store, job.output.remote, say)
    except BaseException:  # whatever it is, neither the lock nor a refused run may stay behind
        prepared.store.close()
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise
    return prepared


def _reopened(
    job: Job, path: Path, *, fresh: bool, say: Say, on_scan: Callable[[int, int | None], None] | None
) -> Prepared:
    store = RunDir.open(path)
    store.lock()
    try:
        if job.input.path == "-":
            spool_stdin(stdin_spool(path))
        brought_home(store, say)
        source = open_input(job, path)
        return _resumed(job, store, source, fresh=fresh, say=say, on_scan=on_scan)
    except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
        store.close()
        raise


def stdin_spool(run_dir: Path) -> Path:
    """Where a run keeps what came through standard input, so that it can be read again."""
    return run_dir / "stdin.jsonl"


def open_input(job: Job, run_dir: Path) -> Source:
    """The job's source; what came through standard input is read from the run directory."""
    return source_of(job, stdin_spool(run_dir))


def unchanged_input(store: RunDir) -> Source:
    """The input of a run, as its unfinished rows need it.

    Raises:
        UsageError: it cannot be read, or is not what it was.
    """
    job = job_of_run(store)
    source = open_input(job, store.path)
    if not source.unchanged(plan_of_run(store), racy_ok=True):
        raise InputError(
            job.input.shown_as,
            "the input changed since the run, and unfinished rows need it",
            "Run the job again first: it keeps every answer to an unchanged row.",
        )
    return source


def source_of(job: Job, spool: Path) -> Source:
    """The source that a job names; `spool` holds standard input."""
    own = job.input
    return open_source(
        own.path, delimiter=own.delimiter, quotes=own.quotes, encoding=own.encoding, spool=spool
    )


def _created(
    job: Job, path: Path, *, say: Say, on_scan: Callable[[int, int | None], None] | None
) -> Prepared:
    piped = job.input.path == "-"
    if piped:
        spool_stdin(stdin_spool(private_dir(path)))
    try:
        source = open_input(job, path)
        small = planned_shard_rows(job)
        planned = plan_or_refuse(small, source, on_scan=on_scan, say=say)
        plan, rows = merged(job, small, planned.plan)
        job = dataclasses.replace(job, output=dataclasses.replace(job.output, shard_rows=rows))
        store = RunDir.create(path, manifest_of(job, plan, generation=1))
    except UsageError:
        if piped:  # a refused run leaves nothing behind
            stdin_spool(path).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return Prepared(store, source, plan, planned.ready_builder)


def plan_or_refuse(
    job: Job,
    source: Source,
    *,
    say: Say,
    on_scan: Callable[[int, int | None], None] | None = None,
) -> Planned:
    """The plan of an input without problems; malformed lines are said, and fail their rows only.

    Raises:
        UsageError: every problem, one a line (first 20 and a count).
    """
    planned = plan_input(job, source, on_progress=on_scan)
    if planned.problems:
        raise UsageError("\n".join(problem_lines(planned.problems, planned.problem_count)))
    plan = planned.plan
    refuse_unpriced(job, plan)
    refuse_undedupable(job, planned.ready_builder)
    for note in planned.notes:
        say(note)
    if plan.malformed_count:
        malformed = [InputError(source.path, problem, row=row) for row, problem in plan.malformed]
        lines = problem_lines(malformed, plan.malformed_count)
        if job.input.strict:
            raise UsageError("\n".join(lines))
        for line in lines:
            say(line)
        count = f"{plan.malformed_count:,}"
        say(f"{count} malformed rows will be recorded as failed (bad_input); strict refuses to start")
    return planned


def refuse_unpriced(job: Job, plan: InputPlan) -> None:
    """Raises UsageError if there is a cap on cost and a model that lines name has no known price."""
    if job.limits.max_cost is None:
        return
    for endpoint in job.endpoint:
        prices = price_book(job, endpoint)
        for model in plan.models:
            if prices.find(model)[0] is None:
                raise UsageError(f"{job.input.path}: model {model}: {NO_PRICE}")


def refuse_undedupable(job: Job, builder: RequestBuilder) -> None:
    """Raises UsageError when no request of the job can have temperature 0."""
    own = builder.batch or job.input.row_params is not None or job.request.task == "embeddings"
    temperature = job.request.params.get("temperature")
    if job.output.dedupe and not own and not is_zero(temperature):
        has = "no temperature" if temperature is None else f"temperature {temperature}"
        raise UsageError(
            f"{{output.dedupe}}: the job sets {has}, and only at temperature 0 are identical requests to be "
            "answered alike. Pass {request.temperature=0}, or leave it out."
        )


def is_repeatable(request: ChatRequest) -> bool:
    """Whether a request is to be answered alike each time: it is for embeddings, or at temperature 0."""
    return request.task == "embeddings" or is_zero(request.body.get("temperature"))


def is_zero(temperature: object) -> bool:
    """Whether a request body's temperature is 0."""
    return isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0


def problem_lines(problems: list[Any], count: int) -> list[str]:
    """The first 20 problems and how many more there are."""
    shown = [str(problem) for problem in problems[:SHOWN_PROBLEMS]]
    if count > len(shown):
        shown.append(f"... and {count - len(shown):,} more")
    return shown


def manifest_of(job: Job, plan: InputPlan, *, generation: int) -> dict[str, Any]:
    """What `run.json` says of a run. It holds no key."""
    expanded = None
    if job.output.expand and job.request.schema is not None:
        expanded = to_text(expanded_schema(job.request.schema, job.output.expand_prefix))
    return {
        "format": FORMAT,
        "batchlab": __version__,
        "created": time.time(),
        "generation": generation,
        "job": job.to_dict(),
        "settings": job.request_settings(),
        "plan": plan.to_json(),
        "expanded": expanded,
    }


def job_of_run(store: RunDir) -> Job:
    """The job a run was started with."""
    manifest = store.manifest
    if manifest.get("format", 0) > FORMAT:
        raise UsageError(
            f"{store.path}: written by a newer batchlab (format {manifest['format']}). Upgrade to read it."
        )
    try:
        return Job.from_dict(manifest["job"])
    except (KeyError, TypeError) as error:
        raise CorruptRun(f"{store.path}/run.json: not a run of batchlab ({error}).") from error


def plan_of_run(store: RunDir) -> InputPlan:
    """The plan a run was started with."""
    return InputPlan.from_json(store.manifest["plan"])


def _resumed(
    job: Job,
    store: RunDir,
    source: Source,
    *,
    fresh: bool,
    say: Say,
    on_scan: Callable[[int, int | None], None] | None,
) -> Prepared:
    before, plan = job_of_run(store), plan_of_run(store)
    refuse_other_url(store, before.output.remote, job.output.remote)
    if job.output.run_dir == default_run_dir(job) and _is_other_file(before.input.path, job.input.path):
        raise UsageError(
            f"{store.path}: holds the answers for {before.input.path}. "
            f"Pass {{output.run_dir}} to name another directory for {job.input.path}."
        )
    changed = _changed_settings(store.manifest["settings"], job.request_settings())
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
        raise UsageError(_settings_refusal(store, changed, plan))
    same_input = _input_identity(before) == _input_identity(job)
    if same_input and not changed and not job.reads_files and source.unchanged(plan):
        refuse_unpriced(job, plan)
        builder = RequestBuilder(job, plan.columns)
        refuse_undedupable(job, builder)
        return Prepared(store, source, plan, builder)
    planned = plan_or_refuse(job, source, on_scan=on_scan, say=say)
    manifest = manifest_of(job, planned.plan, generation=store.manifest["generation"] + 1)
    manifest |= {name: store.manifest[name] for name in OWNERSHIP if name in store.manifest}
    if same_input and not changed and planned.plan.content_hash == plan.content_hash:
        # the same rows in a touched or moved file
        store.write_manifest({**manifest, "generation": store.manifest["generation"]})
        return Prepared(store, source, planned.plan, planned.ready_builder)
    _new_generation(store, source, planned, manifest, say)
    return Prepared(store, source, planned.plan, planned.ready_builder)


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


def _changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, now) of the settings that differ."""
    rows = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            rows += [
                (f"{name}.{key}", old.get(key), new.get(key))
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            rows.append((name, old, new))
    return rows


def _settings_refusal(store: RunDir, changed: list[tuple[str, Any, Any]], plan: InputPlan) -> str:
    totals = store.totals()
    paid = totals.spent_usd
    spent = f", ${paid:.4f} so far" if paid else ""
    lines = [
        f"{store.path}: the request settings changed, and answers to different requests are never mixed."
    ]
    lines += [f"  {name}: {_shown(old)} -> {_shown(new)}" for name, old, new in changed]
    lines.append(
        f"  {totals.answered:,} of {plan.rows:,} rows are answered "
        f"({totals.prompt_tokens + totals.completion_tokens:,} tokens{spent}); "
        "asking again may cost as much for each."
    )
    lines.append("Pass {run.fresh} to ask the new request, or another {output.run_dir} to keep both.")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A setting on one line; a schema can be long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _new_generation(
    store: RunDir, source: Source, planned: Planned, manifest: dict[str, Any], say: Say
) -> None:
    """Moves the run to a new plan, keeping each finished row whose request is unchanged."""
    plan, builder = planned.plan, planned.ready_builder
    with store.next_generation(manifest) as generation:
        for shard in plan.shards:
            generation.add_shard(
                shard,
                _requests(source.rows(shard, plan), builder),
                partial(source.table, shard, plan),
            )
        kept = generation.kept
        generation.commit()
    left = plan.rows - kept
    say(f"the job changed: {kept:,} of {plan.rows:,} rows are answered and kept; {left:,} to send")


def _requests(rows: Iterator[Row], builder: RequestBuilder) -> Iterator[ChatRequest]:
    for row in rows:
        if row.problem is None:
            try:
                yield builder.build(row)
            except RowProblem:
                continue  # the run records it as bad_input

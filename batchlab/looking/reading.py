"""Looking at a run, and getting its rows out: status, verify, export, load. Sends nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from batchlab.arrow import pa, pc, pq
from batchlab.errors import EXIT_STOPPED, UsageError
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import request_mode
from batchlab.inputs.sources.frames import index_columns
from batchlab.inputs.sources.opening import Source
from batchlab.job import MEMORY, Job, output_format
from batchlab.job.index import as_key, spelled
from batchlab.looking.export import Exported, Target, export_tables
from batchlab.looking.opening import open_run
from batchlab.looking.summary import cost_text, notes, tokens_text
from batchlab.records import Shard
from batchlab.run_end import RunSummary, StopReason
from batchlab.runner.prepare import Prepared, job_of_run, open_input, plan_of_run, unchanged_input
from batchlab.store.run_dir import RunDir
from batchlab.store.verify import verify
from batchlab.totals import Totals


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is."""

    run_dir: str
    input_rows: int
    totals: Totals
    running_pid: int | None
    errors: dict[str, int]
    workers: dict[str, Any] | None = None  # who works on which shards, when several do; see `engines.roll`

    def lines(self) -> list[str]:
        """For a person."""
        totals = self.totals
        pending = self.input_rows - totals.rows
        state = f"running (pid {self.running_pid})" if self.running_pid else "not running"
        if not pending and not self.running_pid:
            state = "finished"
        rows = f"{totals.answered:,} answered + {totals.failed:,} failed + {pending:,} pending"
        lines = [f"{self.run_dir}: {state}", f"rows: {self.input_rows:,} = {rows}"]
        states = {name: getattr(totals, name) for name in ("truncated", "filtered", "invalid")}
        if some := [f"{count:,} {name}" for name, count in states.items() if count]:
            lines.append(f"of the answered: {', '.join(some)}")
        lines += notes(totals)
        lines.append(f"tokens: {tokens_text(totals)}")
        lines.append(f"cost: {cost_text(totals)}")
        if self.workers is not None:
            lines += _worker_lines(self.workers)
        lines += [f"failed with {name}: {count:,}" for name, count in self.errors.items()]
        return lines

    def json(self) -> str:
        """For a program: as the fields, but money that is not known is null."""
        pending = self.input_rows - self.totals.rows
        return json.dumps({**dataclasses.asdict(self), "totals": self.totals.stated(), "pending": pending})


def run_status(path: str) -> Status:
    """How far the run at `path` is. Raises UsageError if there is none."""
    store = open_run(path)
    plan = plan_of_run(store)
    totals = store.totals()
    errors = store.error_counts() if totals.failed else {}
    holder = store.lock_holder()
    return Status(path, plan.rows, totals, holder, errors, store.roll() if holder else None)


def _worker_lines(roll: dict[str, Any]) -> list[str]:
    shards = roll["shards"]
    lines = [f"shards: {shards['sealed']:,} sealed + {shards['open']:,} open + {shards['waiting']:,} waiting"]
    for one in roll["workers"]:
        numbers = ", ".join(map(str, one["shards"])) or "none"
        rate = "" if one["requests_per_s"] is None else f", {one['requests_per_s']:.1f} requests/s"
        heard = "not yet" if one["silent_s"] is None else f"{one['silent_s']:.1f} s before"
        lines.append(
            f"worker {one['name']} ({one['place']}): shards {numbers}; lease of {one['permits']:,} in flight"
            f"{rate}; {one['in_flight']:,} in flight, {one['saved']:,} rows saved; heard {heard}"
        )
    return lines


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` says: lines for a person, and every problem found."""

    lines: list[str]
    problems: list[str]


def verify_run(path: str) -> Verification:
    """Checks that every input row has exactly one final state and that all checksums hold."""
    store = open_run(path)
    plan = plan_of_run(store)
    report = verify(store, list(plan.shards))
    totals = report.totals
    lines = [
        f"rows in: {plan.rows:,}",
        (
            f"rows out: {totals.ok:,} ok + {totals.truncated:,} truncated + {totals.filtered:,} filtered "
            f"+ {totals.invalid:,} invalid + {totals.failed:,} failed + {report.pending:,} pending"
        ),
        f"tokens: {totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion",
    ]
    problems = list(report.problems)
    if totals.rows + report.pending != plan.rows:
        problems.append(f"{plan.rows:,} rows in, but {totals.rows + report.pending:,} accounted for")
    if not problems:
        lines.append("verified: every input row has exactly one state; checksums and totals hold")
    return Verification(lines, problems)


def run_tables(
    store: RunDir, source: Callable[[], Source], plan: InputPlan, prefix: str
) -> Iterator[pa.Table]:
    """Input columns and result columns of every row, in input order, a table a shard at most.

    `source` is asked for only when a shard is not sealed: sealed ones hold their input columns.
    """
    # a batch file's ids are no input column of the parts: a pending row's is read from its line
    own_ids = "custom_id" in plan.columns and "custom_id" not in plan.schema.names
    sealed = store.sealed()

    def input_table(shard: Shard) -> pa.Table:
        return source().table(shard, plan)

    for shard in plan.shards:
        tables = store.shard_tables(shard, partial(input_table, shard), prefix=prefix)
        if own_ids and shard.index not in sealed:
            ids = [row.values.get("custom_id") for row in source().rows(shard, plan)]
            yield from (_with_ids(table, ids) for table in tables)
        else:
            yield from tables


def _with_ids(table: pa.Table, ids: list[Any]) -> pa.Table:
    """A whole shard's table, in which pending rows have the ids of their lines."""
    known = pa.array([one if isinstance(one, str) else None for one in ids], type=pa.string())
    pending = pc.equal(table["status"].cast(pa.string()), "pending")
    column = pc.if_else(pending, pc.coalesce(known, table["custom_id"]), table["custom_id"])
    return table.set_column(table.column_names.index("custom_id"), table.schema.field("custom_id"), column)


def export_run(
    path: str, output: str, *, to: str | None = None, errors: str | None = None, csv_raw: bool = False
) -> Exported:
    """Writes the rows of a run to a file or a data set directory.

    Args:
        to: one of `job.FORMATS`; by default what the name of `output` and the run's input say.
        errors: file for the lines of failed rows, with the format `openai-batch`.
    """
    store = open_run(path)
    job, plan = job_of_run(store), plan_of_run(store)
    source = cache(lambda: unchanged_input(store))
    target = _target(job, plan, output, to=to, errors=errors, csv_raw=csv_raw)
    return export_tables(target, lambda: run_tables(store, source, plan, job.output.prefix))


def _target(
    job: Job, plan: InputPlan, output: str, *, to: str | None, errors: str | None, csv_raw: bool = False
) -> Target:
    batch = request_mode(job.request, plan.columns) == "batch"
    return Target(
        output,
        output_format(output, to, batch=batch),
        errors=errors,
        prefix=job.output.prefix,
        model=job.request.model,
        own_ids=batch and job.input.id in (None, "custom_id"),
        task=None if batch else job.request.task,
        csv_raw=csv_raw,
    )


def write_output(job: Job, prepared: Prepared, summary: RunSummary) -> RunSummary:
    """Writes the job's output file, if it names one, at an orderly end."""
    output = job.output
    if output.file is None or summary.stopped in {StopReason.DISK, StopReason.INPUT}:
        return summary
    try:
        written = export_tables(
            _target(job, prepared.plan, output.file, to=output.to, errors=output.errors),
            lambda: run_tables(prepared.store, lambda: prepared.source, prepared.plan, output.prefix),
        )
    except UsageError as error:  # too late for exit code 2: requests were sent
        if summary.stopped is not None:
            return summary
        return dataclasses.replace(
            summary, stopped=StopReason.OUTPUT, message=spelled(str(error), as_key), exit_code=EXIT_STOPPED
        )
    return dataclasses.replace(
        summary, output=output.file, errors_file=output.errors, left_out=written.left_out
    )


def load_run(path: str | Path) -> Any:
    """The rows of a run as a pandas DataFrame, sealed and open shards alike.

    Columns keep Arrow types (`dtype_backend="pyarrow"`): a missing token count stays missing
    and whole numbers stay whole. The run of a frame has the frame's index. An embedding is a NumPy
    array of float32. `frame.attrs["batchlab"]` says what the run has used so far.
    """
    import pandas as pd

    store = open_run(path)
    job, plan = job_of_run(store), plan_of_run(store)
    source = cache(lambda: open_input(job, store.path))
    tables = list(run_tables(store, source, plan, job.output.prefix))
    table = pa.concat_tables(tables).unify_dictionaries()
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    for name in store.vectors:
        column = store.prefix + name
        frame[column] = table.column(column).to_pandas()
    levels, names = _index_of(job, store)
    frame = frame.set_index(levels).rename_axis(index=names) if levels else frame
    facts = {"run_dir": str(path), "input_rows": plan.rows, "totals": store.totals().stated()}
    frame.attrs["batchlab"] = facts
    return frame


def _index_of(job: Job, store: RunDir) -> tuple[list[str], list[str | None]]:
    """Columns that were the index of the frame a run was started with, and their names."""
    file = store.path / job.input.path.removeprefix(MEMORY)
    if not job.input.path.startswith(MEMORY) or file.suffix != ".parquet":
        return [], []
    return index_columns(pq.read_schema(file))

"""The plan: everything that can be wrong with an input, found before anything is paid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from batchlab.costs.lengths import Lengths
from batchlab.counts import counted
from batchlab.errors import InputError, UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.same_prompt import same_prompt_problems
from batchlab.inputs.sources.batch_lines import LineNotes, OtherTask
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Source
from batchlab.inputs.spill import BLOCK_ROWS, Spill
from batchlab.inputs.templates import RowFault, RowProblem
from batchlab.job import SHARD_ROWS, Job, output_format
from batchlab.protocol.schema import top_properties
from batchlab.records import Row
from batchlab.result_columns import RESULT_COLUMNS, VECTOR_COLUMNS

SHOWN = 20
MUCH_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Planned:
    """An input's plan, and what is wrong with it.

    Attributes:
        builder: makes the requests; None when there are problems.
        problems: the first 20; `problem_count` is how many there are. Malformed lines are not
            among them: the plan has those.
        notes: what is worth telling although nothing is wrong with it.
        max_tokens: the mean cap on completion tokens of the rows' own, or None when a row has none.
        prompt_bytes: UTF-8 bytes of all prompts together.
        lengths: how many rows have prompts of so many UTF-8 bytes, as `costs.lengths` counts them, and
            `repeated` how many ask exactly what an earlier row asks, when details were asked for.
    """

    plan: InputPlan
    builder: RequestBuilder | None
    problems: list[UsageError]
    problem_count: int
    prompt_bytes: int
    lengths: dict[int, int]
    repeated: int
    notes: list[str] = field(default_factory=list)
    max_tokens: int | None = None

    @property
    def ready_builder(self) -> RequestBuilder:
        """The builder of an input without problems."""
        assert self.builder is not None, "asked of an input with problems"
        return self.builder


@dataclass(slots=True)
class _Check:
    """Builds every row's request once, and keeps what is worth telling."""

    source: Source
    builder: RequestBuilder | None
    with_ids: bool
    notes: LineNotes
    details: bool = False
    problems: list[UsageError] = field(default_factory=list)
    count: int = 0
    other_task: InputError | None = None
    other_task_count: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    fault_count: int = 0
    prompt_bytes: int = 0
    max_tokens: int = 0
    uncapped: int = 0
    requests: int = 0
    ids: Spill = field(default_factory=lambda: Spill(3))  # two hashes of each, and its row's number
    lengths: Lengths = field(default_factory=Lengths)
    hashes: Spill = field(default_factory=lambda: Spill(1))  # equal for equal requests, in this process only
    measured: Callable[[Mapping[str, Any]], tuple[int, int]] = field(init=False)

    def checker(self) -> CheckRow | None:
        """What is to look at each row."""
        if self.builder is None:
            return None
        if self.builder.rows_vary or self.with_ids:
            return self._any_row
        self.measured = self.builder.measured
        return self._same_but_for_prompt

    def _same_but_for_prompt(self, row_id: int, values: Mapping[str, Any], number: int) -> None:
        """Half of the time of a large plan is spent here."""
        del row_id
        try:
            size, identity = self.measured(values)
        except RowProblem as problem:
            self._refused(problem, number)
            return
        self.prompt_bytes += size
        self.requests += 1
        if self.details:
            try:
                self.lengths.exact[size] += 1
            except IndexError:
                self.lengths.add(size)
            self.hashes.pending.append(identity)
            if not self.requests % BLOCK_ROWS:
                self.hashes.write_block()

    def _any_row(self, row_id: int, values: Mapping[str, Any], number: int) -> None:
        builder = self.builder
        assert builder is not None, "see checker"
        try:
            if builder.rows_vary:
                request = builder.build(Row(row_id, values))
                size, cap, identity = request.prompt_bytes, request.max_tokens, hash(request.request_hash)
                if builder.batch:
                    self.notes.see(request.task, request.body, number)
            else:
                size, identity = builder.measured(values)
                cap = builder.max_tokens
            if self.with_ids:
                own_id = builder.custom_id(row_id, values)
                self.ids.add(hash(own_id), hash(own_id + "\0"), number)
        except RowProblem as problem:
            self._refused(problem, number)
            return
        self.prompt_bytes += size
        self.requests += 1
        if cap is None:
            self.uncapped += 1
        else:
            self.max_tokens += cap
        if self.details:
            self.lengths.add(size)
            self.hashes.add(identity)

    def _refused(self, problem: RowProblem, number: int) -> None:
        if isinstance(problem, OtherTask):
            self.other_task_count += 1
            self.other_task = self.other_task or InputError(self.source.path, str(problem), row=number)
        elif isinstance(problem, RowFault):
            self.fault_count += 1
            if len(self.faults) < SHOWN:
                self.faults.append((number, str(problem)))
        else:
            self.count += 1
            if len(self.problems) < SHOWN:
                self.problems.append(InputError(self.source.path, str(problem), row=number))

    def scanned(self, shard_rows: int, limit: int | None, on_progress: OnProgress | None) -> InputPlan:
        """The source's plan, all its rows looked at."""
        try:
            return self.source.scan(shard_rows, on_progress=on_progress, check=self.checker(), limit=limit)
        except BaseException:  # whatever it is, no file may stay open; it goes on its way
            self.ids.close()
            self.hashes.close()
            raise

    def mean_cap(self) -> int | None:
        """The mean cap on completion tokens, None when a row has none."""
        if self.builder is None or not self.requests or self.uncapped:
            return None
        if self.builder.rows_vary or self.with_ids:
            return self.max_tokens // self.requests
        return self.builder.max_tokens

    def all_problems(self) -> list[UsageError]:
        """Those of single rows, and one for all the lines that ask for what cannot be sent."""
        if self.other_task is None:
            return self.problems
        more = self.other_task_count - 1
        told = self.other_task
        if more:
            told = InputError(
                told.path, f"{told.problem} ({counted(more, 'more line')} like it)", row=told.row
            )
        return [told, *self.problems]


def plan_input(
    job: Job, source: Source, *, on_progress: OnProgress | None = None, details: bool = False
) -> Planned:
    """One pass over the input: its plan, and every problem that would cost money or rows later.

    Args:
        details: also count prompt sizes and repeated requests; 8 bytes a row on disk.

    Raises:
        InputError: the input cannot be read at all.
    """
    problems: list[UsageError] = []
    columns = source.peek()
    try:
        draft: RequestBuilder | None = (
            RequestBuilder(job, columns, strict=False, look_only=True) if columns else None
        )
    except UsageError as error:
        draft = None
        problems.append(error)
    own_ids = draft is not None and draft.batch and job.input.id in (None, "custom_id")
    check = _Check(
        source,
        draft,
        with_ids=own_ids or job.input.id is not None,
        notes=LineNotes(job.request.model),
        details=details,
    )
    shard_rows = job.output.shard_rows or SHARD_ROWS
    plan = check.scanned(shard_rows, job.input.limit, on_progress)
    builder: RequestBuilder | None = None
    if plan.rows == 0:
        problems = [InputError(source.path, "has no rows")]
    elif not plan.columns or plan.malformed_count == plan.rows:
        number, problem = plan.malformed[0] if plan.malformed else (None, "no columns")
        problems = [InputError(source.path, f"no row can be read; the first: {problem}", row=number)]
    elif draft is not None:
        try:
            builder = RequestBuilder(job, plan.columns)
        except UsageError as error:
            problems.append(error)  # a column nobody has explains every row's trouble
        else:
            problems += check.all_problems()
            if check.fault_count and not check.requests and not problems:
                problems += [InputError(source.path, text, row=row) for row, text in check.faults]
            problems += _output_problems(job, batch=builder.batch)
            problems += same_prompt_problems(job, builder, plan.rows, plan.columns)
    vectors = check.notes.vectors
    if builder is not None and not builder.batch and job.request.task == "embeddings":
        vectors = VECTOR_COLUMNS[:1]
    plan = replace(plan, models=tuple(check.notes.models), vectors=vectors)
    notes = [*source.notes, *check.notes.lines()]
    if check.fault_count:
        plan = replace(
            plan,
            malformed=tuple(sorted([*plan.malformed, *check.faults])[:SHOWN]),
            malformed_count=plan.malformed_count + check.fault_count,
        )
    if draft is not None and draft.media is not None:
        notes.append(
            f"images and sounds: {draft.media.count:,}; each is counted as {job.request.tokens_per_image:,} "
            "prompt tokens until the provider says"
        )
        shard_bytes = draft.media.held_bytes * min(shard_rows, plan.rows) // max(plan.rows, 1)
        if shard_bytes > MUCH_BYTES:
            fewer = max(1, min(shard_rows, plan.rows) * MUCH_BYTES // shard_bytes)
            notes.append(
                f"a part's images take about {shard_bytes / 1e9:.1f} GB of memory while it is written; "
                f"shard_rows = {fewer} brings that down to 1 GB"
            )
        if draft.media.fingerprint is not None:  # a file that changes makes another input
            both = f"{plan.content_hash} {draft.media.fingerprint}".encode()
            plan = replace(plan, content_hash=hashlib.blake2b(both, digest_size=16).hexdigest())
    if own_ids and not job.output.prefix:
        plan = plan.without("custom_id")  # it is a result column, too
    # without a builder nobody knows yet whose custom_id it is
    problems += _clashes(job, source, plan, but="custom_id" if draft is None else None)
    problems += _expand_problems(job, plan)
    problems += _duplicate_ids(source, check, own_ids=own_ids)
    hidden = check.count - len(check.problems) if builder is not None else 0
    return Planned(
        plan,
        builder if not problems else None,
        problems,
        len(problems) + hidden,
        check.prompt_bytes,
        check.lengths.counts(),
        _repeated(check.hashes) if details else 0,
        notes,
        check.mean_cap(),
    )


def _output_problems(job: Job, *, batch: bool) -> list[UsageError]:
    output = job.output
    if output.errors is None or output.file is None:
        return []
    if output_format(output.file, output.to, batch=batch) == "openai-batch":
        return []
    return [
        UsageError(
            f"{{output.errors}} {output.errors}: only {{output.to=openai-batch}} has a file of errors."
        )
    ]


def _clashes(job: Job, source: Source, plan: InputPlan, *, but: str | None) -> list[UsageError]:
    names_out = set(plan.names_out) - {but}
    taken = [name for name in (*RESULT_COLUMNS, *plan.vectors) if job.output.prefix + name in names_out]
    if not taken:
        return []
    names = ", ".join(job.output.prefix + name for name in taken)
    return [
        InputError(
            source.path,
            f"has columns that the results need: {names}",
            f"Pass {{output.prefix}}, for example {{output.prefix={job.output.prefix}out_}}",
        )
    ]


def _expand_problems(job: Job, plan: InputPlan) -> list[UsageError]:
    """Why the schema's properties cannot become columns."""
    if not job.output.expand or job.request.schema is None:
        return []
    where, prefix = job.request.schema_from, job.output.expand_prefix
    names = [prefix + name for name in top_properties(job.request.schema)]
    if not names:
        return [UsageError(f"{where}: {{output.expand}} needs an object with properties at its top level.")]
    results = {job.output.prefix + name for name in RESULT_COLUMNS}
    taken = [name for name in names if name in results or name in plan.columns]
    if not taken:
        return []
    return [
        UsageError(
            f"{where}: {{output.expand}} cannot make the columns {', '.join(taken)}: "
            f"{'the results have' if taken[0] in results else 'the input has'} one of that name. "
            f"Pass {{output.expand_prefix}}, for example {{output.expand_prefix={prefix}parsed_}}."
        )
    ]


def _repeated(hashes: Spill) -> int:
    """Rows whose request an earlier row makes too."""
    import numpy as np

    count = 0
    for group in hashes.groups():
        made = np.sort(group[:, 0])
        count += int(np.count_nonzero(made[1:] == made[:-1]))
    hashes.close()
    return count


def _duplicate_ids(source: Source, check: _Check, *, own_ids: bool) -> list[UsageError]:
    """The first rows that share an id."""
    if not check.with_ids:
        return []
    import numpy as np

    pairs: list[tuple[int, int]] = []  # (second row, first row)
    for group in check.ids.groups():
        ordered = np.sort(group[:, 0])
        if not (ordered[1:] == ordered[:-1]).any():  # nearly always, and faster than to sort whole records
            continue
        group = group[np.lexsort((group[:, 1], group[:, 0]))]
        same = np.flatnonzero((group[1:, :2] == group[:-1, :2]).all(axis=1))
        found = zip(group[same + 1, 2].tolist(), group[same, 2].tolist(), strict=True)
        pairs = sorted([*pairs, *found])[:SHOWN]
    check.ids.close()
    rows, name = ("lines", "custom_id") if own_ids else ("rows", "id")
    remedy = "Ids must be unique" + ("." if own_ids else "; leave {input.id} out to use row numbers.")
    return [
        InputError(source.path, f"{rows} {first} and {second} have the same {name}", remedy)
        for second, first in pairs
    ]

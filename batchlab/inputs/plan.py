"""The plan: everything that can be wrong with an input, found before anything is paid."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field

from batchlab.errors import InputError, UsageError
from batchlab.inputs.input_plan import InputPlan, OnProgress, Source
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.templates import RowProblem
from batchlab.job import Job
from batchlab.records import RESULT_COLUMNS, Row

__all__ = ["InputPlan", "Planned", "plan_input"]

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Planned:
    """An input's plan, and what is wrong with it.

    Attributes:
        builder: makes the requests; None when there are problems.
        problems: the first 20; `problem_count` is how many there are. Malformed lines are not
            among them: the plan has those.
        prompt_bytes: UTF-8 bytes of all prompts together.
        sizes: those of each row, and `hashes` 8 bytes of each row's request hash, when details were
            asked for; 0 for a row that makes no request.
    """

    plan: InputPlan
    builder: RequestBuilder | None
    problems: list[UsageError]
    problem_count: int
    prompt_bytes: int
    sizes: array[int]
    hashes: array[int]

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
    details: bool = False
    problems: list[UsageError] = field(default_factory=list)
    count: int = 0
    prompt_bytes: int = 0
    ids: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    hashes: array[int] = field(default_factory=lambda: array("Q"))

    def __call__(self, row: Row, number: int) -> None:
        if self.builder is None:
            return
        try:
            request = self.builder.build(row)
        except RowProblem as problem:
            self.count += 1
            if len(self.problems) < SHOWN:
                self.problems.append(InputError(self.source.path, str(problem), row=number))
            return
        self.prompt_bytes += request.prompt_bytes
        if self.details:
            missing = row.row_id - len(self.sizes)  # malformed rows are not shown to us
            self.sizes.extend([0] * missing)
            self.hashes.extend([0] * missing)
            self.sizes.append(request.prompt_bytes)
            self.hashes.append(int.from_bytes(request.request_hash[:8], "little"))
        if self.with_ids:
            digest = hashlib.blake2b(request.custom_id.encode("utf-8", "replace"), digest_size=8).digest()
            self.ids.append(int.from_bytes(digest, "little"))


def plan_input(
    job: Job, source: Source, *, on_progress: OnProgress | None = None, details: bool = False
) -> Planned:
    """One pass over the input: its plan, and every problem that would cost money or rows later.

    Args:
        details: keep each row's prompt size and request hash, 16 bytes a row.

    Raises:
        InputError: the input cannot be read at all.
    """
    problems: list[UsageError] = []
    columns = source.peek()
    try:
        draft: RequestBuilder | None = RequestBuilder(job, columns, strict=False) if columns else None
    except UsageError as error:
        draft = None
        problems.append(error)
    check = _Check(source, draft, with_ids=job.input.id is not None, details=details)
    plan = source.scan(job.output.shard_rows, on_progress=on_progress, check=check, limit=job.input.limit)
    builder: RequestBuilder | None = None
    if plan.rows == 0:
        problems = [InputError(source.path, "has no rows")]
    elif not plan.columns:
        problems = [InputError(source.path, "has no row that can be read")]
    elif draft is not None:
        try:
            builder = RequestBuilder(job, plan.columns)
        except UsageError as error:
            problems.append(error)  # a column nobody has explains every row's trouble
        else:
            problems += check.problems
    problems += _clashes(job, source, plan)
    problems += _duplicate_ids(source, check)
    hidden = check.count - len(check.problems) if builder is not None else 0
    return Planned(
        plan,
        builder if not problems else None,
        problems,
        len(problems) + hidden,
        check.prompt_bytes,
        check.sizes,
        check.hashes,
    )


def _clashes(job: Job, source: Source, plan: InputPlan) -> list[UsageError]:
    taken = [name for name in RESULT_COLUMNS if job.output.prefix + name in plan.columns]
    if not taken:
        return []
    names = ", ".join(job.output.prefix + name for name in taken)
    return [
        InputError(
            source.path,
            f"has columns that the results need: {names}",
            f"Pass --prefix, for example --prefix {job.output.prefix}out_",
        )
    ]


def _duplicate_ids(source: Source, check: _Check) -> list[UsageError]:
    """The first rows that share an id; 8 bytes of hash a row, sorted."""
    if len(check.ids) < 2:
        return []
    import numpy as np

    ids = np.frombuffer(check.ids, dtype=np.uint64)
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    return [
        InputError(
            source.path,
            f"rows {int(order[index]) + 1} and {int(order[index + 1]) + 1} have the same id",
            "Ids must be unique; leave --id-column out to use row numbers.",
        )
        for index in same[:SHOWN]
    ]

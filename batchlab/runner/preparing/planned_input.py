"""The plan of an input, with what is said of it; or why a run over it would not begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchlab.costs.pricing import price_book
from batchlab.counts import counted
from batchlab.dispatch.rate.budget import NO_PRICE
from batchlab.errors import InputError, UsageError
from batchlab.inputs.plan import Planned, plan_input
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.job import Job
from batchlab.records import ChatRequest

SHOWN_PROBLEMS = 20


def plan_or_refuse(
    job: Job,
    source: Source,
    *,
    say: Callable[[str], None],
    on_scan: Callable[[int, int | None], None] | None = None,
) -> Planned:
    """The plan of an input without problems; malformed rows are said, and fail by themselves.

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
    for line in malformed_lines(job, source, plan):
        say(line)
    return planned


def malformed_lines(job: Job, source: Source, plan: InputPlan) -> list[str]:
    """What is said before the start of rows that cannot be read.

    Raises:
        UsageError: there are some, and the job wants none.
    """
    if not plan.malformed_count:
        return []
    rows = [InputError(source.path, problem, row=row) for row, problem in plan.malformed]
    lines = problem_lines(rows, plan.malformed_count)
    count = counted(plan.malformed_count, "malformed row")
    if job.input.strict:
        lines.append(f"{count}, and {{input.strict}} takes none; without it only these would fail.")
        raise UsageError("\n".join(lines))
    return [*lines, f"{count} will be recorded as failed (bad_input); {{input.strict}} refuses to start"]


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

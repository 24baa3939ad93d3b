"""`plan --pilot N`: send a stratified random sample of the rows, and forecast the rest from them."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from batchlab.costs.forecast import Forecast, Measured, Stratum, forecast, strata
from batchlab.costs.pilot_pace import seen_pace
from batchlab.counts import counted
from batchlab.errors import EXIT_USAGE, UsageError
from batchlab.inputs.plan import Planned
from batchlab.inputs.sources.source import Source
from batchlab.inputs.templates import RowProblem
from batchlab.job import Job
from batchlab.looking.money.pilot_forecast import save_forecast, saved_forecast
from batchlab.looking.phrases import duration, money
from batchlab.planning.preview import Preview, preview_and_plan
from batchlab.records import Completion, Result
from batchlab.run_end import RunSummary, StopReason
from batchlab.runner.execute import execute
from batchlab.runner.run_options import RunOptions
from batchlab.store.disk.files import atomic_write
from batchlab.store.layout import Layout, is_run
from batchlab.store.view import RunView
from batchlab.totals import Totals, totals_of

LEAST_ROWS = 10  # fewer say next to nothing about the others


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a pilot came to: lines for a person, and the forecast, None when it could not be made."""

    lines: list[str]
    problems: list[str]
    forecast: Forecast | None
    exit_code: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A sample that was drawn for one plan and one request: asked for again, it is not sent again."""

    wanted: int
    content_hash: str
    settings: str
    before: Totals
    strata: tuple[Stratum, ...]


def pilot(job: Job, rows: int, options: RunOptions) -> Pilot:
    """Sends about `rows` rows of the job, which then are done rows of its run, and forecasts the run.

    Raises:
        UsageError: nothing was sent.
    """
    if rows < LEAST_ROWS:
        raise UsageError(f"a pilot of {rows}: too few rows to say anything; at least {LEAST_ROWS}.")
    if job.input.path == "-":
        raise UsageError("a pilot reads the input twice: pass a file, not standard input.")
    seen, planned, source = preview_and_plan(job)
    if seen.problems:
        return Pilot(seen.lines, seen.problems, None, EXIT_USAGE)
    drawn = _drawn(job, seen, _Sizes(planned, source), rows)
    sampled = frozenset(row for stratum in drawn.strata for row in stratum.sampled)
    if not sampled:
        return Pilot([*seen.lines, "every row has a final result already"], [], None, 0)
    options = replace(options, only=sampled, on_start=lambda store: _keep(drawn, store.path))
    summary = execute(job, options)
    if summary.stopped not in {None, StopReason.PILOT}:
        return Pilot([], [], None, summary.exit_code)
    path = Path(job.output.run_dir)
    found = {result.row_id: result for result in RunView.open(path).all_results() if result.row_id in sampled}
    made = _forecast(job, drawn, found, summary)
    if not summary.sent and (before := saved_forecast(path, seen.content_hash)) is not None:
        made = before  # its rows are done rows: how the provider took them was seen then
    save_forecast(path, made, seen.content_hash)
    return Pilot([seen.lines[0], *forecast_lines(made, drawn, found)], [], made, summary.exit_code)


def _drawn(job: Job, seen: Preview, sizes: _Sizes, wanted: int) -> _Drawn:
    """The sample of an earlier pilot of the same size for the same job, or a new one."""
    path = Path(job.output.run_dir)
    settings = json.dumps(job.request_settings(), sort_keys=True)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(Layout(path).pilot.read_bytes())
        if (data["wanted"], data["content_hash"], data["settings"]) == (wanted, seen.content_hash, settings):
            kept = tuple(
                Stratum(one["rows"], one["size"], tuple(one["sampled"]), tuple(one["sizes"]))
                for one in data["strata"]
            )
            return _Drawn(wanted, seen.content_hash, settings, Totals.of(data["before"]), kept)
    before = Totals()
    if seen.done and is_run(path):
        store = RunView.open(path)
        sizes.done = {result.row_id for result in store.all_results()}
        before = store.totals()
    found = tuple(strata(sizes, wanted, random.Random(20_261)))
    return _Drawn(wanted, seen.content_hash, settings, before, found)


class _Sizes:
    """Prompt sizes of the job's rows that are not done, read from the input each time; 0 for a row that makes
    no request."""

    def __init__(self, planned: Planned, source: Source) -> None:
        self._planned = planned
        self._source = source
        self.done: Set[int] = frozenset()

    def items(self) -> Iterator[tuple[int, int]]:
        """Row and size."""
        builder, plan = self._planned.ready_builder, self._planned.plan
        for shard in plan.shards:
            for row in self._source.rows(shard, plan):
                if row.row_id in self.done:
                    continue
                try:
                    yield row.row_id, builder.prompt_bytes(row) if row.problem is None else 0
                except RowProblem:
                    yield row.row_id, 0


def _keep(drawn: _Drawn, run_dir: Path) -> None:
    atomic_write(Layout(run_dir).pilot, json.dumps(asdict(drawn)).encode())


def _forecast(job: Job, drawn: _Drawn, found: dict[int, Result], summary: RunSummary) -> Forecast:
    limits = job.limits
    together = _rows_together(found)
    made = forecast(
        drawn.strata,
        {row: _measured(result, together) for row, result in found.items()},
        concurrency=limits.concurrency,
        seen=seen_pace(_spans(found), summary.limited),
        rpm=limits.rpm * len(found) / max(1, len(together)) if limits.rpm else None,
        tpm=limits.tpm,
    )
    before = drawn.before
    spent = before.whole_usd
    return Forecast(
        made.sampled,
        made.prompt_tokens.plus(before.prompt_tokens + before.wasted_prompt_tokens),
        made.completion_tokens.plus(before.completion_tokens + before.wasted_completion_tokens),
        made.cost_usd.plus(spent) if made.cost_usd is not None and spent is not None else None,
        made.duration_s,
        made.bound_by,
    )


def _spans(found: Mapping[int, Result]) -> list[tuple[float, float]]:
    """When each request of the sample was sent and answered."""
    requests = {_request_of(result): result.timing for result in found.values()}
    return [
        (timing.finished_at - timing.latency_ms / 1_000, timing.finished_at)
        for timing in requests.values()
        if timing is not None
    ]


def _rows_together(found: Mapping[int, Result]) -> Counter[float | int]:
    """How many rows shared each request, by when it was answered; a failed row stands alone."""
    return Counter(_request_of(result) for result in found.values())


def _request_of(result: Result) -> float | int:
    shared = isinstance(result, Completion) and result.reply.vectors
    return result.timing.finished_at if shared and result.timing is not None else -1 - result.row_id


def _measured(result: Result, together: Counter[float | int]) -> Measured:
    totals = totals_of([result])
    latency = result.timing.latency_ms / 1_000 if result.timing is not None else 0.0
    return Measured(
        totals.prompt_tokens + totals.wasted_prompt_tokens,
        totals.completion_tokens + totals.wasted_completion_tokens,
        totals.whole_usd,
        latency / together[_request_of(result)],  # a row's share of a request
    )


def forecast_lines(made: Forecast, drawn: _Drawn, found: dict[int, Result]) -> list[str]:
    """A pilot's forecast for a person."""
    failed = sum(not isinstance(result, Completion) for result in found.values())
    bad = f", {failed} of them failed" if failed else ""
    prompt, completion, took = made.prompt_tokens, made.completion_tokens, made.duration_s
    groups = f"{counted(len(drawn.strata), 'group')} by prompt size"
    lines = [
        f"pilot: {counted(made.sampled, 'row')} sent, in {groups}{bad}; they count as done",
        "the whole run, in 9 of 10 cases between (most likely):",
        f"  prompt tokens: {prompt.low:,.0f} and {prompt.high:,.0f} ({prompt.middle:,.0f})",
        f"  completion tokens: {completion.low:,.0f} and {completion.high:,.0f} ({completion.middle:,.0f})",
    ]
    if made.cost_usd is None:
        lines.append("  cost: unknown (no price for this model; {price.input} and {price.output} state one)")
    else:
        cost = made.cost_usd
        lines.append(f"  cost: {money(cost.low)} and {money(cost.high)} ({money(cost.middle)})")
    lines.append(
        f"  time: {duration(took.low)} and {duration(took.high)} ({duration(took.middle)}), "
        f"bound by {made.bound_by}"
    )
    return lines

"""A job that has changed since its run began: what differs, and the generation that keeps the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from batchlab.counts import counted
from batchlab.inputs.plan import Planned
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.inputs.templates import RowProblem
from batchlab.job import Job
from batchlab.job.index import in_braces
from batchlab.records import ChatRequest, Row
from batchlab.shell import command_line
from batchlab.store.generations import Generation
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest

SHOWN_CHARS = 500  # of a changed setting
_MAX_TOKENS = in_braces("request.params.max_tokens")


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, now) of the settings that differ, each named as messages do."""
    rows = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            rows += [
                (in_braces(f"{name}.{key}"), old.get(key), new.get(key))
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            rows.append((in_braces(name), old, new))
    return rows


def settings_refusal(store: LockedRun, changed: list[tuple[str, Any, Any]], plan: InputPlan) -> str:
    totals = store.totals()
    paid = totals.spent_usd
    spent = f", ${paid:.4f} so far" if paid else ""
    lines = [
        f"{store.path}: the request settings changed, and answers to different requests are never mixed."
    ]
    lines += [f"  {name}: {_shown(old)} -> {_shown(new)}" for name, old, new in changed]
    lines.append(
        f"  {totals.answered:,} of {counted(plan.rows, 'row')} are answered "
        f"({totals.prompt_tokens + totals.completion_tokens:,} tokens{spent}); "
        "asking again may cost as much for each."
    )
    [(name, old, now), *others] = changed
    is_more = name == _MAX_TOKENS and old is not None and (now is None or now > old)
    if totals.truncated and is_more and not others:
        most = "N" if now is None else now
        lines.append(
            f"  only the {totals.truncated:,} that were cut off: "
            f"{command_line('retry', store.path)} --only truncated --max-tokens {most}"
        )
    lines.append("Pass {run.fresh} to ask the new request, or another {output.run_dir} to keep both.")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A setting on one line; a schema can be long."""
    if value is None:
        return "not set"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def begin_generation(
    store: LockedRun, source: Source, planned: Planned, manifest: Manifest, say: Callable[[str], None]
) -> None:
    """Moves the run to a new plan, keeping each finished row whose request is unchanged."""
    plan, builder, before = planned.plan, planned.ready_builder, store.manifest.job
    with Generation(store, manifest) as generation:
        for shard in plan.shards:
            generation.add_shard(
                shard,
                _requests(source.rows(shard, plan), builder),
                partial(source.table, shard, plan),
            )
        generation.compare()
        was_whole = store.totals().rows >= store.manifest.plan.rows
        generation.commit()
    for line in _changes(generation, before, manifest.job, plan.rows, was_whole=was_whole):
        say(line)


def _changes(generation: Generation, before: Job, job: Job, rows: int, *, was_whole: bool) -> list[str]:
    """What a changed job keeps, and what is to be sent for it."""
    kept, failed, edited = generation.kept, generation.failed, generation.edited
    left = rows - kept - failed
    others = [(left - edited, "new" if was_whole else "new or not sent yet"), (edited, "edited")]
    kinds = ", ".join(f"{count:,} {word}" for count, word in others if count)
    was_limit, limit = before.input.limit, job.input.limit
    if was_limit is not None and (limit is None or limit > was_limit) and not edited and not generation.gone:
        said = (
            f"{kept:,} of {counted(rows, 'row')} answered before (with {{input.limit={was_limit}}}); "
            f"{left:,} to send"
        )
    else:
        said = f"the job changed: {kept:,} of {counted(rows, 'row')} are answered and kept; {left:,} to send"
        said += f" ({kinds})" if kinds else ""
    lines = [said + (f"; {failed:,} failed before" if failed else "")]
    if gone := generation.gone:
        why = f"beyond the {rows:,} of the limit" if limit is not None else "no longer in the input"
        lines.append(
            f"{counted(gone, 'answered row')} {why}: kept in previous/, and when the input has such rows "
            "again, nothing is paid for them"
        )
    return lines


def _requests(rows: Iterator[Row], builder: RequestBuilder) -> Iterator[ChatRequest]:
    for row in rows:
        if row.problem is None:
            try:
                yield builder.build(row)
            except RowProblem:
                continue  # the run records it as bad_input

"""What a retry is about to ask, said before it does: how many rows, and what they may cost."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from batchlab.costs.price import HOUR_S
from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.counts import counted
from batchlab.dispatch.http.access import tier_of
from batchlab.dispatch.longer import with_max_tokens
from batchlab.dispatch.rate.worst_case import WorstCase
from batchlab.engines.work import Work
from batchlab.errors import UsageError
from batchlab.inputs.templates import RowProblem
from batchlab.looking.phrases import money
from batchlab.records import ChatRequest, Completion, Result, is_wanting
from batchlab.store.asking import ANSWERS, AskAgain
from batchlab.store.locked import LockedRun

TRUNCATED = "truncated"
MOST_READ = 10_000  # requests whose cost is reckoned; the others are taken to cost the same


def asked_again(work: Work[LockedRun], retry: AskAgain) -> str:
    """One line: the rows that are asked again, by what became of them, and what that costs at most."""
    wanted = dict(_wanted(work, retry))
    if not wanted:
        return f"retry: no row is to be asked again{_why_none(work, retry)}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(wanted.values()).most_common())
    line = f"retry: {counted(len(wanted), 'row')} asked again ({kinds})"
    if retry.max_tokens is not None:
        line += f" with max_tokens {retry.max_tokens:,}"
    most, is_capped = _most_usd(work, retry, wanted)
    if most is None:
        return f"{line}; what that costs is not known"
    return f"{line}; {'at most' if is_capped else 'about'} {money(most)}"


def _why_none(work: Work[LockedRun], retry: AskAgain) -> str:
    """What the rows are that were named and are not asked again, where some were."""
    if not retry.rows:
        return ""
    states: Counter[str] = Counter()
    for shard in work.plan.shards:
        if retry.touches(shard.first_row, shard.first_row + shard.rows - 1):
            states.update(
                result.status if isinstance(result, Completion) and not is_wanting(result) else _kind(result)
                for result in work.run.shard_results(shard.index)
                if retry.touches(result.row_id, result.row_id)
            )
    if not states:
        return f": none of those named has a result; the input has {counted(work.plan.rows, 'row')}"
    said = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    named = [word for word in ANSWERS if word in states]
    remedy = f"; asked again only where the word is named: {', '.join(named)}" if named else ""
    return f": of those named {said}{remedy}"


def refuse_same_cut(work: Work[LockedRun], retry: AskAgain) -> None:
    """Raises UsageError where all answers that were cut off would be paid again, and cut off no later."""
    if TRUNCATED not in retry.only:
        return
    cuts = dict(_cuts(work, retry))
    if not cuts:
        return
    factor = work.job.limits.retry_truncated or 1
    before = replace(retry, max_tokens=None)
    at = 0
    for request in _requests(work, before, cuts):
        own = request.max_tokens
        if own is None and retry.max_tokens is None:
            return  # nobody knows where it would end
        last = max(math.ceil((own or 0) * factor), cuts[request.row_id] or 0)
        now = request if retry.max_tokens is None else with_max_tokens(request, retry.max_tokens)
        if now.max_tokens is None or math.ceil(now.max_tokens * factor) > last:
            return
        at = max(at, last)
    if at:
        answers = counted(len(cuts), "answer")
        asked = f"with max_tokens {retry.max_tokens:,}" if retry.max_tokens else "with the same max_tokens"
        raise UsageError(
            f"{answers} cut off at {counted(at, 'token')} would be paid and cut off again {asked}. "
            f"Pass more: {{request.max_tokens={2 * at}}}; or leave {TRUNCATED} out."
        )


def _cuts(work: Work[LockedRun], retry: AskAgain) -> Iterator[tuple[int, int | None]]:
    """The rows whose answers were cut off, and how many tokens those had."""
    for index in sorted(work.run.shards_to_ask(retry) | work.run.unsealed()):
        for result in work.run.shard_results(index):
            if isinstance(result, Completion) and result.status == TRUNCATED and retry(result):
                yield result.row_id, result.reply.usage.completion_tokens


def _wanted(work: Work[LockedRun], retry: AskAgain) -> Iterator[tuple[int, str]]:
    for index in sorted(work.run.shards_to_ask(retry) | work.run.unsealed()):
        for result in work.run.shard_results(index):
            if is_wanting(result) and retry(result):
                yield result.row_id, _kind(result)


def _kind(result: Result) -> str:
    if not isinstance(result, Completion):
        return "failed"
    return result.status if result.status != "ok" else "empty"


def _most_usd(work: Work[LockedRun], retry: AskAgain, wanted: dict[int, str]) -> tuple[float | None, bool]:
    """The most that one answer for each of the rows may cost, None when a price is not known; and whether
    each has a max_tokens, without which it is a guess."""
    worst, now, sums, read, is_capped = WorstCase(), time.time(), 0.0, 0, True
    for request in _requests(work, retry, wanted):
        tokens = estimated_prompt_tokens(request.prompt_bytes)
        each = [
            lane.endpoint.prices.ceiling(
                request, now, HOUR_S + lane.patience.timeout_s, tier=tier_of(request, lane.tier)
            )
            for lane in work.lanes
            if request.endpoint in (None, lane.endpoint.job.name)
        ]
        if None in each or not each:
            return None, is_capped
        is_capped = is_capped and request.max_tokens is not None
        sums += max(worst.reservation(tokens, request.max_tokens, one).worst_usd for one in each)
        read += 1
        if read == MOST_READ:
            break
    return (sums * len(wanted) / read if read else 0.0), is_capped


def _requests(work: Work[LockedRun], retry: AskAgain, wanted: Collection[int]) -> Iterator[ChatRequest]:
    for shard in work.plan.shards:
        if not any(shard.first_row <= row < shard.first_row + shard.rows for row in wanted):
            continue
        for row in work.source.rows(shard, work.plan):
            if row.row_id not in wanted or row.problem is not None:
                continue
            try:
                request = work.builder.build(row)
            except RowProblem:
                continue  # it fails again, unsent
            yield request if retry.max_tokens is None else with_max_tokens(request, retry.max_tokens)

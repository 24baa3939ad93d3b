"""From a batch's results to the journal of its shard, row by row and as often as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.dispatch.row_state import RowState
from batchlab.engines.batch_api.answers.results import Results, json_bytes
from batchlab.engines.batch_api.answers.worth import Waste, reply_of, wasted, worth_of
from batchlab.engines.batch_api.asking import Asking, asked_before
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError
from batchlab.inputs.templates import RowProblem
from batchlab.protocol.batches.dialect import LineResult, Phase
from batchlab.protocol.outcomes.classify import classify
from batchlab.protocol.outcomes.facts import Asked
from batchlab.protocol.values import ReplyProblem
from batchlab.records import ChatRequest, Completion, Failure, Outcome, OutcomeClass, Reply, Result, Usage
from batchlab.store.batches import Batch
from batchlab.store.journals.journal import AskedInVain
from batchlab.store.locked import LockedRun
from batchlab.store.shard import OpenShard
from batchlab.totals import RunningTotals, Totals

TURN_ROWS = 100  # between which others on the event loop have their turn
Take: TypeAlias = Callable[[Result, Result], None]
# what a line can tell of all the others; the address and the call were right for them
_OF_ALL = frozenset({"auth", "quota"})
_NOT_ANSWERED = Outcome(OutcomeClass.RETRY, "expired", None, "its batch ended before it was answered")
_MISSING = Outcome(OutcomeClass.RETRY, "invalid_response", None, "it is not among the results of its batch")


@dataclass(slots=True)
class Merged:
    """What a batch's results came to.

    Attributes:
        answered, failed: rows with a result now.
        again: rows that are pending still; of these `unasked` were never answered for want of time, and
            `missing` are not among the results, though the batch was completed: they may have been billed.
        spent: what was billed, for the caps.
        worth: what all its results come to, those that had been taken before as well; only counted where that
            is asked.
        stop: why nothing more is to be sent there; None when nothing is wrong.
    """

    answered: int = 0
    failed: int = 0
    again: int = 0
    unasked: int = 0
    missing: int = 0
    spent: Money = NOTHING
    worth: Totals = field(default_factory=Totals)
    stop: Outcome | None = None


class Merging:
    """Merges one batch's results into its shard, which is open.

    Rows that have a result already are left alone: the same results may be merged twice.

    Args:
        totals: of what is added to the run; they change.
        is_lost: what it has answered cannot be had any more.
        comes_again: its results have been here before: `Merged.worth` is asked for.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        lane: BatchLane,
        batch: Batch,
        opened: OpenShard,
        *,
        asking: Asking,
        totals: RunningTotals,
        is_lost: bool = False,
        comes_again: bool = False,
    ) -> None:
        self._work = work
        self._lane = lane
        self._batch = batch
        self._opened = opened
        self._asking = asking
        self._totals = totals
        self._is_lost = is_lost
        self._comes_again = comes_again
        self._worst_usd = 0.0 if batch.usd is None else batch.usd / max(1, batch.lines)
        self.merged = Merged()

    async def run(self, results: Results | None, take: Take) -> None:
        """Takes every row of the batch; `results` is None when there are none any more.

        Args:
            take: is told of each result, as it came and as it was recorded, once that is written.
        """
        taken: list[tuple[Result, Result]] = []
        for count, request in enumerate(self._requests(), 1):
            if not count % TURN_ROWS:
                self._told(taken, take)
                await asyncio.sleep(0)
            line = None if results is None else results.of(request.row_id)
            if self._comes_again:
                self.merged.worth += self._worth(request, line)
                if self._has_come(request.row_id):
                    continue
            result = self._result(request, line)
            if result is not None:
                taken.append((result, self._opened.append(result, self._totals)))
        self._told(taken, take)

    def _told(self, taken: list[tuple[Result, Result]], take: Take) -> None:
        self._opened.flush()
        for came, written in taken:
            take(came, written)
        taken.clear()

    def fail(self, problems: Mapping[int, str], take: Take) -> None:
        """The service takes some lines in no batch; by their number, from 1."""
        taken: list[tuple[Result, Result]] = []
        rows = list(self._batch.row_ids())
        refused = {rows[line - 1]: said for line, said in problems.items() if 0 < line <= len(rows)}
        for request in self._requests():
            if (said := refused.get(request.row_id)) is not None:
                outcome = Outcome(OutcomeClass.FAIL, "bad_request", None, said)
                failure = self._failed(request, outcome, attempts=0)
                taken.append((failure, self._opened.append(failure, self._totals)))
        self._told(taken, take)

    def _requests(self) -> Iterator[ChatRequest]:
        """The requests of the batch's rows that have no result yet, of all when it comes again, as sent."""
        work, shard = self._work, self._opened.shard
        rows = self._batch.row_ids()
        wanted = next(rows, None)
        for row in work.source.rows(shard, work.plan):
            if row.row_id != wanted:
                continue
            wanted = next(rows, None)
            if not self._comes_again and self._has_come(row.row_id):
                continue
            try:
                yield self._asking.request(row, self._opened)
            except RowProblem:
                continue  # it was none when the batch was packed: the input has changed, and is refused above
            if wanted is None:
                return

    def _has_come(self, row_id: int) -> bool:
        """Whether the row has a result, or this batch's was taken before a crash, and was no final one."""
        if self._opened.done(row_id):
            return True
        return asked_before(self._opened, row_id) > self._batch.asked_before(row_id)

    def _worth(self, request: ChatRequest, line: LineResult | None) -> Totals:
        return worth_of(self._lane, self._batch, request, line, is_over=self._is_over)

    @property
    def _is_over(self) -> bool:
        """Whether a line that is not among the results was asked all the same."""
        return self._batch.phase == Phase.COMPLETED or self._is_lost

    def _result(self, request: ChatRequest, line: LineResult | None) -> Result | None:
        """The row's final result; None when it is to be asked again."""
        if line is None and self._is_over:
            self.merged.missing += 1
            self._spend(None)
            return self._again(request, _MISSING, came_back=False)
        if line is None or line.status is None:
            self.merged.unasked += 1
            # ours were taken back, and have had no attempt
            return None if self._batch.is_cancelled else self._again(request, _NOT_ANSWERED)
        try:
            return self._answered(request, line)
        except BatchlabError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one row's and not the run's
            outcome = Outcome(
                OutcomeClass.FAIL,
                "client_error",
                None,
                f"batchlab could not handle this row ({type(error).__name__})",
            )
            return self._failed(request, outcome)

    def _answered(self, request: ChatRequest, line: LineResult) -> Result | None:
        assert line.status is not None
        body = json_bytes(line.body)
        if 200 <= line.status < 300:
            try:
                return self._completion(request, reply_of(request, body), line)
            except ReplyProblem as problem:
                evidence = body if problem.evidence is None else problem.evidence
                return self._refused(request, 200, evidence, str(problem), problem.usage)
        return self._refused(request, line.status, body, "", None)

    def _completion(self, request: ChatRequest, reply: Reply, line: LineResult) -> Completion:
        batch = self._batch
        lasted = max(0.0, batch.ended_at - batch.created_at)
        answer = Answer(reply, batch.created_at, lasted * 1000, None, line.request_id, None)
        state = RowState(attempts=1, answer=answer)
        state.usd = self._lane.usd(request, reply, batch.created_at)
        if (correction := self._asking.correction) is not None:
            kept = self._opened.kept(request.row_id)
            before = kept.parsed.corrections + 1 if kept is not None and kept.parsed is not None else 0
            state.parsed, _ = correction.judge(state, before)
        self.merged.answered += 1
        self._spend(state.usd, reply.usage)
        return replace(state.completion(request), endpoint=self._lane.name, lane="batch")

    def _refused(
        self, request: ChatRequest, status: int, body: bytes, problem: str, usage: Usage | None
    ) -> Failure | None:
        asked = Asked(estimated_prompt_tokens(request.prompt_bytes), frozenset(request.body))
        outcome = self._lane.access.redacted(classify(status, {}, body[:65536], asked=asked, problem=problem))
        waste: Waste = None
        if usage is not None and usage.prompt_tokens is not None:
            waste = usage, self._lane.wasted_usd(request, usage, self._batch.created_at)
            self._spend(waste[1], usage)
        if outcome.kind is OutcomeClass.STOP:
            if outcome.error_class in _OF_ALL:
                self.merged.stop = outcome
            else:
                outcome = replace(outcome, kind=OutcomeClass.FAIL)
        if outcome.kind is OutcomeClass.FAIL:
            return self._failed(request, outcome, waste)
        return self._again(request, outcome, waste)

    def _again(
        self, request: ChatRequest, outcome: Outcome, waste: Waste = None, *, came_back: bool = True
    ) -> Failure | None:
        """The row stays pending, with one attempt more; the last one's outcome is what it has failed by."""
        if self._opened.asked_by(request.row_id) == self._batch.key:
            self.merged.again += 1
            return None  # counted by a process that was killed before it had merged all
        attempts = self._opened.attempts(request.row_id) + 1
        if attempts >= self._work.job.limits.max_attempts:
            return self._failed(request, outcome, waste)
        self.merged.again += 1
        usage, usd = waste or (None, None)
        self._opened.append_asked(
            AskedInVain(request.row_id, attempts, self._batch.key, came_back, usage, usd)
        )
        counted = Totals(attempts=1, cut_off=int(not came_back))
        if waste is not None:
            counted += wasted(*waste)
        self._totals.change(counted)  # as the shard says of such a row when it is opened again
        return None

    def _failed(
        self, request: ChatRequest, outcome: Outcome, waste: Waste = None, *, attempts: int = 1
    ) -> Failure:
        self.merged.failed += 1
        state = RowState(attempts=attempts, wasted=[] if waste is None else [waste])
        return replace(state.failure(request, outcome), endpoint=self._lane.name, lane="batch")

    def _spend(self, usd: float | None, usage: Usage | None = None) -> None:
        """What a line was billed; where that is unknown, the most that it can have been."""
        tokens = self._batch.tokens / max(1, self._batch.lines)
        if usage is not None and usage.prompt_tokens is not None and usage.completion_tokens is not None:
            tokens = float(usage.prompt_tokens + usage.completion_tokens)
        self.merged.spent = self.merged.spent.plus(Money(self._worst_usd if usd is None else usd, tokens))

"""One row on its way through dispatch, and the result that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.lanes import Lane
from batchlab.dispatch.trouble.refusals import RowRefusals
from batchlab.protocol.chat import holds_media
from batchlab.protocol.finish import Meaning, finish_meaning
from batchlab.records import (
    ChatRequest,
    Completion,
    CompletionStatus,
    Failure,
    Outcome,
    Parsed,
    Timing,
    Usage,
)

_STATUS: dict[Meaning, CompletionStatus] = {"truncated": "truncated", "filtered": "filtered"}


@dataclass(slots=True)
class RowState:
    """One row on its way: what its attempts have cost so far.

    Attributes:
        spent_s: how long its attempts took together; counted where a row has a deadline.
        wasted: usage and cost of each attempt that was paid and not kept.
        answer: the answer that is kept; `usd` is its cost, None when unknown.
        lane: where the last attempt went.
        waits: how often it was sent back to wait, without an attempt being counted.
        is_odd: it failed in an earlier pass while others were answered.
        trouble: why asking again for a better answer gave none, if it did not; "" when the run stopped.
        parsed: the answer held against the job's schema, if it has one.
    """

    attempts: int = 0
    queue_ms: float = 0.0
    spent_s: float = 0.0
    wasted: list[tuple[Usage, float | None]] = field(default_factory=list)
    answer: Answer | None = None
    usd: float | None = None
    lane: Lane | None = None
    waits: int = 0
    is_odd: bool = False
    refusals: dict[Lane, RowRefusals] | None = None
    trouble: str = ""
    parsed: Parsed | None = None

    def refused_at(self, lane: Lane) -> RowRefusals:
        """What the row was refused for at an endpoint."""
        if self.refusals is None:  # nearly no row is ever refused
            self.refusals = {}
        return self.refusals.setdefault(lane, RowRefusals(is_odd=self.is_odd))

    @property
    def failed_alone(self) -> bool:
        """Whether others were answered between its errors, where it was asked last."""
        if self.lane is None or self.refusals is None:
            return False
        refused = self.refusals.get(self.lane)
        return refused is not None and (refused.is_odd or refused.errors.shown)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the answer can be used: no text, call, refusal, picture, sound or embedding."""
        if self.answer is None:
            return False
        reply = self.answer.reply
        if reply.completion or reply.tool_calls or reply.refusal or reply.vectors:
            return False
        return reply.choices is None or not holds_media(reply.choices)

    @property
    def is_truncated(self) -> bool:
        """Whether the answer was cut off by max_tokens."""
        return self.answer is not None and finish_meaning(self.answer.reply.finish_reason) == "truncated"

    def completion(self, request: ChatRequest) -> Completion:
        """The row's result, once it has an answer."""
        answer = self.answer
        assert answer is not None
        reply = answer.reply
        prompt, completion, cost = self._wasted_sums()
        return Completion(
            row_id=request.row_id,
            custom_id=request.custom_id,
            request_hash=request.request_hash,
            status=_STATUS.get(finish_meaning(reply.finish_reason), "ok")
            if self.parsed is None
            else self._status(self.parsed),
            reply=reply,
            attempts=self.attempts,
            timing=Timing(
                started_at=answer.started_at,
                finished_at=answer.started_at + answer.latency_ms / 1000,
                latency_ms=answer.latency_ms,
                queue_ms=self.queue_ms,
                ttft_ms=answer.ttft_ms,
            ),
            request_id=answer.request_id,
            wasted_prompt_tokens=prompt,
            wasted_completion_tokens=completion,
            cost_usd=self.usd,
            cost_wasted_usd=cost,
            endpoint=self.lane.name if self.lane is not None else None,
            lane=self.lane.kind_of(request) if self.lane is not None else None,
            error_class="empty" if self.is_empty else self._unfit_class(),
            parsed=self.parsed,
        )

    def _status(self, parsed: Parsed) -> CompletionStatus:
        """That of an answer which was held against the schema."""
        if parsed.text is not None:
            return "ok"  # the value was whole before the answer was cut off
        assert self.answer is not None
        status = _STATUS.get(finish_meaning(self.answer.reply.finish_reason), "ok")
        return "invalid" if status == "ok" and parsed.problem is not None else status

    def _unfit_class(self) -> str | None:
        assert self.answer is not None
        if self.parsed is None or self.parsed.problem is None:
            return "not_utf8" if self.answer.reply.is_lossy else None
        return "refusal" if self.answer.reply.refusal else "schema"

    def failure(self, request: ChatRequest, outcome: Outcome) -> Failure:
        """The row's result, when no attempt is left."""
        prompt, completion, cost = self._wasted_sums()
        return Failure(
            row_id=request.row_id,
            custom_id=request.custom_id,
            error_class=outcome.error_class,
            error_message=outcome.message,
            error_code=outcome.code,
            error_raw=outcome.error_raw,
            request_hash=request.request_hash,
            attempts=self.attempts,
            wasted_prompt_tokens=prompt,
            wasted_completion_tokens=completion,
            cost_wasted_usd=cost,
            endpoint=self.lane.name if self.lane is not None else None,
            lane=self.lane.kind_of(request) if self.lane is not None else None,
        )

    def _wasted_sums(self) -> tuple[int | None, int | None, float | None]:
        if not self.wasted:
            return None, None, None
        costs = [cost for _, cost in self.wasted]
        known = [cost for cost in costs if cost is not None]
        return (
            sum(usage.prompt_tokens or 0 for usage, _ in self.wasted),
            sum(usage.completion_tokens or 0 for usage, _ in self.wasted),
            sum(known) if len(known) == len(costs) else None,
        )

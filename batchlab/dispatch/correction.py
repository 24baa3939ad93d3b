"""Correction turns: a model whose answer does not fit the schema is shown what is wrong with it.

Each turn is an attempt like any other: it takes a slot, is held to the budget, and is paid. The answer
it replaces is booked as waste, in the journal before the turn is sent, so that a crash keeps the books.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from batchlab.dispatch.row_state import RowState
from batchlab.dispatch.stop import StopSignal
from batchlab.protocol.finish import finish_meaning
from batchlab.protocol.schema import AnswerSchema, Check
from batchlab.records import ChatRequest, Completion, Parsed, Reply, Result, Usage
from batchlab.run_end import StopReason

FIRST_ROWS = 20  # none of which has an answer that fits: the endpoint, the prompt or the schema is wrong

Ask: TypeAlias = Callable[[ChatRequest, RowState], Awaitable[bool]]
Back: TypeAlias = Callable[[int, Usage | None, float | None], None]


class Correction:
    """Holds each answer of a run against the schema, and asks again for those that do not fit.

    One instance for all rows; the counts change only in `_count`, without an await inside.

    Args:
        turns: most correction turns of a row.
        stop: set when the first rows all end without an answer that fits.
    """

    def __init__(self, schema: AnswerSchema, turns: int, stop: StopSignal) -> None:
        self._schema = schema
        self._turns = turns
        self._stop = stop
        self._fitting = 0
        self._unfit = 0

    def fits(self, state: RowState) -> bool:
        """Whether the answer has a value that fits, however it goes on after it."""
        return self._check(state).text is not None

    async def correct(self, request: ChatRequest, state: RowState, ask: Ask, back: Back) -> None:
        """Leaves in `state` the answer that is kept, and how it stands against the schema.

        Args:
            ask: sends a request for the row and leaves a better answer in `state`; False when it
                got none, and the answer before is kept.
            back: records that the answer at hand was paid and is not kept.
        """
        check = self._check(state)
        corrections = 0
        while check.text is None and corrections < self._turns and _is_correctable(_reply(state), check):
            back(request.row_id, _reply(state).usage, state.usd)
            if not await ask(self._asked_again(request, state, check), state):
                why = state.trouble or "the run stopped"
                check = replace(check, errors=(*check.errors, f"asking again gave no answer: {why}"))
                break
            corrections += 1
            check = self._check(state)
        if check.begun and state.is_truncated:
            check = replace(check, errors=("max_tokens cut the answer off before its JSON ended",))
        state.parsed = check.parsed(corrections)
        self._count(state.parsed)

    def judge(self, state: RowState, corrections: int) -> tuple[Parsed, bool]:
        """How an answer stands after so many correction turns, and whether another turn may help.

        For answers that come together, whose turns cannot follow one another at once.
        """
        check = self._check(state)
        again = check.text is None and corrections < self._turns and _is_correctable(_reply(state), check)
        if check.begun and state.is_truncated:
            check = replace(check, errors=("max_tokens cut the answer off before its JSON ended",))
        parsed = check.parsed(corrections)
        if not again:
            self._count(parsed)
        return parsed, again

    def wants_turn(self, result: Result) -> bool:
        """Whether a recorded answer did not fit, and is owed another turn; a rule for opening a shard."""
        if not isinstance(result, Completion) or result.status != "invalid" or result.parsed is None:
            return False
        if result.parsed.corrections >= self._turns or result.error_class != "schema":
            return False
        if not _is_correctable(result.reply, self._schema.check(result.reply.completion or "")):
            return False
        # a turn that brought no answer has been counted among the attempts
        return result.attempts <= result.parsed.corrections + self._turns

    def next_turn(self, request: ChatRequest, kept: Completion) -> ChatRequest:
        """The request that shows the model what is wrong with the answer of before."""
        text = kept.reply.completion or ""
        return self._with_turn(request, text, self._schema.check(text).errors)

    def _check(self, state: RowState) -> Check:
        reply = _reply(state)
        if reply.refusal:
            return Check(None, (), ("the model refused to answer",))
        if reply.tool_calls and not reply.completion:
            return Check(None)  # the user's own tools: the call is the answer
        return self._schema.check(reply.completion or "")

    def _asked_again(self, request: ChatRequest, state: RowState, check: Check) -> ChatRequest:
        """The row's request with the last answer and its errors after it."""
        return self._with_turn(request, _reply(state).completion or "", check.errors)

    def _with_turn(self, request: ChatRequest, text: str, errors: tuple[str, ...]) -> ChatRequest:
        turns = self._schema.correction(text, errors)
        messages = [*request.body["messages"], *turns]
        more = sum(len(turn["content"].encode()) for turn in turns)
        return replace(
            request,
            body={**request.body, "messages": messages},
            prompt_bytes=request.prompt_bytes + more,
        )

    def _count(self, parsed: Parsed) -> None:
        self._fitting += parsed.text is not None
        self._unfit += parsed.problem is not None
        if self._unfit >= FIRST_ROWS and not self._fitting and not self._stop.is_set:
            self._stop(
                StopReason.SCHEMA,
                f"none of the first {FIRST_ROWS} answers fits the schema (the last: {parsed.problem}): "
                f"{self._schema.remedy}; the same command asks for {FIRST_ROWS} more",
            )


def _reply(state: RowState) -> Reply:
    assert state.answer is not None, "asked of a row without an answer"
    return state.answer.reply


def _is_correctable(reply: Reply, check: Check) -> bool:
    """Whether telling the model what is wrong may help: not for an answer that was filtered, refused, is
    a call of a tool, or whose JSON was cut off (one that talked until then may be short the next time)."""
    meaning = finish_meaning(reply.finish_reason)
    if meaning == "filtered" or reply.refusal or (check.begun and meaning == "truncated"):
        return False
    return bool(reply.completion) or not reply.tool_calls

"""Rows that travel together: several of them in one request, and its answer taken apart again.

It stands between the requests, the pool and the recorder. The pool sees requests, each with one
permit, one reservation and its own attempts; the journal sees rows. A request that is refused for
what it holds (a 400) is not the end of its rows: its halves are asked apart, down to the row that
is to blame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from batchlab.costs.shares import cost_shares, usage_shares
from batchlab.costs.tokens import BYTES_PER_TOKEN, estimated_prompt_tokens
from batchlab.dispatch.recorder import Recorder
from batchlab.records import ChatRequest, Completion, Failure, Result, Timing, Usage
from batchlab.run_end import RunStopped

# An embedding model puts a token before a text and one after it.
TOKENS_AROUND = 2
# Failures that are no single row's: what was billed perhaps, and what the endpoint does to every row.
_NOT_OF_A_ROW = frozenset({"timeout", "dimensions"})


class GroupRecorder(Recorder, Protocol):
    """A recorder that knows of requests with several rows, all of one shard."""

    def sent_together(self, row_ids: Sequence[int], attempt: int) -> None:
        """One request for these rows is about to leave."""
        ...

    def back_together(
        self, row_ids: Sequence[int], usages: Sequence[Usage] | None, usds: Sequence[float | None]
    ) -> None:
        """It came back without a final result; what it used and cost, by row."""
        ...


@dataclass(slots=True)
class _Spent:
    """What requests that were taken apart have come to for one row."""

    attempts: int = 0
    wasted: tuple[int, int] | None = None
    usd: float | None = None  # of `wasted`


@dataclass(slots=True)
class _Group:
    """The rows of one request, in the order of its texts."""

    members: tuple[ChatRequest, ...]
    weights: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [estimated_prompt_tokens(member.prompt_bytes) for member in self.members]

    @property
    def row_ids(self) -> list[int]:
        return [member.row_id for member in self.members]

    def request(self) -> ChatRequest:
        """The one request for all of them."""
        first, more = self.members[0], len(self.members) - 1
        tokens = sum(self.weights) + TOKENS_AROUND * len(self.members)
        texts = [member.body["input"] for member in self.members]
        return replace(
            first,
            custom_id=f"{first.custom_id} and {more} more" if more else first.custom_id,
            body={**first.body, "input": texts} if more else first.body,
            prompt_bytes=tokens * BYTES_PER_TOKEN,
            rows=len(self.members),
        )


class Groups:
    """Puts requests of consecutive rows together; an iterator for the pool, and its recorder.

    Used from one event loop; the only state that outlives a request is that of rows which were
    refused together and are asked apart.

    Args:
        rows, tokens: most rows, and most estimated tokens, of one request.
        shard_rows: rows of a shard; a request has rows of one shard only, so that one record of one
            journal says that it left.
    """

    def __init__(self, recorder: GroupRecorder, *, rows: int, tokens: int, shard_rows: int) -> None:
        self._recorder = recorder
        self._rows = rows
        self._tokens = tokens
        self._shard_rows = shard_rows
        self._singles: Iterator[ChatRequest] = iter(())
        self._ahead: ChatRequest | None = None  # read, and not of the group before it
        self._halves: deque[tuple[ChatRequest, ...]] = deque()
        self._on_way: dict[int, _Group] = {}  # by their first row
        self._spent: dict[int, _Spent] = {}

    def of(self, requests: Iterator[ChatRequest]) -> Self:
        """The requests that carry those of single rows."""
        self._singles = requests
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatRequest:
        """The next request. After the last one there may be another: a part of one that was refused."""
        members = self._halves.popleft() if self._halves else self._gathered()
        if not members:
            raise StopIteration
        group = _Group(members)
        self._on_way[members[0].row_id] = group
        return group.request()

    def sent(self, row_id: int, attempt: int) -> None:
        """One request for all rows of the group is about to leave."""
        self._recorder.sent_together(self._on_way[row_id].row_ids, attempt)

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None:
        """It came back without a final result: each row is booked its share of `usage` and `usd`."""
        group = self._on_way[row_id]
        usages = usage_shares(usage, group.weights) if usage is not None else None
        usds = cost_shares(usd, usages or [], group.weights)
        self._recorder.back_together(group.row_ids, usages, usds)

    def emit(self, result: Result) -> None:
        """The request's final result: a result for each row, or the rows are asked apart."""
        group = self._on_way[result.row_id]
        rows = self._apart(result, group)  # before it is gone: what cannot be told apart fails together
        del self._on_way[result.row_id]
        if isinstance(result, Failure) and len(group.members) > 1 and _may_be_one_row_s(result):
            for row in rows:
                self._spent[row.row_id] = _Spent(row.attempts, _wasted(row), row.cost_wasted_usd)
            middle = len(group.members) // 2
            self._halves.append(group.members[:middle])
            self._halves.append(group.members[middle:])
            return
        stopped: RunStopped | None = None
        for row in rows:
            self._spent.pop(row.row_id, None)
            try:
                self._recorder.emit(row)
            except RunStopped as error:  # a full disk: the other rows were paid for as well
                stopped = error
        if stopped is not None:
            raise stopped

    def _gathered(self) -> tuple[ChatRequest, ...]:
        """The next rows that may share a request."""
        first = self._ahead if self._ahead is not None else next(self._singles, None)
        self._ahead = None
        if first is None:
            return ()
        members, asked = [first], _asked(first)
        tokens = estimated_prompt_tokens(first.prompt_bytes)
        while len(members) < self._rows:
            row = next(self._singles, None)
            if row is None:
                break
            tokens += estimated_prompt_tokens(row.prompt_bytes)
            same_shard = row.row_id // self._shard_rows == first.row_id // self._shard_rows
            if tokens > self._tokens or not same_shard or _asked(row) != asked:
                self._ahead = row
                break
            members.append(row)
        return tuple(members)

    def _apart(self, result: Result, group: _Group) -> list[Result]:
        """The result of each row of a request, with what its earlier requests have come to."""
        wasted = Usage(result.wasted_prompt_tokens, result.wasted_completion_tokens)
        lost = usage_shares(wasted, group.weights)
        lost_usd = cost_shares(result.cost_wasted_usd, lost, group.weights)
        rows: list[Result] = []
        if isinstance(result, Completion):
            kept = usage_shares(result.reply.usage, group.weights)
            usds = cost_shares(result.cost_usd, kept, group.weights)
            vectors = result.reply.vectors or ()
        for index, member in enumerate(group.members):
            own: dict[str, Any] = {
                "row_id": member.row_id,
                "custom_id": member.custom_id,
                "request_hash": member.request_hash,
                **self._with_before(member.row_id, result.attempts, lost[index], lost_usd[index]),
            }
            if isinstance(result, Failure):
                rows.append(replace(result, **own))
                continue
            reply = replace(result.reply, usage=kept[index], vectors=(vectors[index],))
            timing = _told_apart(result.timing, index)
            rows.append(replace(result, reply=reply, timing=timing, cost_usd=usds[index], **own))
        return rows

    def _with_before(self, row_id: int, attempts: int, lost: Usage, usd: float | None) -> dict[str, object]:
        """The fields of a row's result that count all its requests."""
        before = self._spent.get(row_id, _Spent())
        prompt, completion = lost.prompt_tokens, lost.completion_tokens
        if before.wasted is not None:
            known = prompt is None or usd is not None
            prompt, completion = (prompt or 0) + before.wasted[0], (completion or 0) + before.wasted[1]
            usd = (usd or 0.0) + before.usd if known and before.usd is not None else None
        return {
            "attempts": before.attempts + attempts,
            "wasted_prompt_tokens": prompt,
            "wasted_completion_tokens": completion,
            "cost_wasted_usd": usd,
        }


def _asked(request: ChatRequest) -> tuple[str | None, dict[str, object]]:
    """All of a request but its text: rows that differ in it do not share a request."""
    return request.endpoint, {name: value for name, value in request.body.items() if name != "input"}


def _may_be_one_row_s(failure: Failure) -> bool:
    """Whether a request may have been refused for one of its rows."""
    return not failure.retryable and failure.error_class not in _NOT_OF_A_ROW


def _wasted(row: Result) -> tuple[int, int] | None:
    if row.wasted_prompt_tokens is None and row.wasted_completion_tokens is None:
        return None
    return row.wasted_prompt_tokens or 0, row.wasted_completion_tokens or 0


def _told_apart(timing: Timing, index: int) -> Timing:
    """The request's times; each row starts 1 µs after the one before it.

    Answers to equal questions are told by when they were asked (`store.generations`), and equal rows
    may share a request.
    """
    return replace(timing, started_at=timing.started_at + index * 1e-6)

"""The values that flow: Shard → Row → ChatRequest → Completion | Failure.

All are frozen. Absent is None: a provider that sent no usage did not send zero tokens.
Times are Unix seconds (float, UTC); durations carry their unit in the name.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias


class OutcomeClass(StrEnum):
    """What one answer means for the row and for the run."""

    OK = "OK"  # the result is kept
    RETRY = "RETRY"  # counts as an attempt; back-off
    WAIT = "WAIT"  # rate limit: shared pause, no attempt counted
    PAUSE = "PAUSE"  # outage: one probe at a time, no attempt counted
    FAIL = "FAIL"  # this row has failed; the run goes on
    STOP = "STOP"  # the run cannot go on

    @property
    def may_pass(self) -> bool:
        """Whether the same may be answered later."""
        return self in {OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one attempt, from `protocol.outcomes.classify.classify`.

    Attributes:
        kind: what is to be done.
        error_class: the word in the `error_class` column (`rate_limit`, `auth`, `quota`,
            `bad_request`, `context_length`, `timeout`, `connection`, `server`, ...); "" when OK.
        code: HTTP status, or None when no response came.
        message: one line, ≤ 2 kB, redacted and free of control characters.
        wait_s: seconds the server asks us to wait, or None if it did not say.
        after: what must be true before a FAIL becomes a STOP, as data for dispatch:
            "" (nothing), "no_success" (STOP while this run has had no success),
            "row_streak" (STOP after N such rows in a row without a success).
        cause: the provider's own code or type, by which equal causes are told; "" when it named none.
        error_raw: the provider's own `type`, `code`, `message` and `param` as JSON text, redacted; None
            when its answer named none.
    """

    kind: OutcomeClass
    error_class: str = ""
    code: int | None = None
    message: str = ""
    wait_s: float | None = None
    after: str = ""
    cause: str = ""
    error_raw: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of consecutive input rows: the unit of everything durable.

    Attributes:
        index: 0-based number, also in file names (`part-000042.parquet`).
        first_row: row_id of its first row (0-based position in the input).
        rows: how many rows it has (≥ 1).
        position: where its first row starts, as the source's own bookmark
            (for example {"offset": 1024} or {"file": 0, "row_group": 3, "skip": 500}).
    """

    index: int
    first_row: int
    rows: int
    position: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One input row.

    Attributes:
        row_id: 0-based position in the input.
        values: column name → value, in the input's own types.
        problem: why the row could not be read, or None; such a row becomes a
            Failure("bad_input") and is never sent.
    """

    row_id: int
    values: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A row ready to be sent.

    Attributes:
        body: the request's JSON object, as the user wrote it.
        request_hash: 16-byte BLAKE2b of the canonical body and the endpoint's host.
        prompt_bytes: UTF-8 bytes of the prompt's text, for token estimates; an image or a sound counts
            as a fixed number of them.
        max_tokens: most completion tokens that the body allows for, over all its choices; None
            without a cap.
        endpoint: name of the one endpoint that may answer; any when None.
        as_written: no parameter of the body may be renamed to suit the service.
        task: what it asks for, one of `job.TASK_PATHS`.
        rows: how many input rows it carries; `row_id` is then the first one's.
    """

    row_id: int
    custom_id: str
    body: dict[str, Any]
    request_hash: bytes
    prompt_bytes: int
    max_tokens: int | None = None
    endpoint: str | None = None
    as_written: bool = False
    task: str = "chat"
    rows: int = 1

    @property
    def model(self) -> str:
        """The model the body names."""
        return str(self.body.get("model", ""))


def completion_cap(body: Mapping[str, Any]) -> int | None:
    """Most completion tokens that a request's body allows for, over all its `n` choices; None
    without a cap, as llama.cpp writes by -1."""
    cap = body.get("max_tokens", body.get("max_completion_tokens"))
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 0:
        return None
    choices = body.get("n")
    return cap * choices if type(choices) is int and choices > 1 else cap


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as they are billed; `raw` is the provider's whole usage object as JSON text, as it came.

    `prompt_tokens` includes those read from a cache and those written to one, `completion_tokens` the
    reasoning.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    raw: str | None = None


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a successful response says, before it is tied to a row (from `protocol`).

    Attributes:
        tool_calls: JSON text.
        choices: JSON text of all choices when there is more than one, or when an answer holds what no column
            does (pictures, a sound, annotations); all else is of the first.
        logprobs: JSON text of the first choice's.
        vectors: embeddings in the order of the texts, each the base64 of little-endian float32.
        service_tier: as served, in the service's own word.
        is_lossy: bytes of it were not UTF-8 and became U+FFFD.
    """

    completion: str | None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: str | None = None
    finish_reason: str | None = None
    usage: Usage = NO_USAGE
    model: str | None = None
    response_id: str | None = None
    system_fingerprint: str | None = None
    choices: str | None = None
    logprobs: str | None = None
    vectors: tuple[str, ...] | None = None
    service_tier: str | None = None
    is_lossy: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """When an attempt ran.

    Attributes:
        started_at, finished_at: Unix seconds of the row's last attempt.
        latency_ms: of the last attempt, without the wait for a slot.
        queue_ms: waiting for slots and pauses, over all attempts.
        ttft_ms: time to the first streamed token; None when not streamed.
    """

    started_at: float
    finished_at: float
    latency_ms: float
    queue_ms: float = 0.0
    ttft_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer held against the job's schema.

    Attributes:
        text: the valid value as compact JSON; None when there is none.
        note: what was put up with to read it (`fenced`, `text around`, `reasoning`, `duplicate keys`,
            `integer beyond 64 bits`); None for an answer that is JSON and nothing else.
        corrections: correction turns the row took.
        problem: the first things wrong with the answer; None when it fits or was not checked.
    """

    text: str | None
    note: str | None = None
    corrections: int = 0
    problem: str | None = None


LaneKind: TypeAlias = Literal["live", "flex", "batch"]  # a way to be answered at an endpoint
CompletionStatus: TypeAlias = Literal["ok", "truncated", "filtered", "invalid"]


@dataclass(frozen=True, slots=True)
class Completion:
    """A row that was answered.

    `status` follows from finish_reason (`protocol.finish`), and is `invalid` for an answer that does not
    fit the job's schema; one that fits is `ok`, whatever its finish_reason.
    """

    row_id: int
    custom_id: str
    request_hash: bytes
    status: CompletionStatus
    reply: Reply
    attempts: int
    timing: Timing
    cut_off: int = 0  # attempts whose answer a crash has lost; each may have been billed
    request_id: str | None = None
    wasted_prompt_tokens: int | None = None
    wasted_completion_tokens: int | None = None
    cost_usd: float | None = None
    cost_wasted_usd: float | None = None
    endpoint: str | None = None  # name of the one that answered
    lane: LaneKind | None = None  # how it was answered there; None in a run of before there was a choice
    # "empty" on an answer without content: it was paid and is kept; "schema" or "refusal" when invalid;
    # "not_utf8" where bytes of it had to be replaced
    error_class: str | None = None
    parsed: Parsed | None = None  # of a job with a schema

    @property
    def embedding(self) -> array[float] | None:
        """The row's vector, as float32; None unless it asked for one. `numpy.asarray` reads it as it is."""
        texts = self.reply.vectors
        if texts is None or len(texts) != 1:
            return None
        vector = array("f", base64.b64decode(texts[0]))
        if sys.byteorder == "big":
            vector.byteswap()
        return vector


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that has no answer, and why."""

    row_id: int
    custom_id: str
    error_class: str
    error_message: str
    error_code: int | None = None
    error_raw: str | None = None  # the provider's own type, code, message and param, as JSON text
    request_hash: bytes = b""
    attempts: int = 0
    cut_off: int = 0
    timing: Timing | None = None
    request_id: str | None = None
    wasted_prompt_tokens: int | None = None
    wasted_completion_tokens: int | None = None
    cost_wasted_usd: float | None = None
    endpoint: str | None = None
    lane: LaneKind | None = None

    @property
    def retryable(self) -> bool:
        """Whether it was the provider's trouble, not the row's: the run's end gives it one more try."""
        return self.error_class in RETRYABLE_ERRORS


# A timeout is not among them: it may have been billed each time.
RETRYABLE_ERRORS = frozenset({"server", "connection", "invalid_response"})

Result: TypeAlias = Completion | Failure


def is_replaceable(result: Result) -> bool:
    """Whether a later result of the same row takes its place: it failed, or does not fit the schema."""
    return isinstance(result, Failure) or result.status == "invalid"


def is_wanting(result: Result) -> bool:
    """Whether a retry may ask again for the row: it is replaceable, or its answer is cut off, filtered or
    empty. Such an answer was paid for, and gives way to one that a retry brought, and to nothing else."""
    if is_replaceable(result):
        return True
    assert isinstance(result, Completion)
    return result.status in {"truncated", "filtered"} or result.error_class == "empty"

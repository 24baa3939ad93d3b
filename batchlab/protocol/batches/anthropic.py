"""Anthropic's Message Batches: Messages instead of chats, with the order, and no labels.

Sources: anthropic-sdk-python `types/messages/*batch*.py`, `types/shared/error_type.py`,
`resources/messages/batches.py`; platform.claude.com docs/en/build-with-claude/batch-processing (100,000
requests or 256 MB, 29 days, half the price); anthropic-sdk-python 984 (a custom_id's length).
"""

from __future__ import annotations

import re

from batchlab.protocol.batches.dialect import (
    BatchLimits,
    BatchState,
    Dialect,
    Json,
    LineResult,
    Order,
    Phase,
    Unfit,
)
from batchlab.protocol.batches.fields import members, name_in, request_id_of, seconds_of, status_of
from batchlab.protocol.batches.messages import completion_of, params_of
from batchlab.protocol.usage import count

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BATCHES = "messages/batches"
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


def line(body: Json, custom_id: str, _path: str) -> Json:
    """An item of `requests`. Raises Unfit for what Messages cannot carry."""
    if _CUSTOM_ID.fullmatch(custom_id) is None:
        raise Unfit("custom_id: takes at most 64 letters, digits, _ and -")
    return {"custom_id": custom_id, "params": params_of(body)}


def order(_asked: Order) -> Json:
    """The JSON of `POST messages/batches`, which has nothing but its requests."""
    return {}


def state(data: Json) -> BatchState:
    """A batch object's state. All counts are of `processing` until it has ended."""
    data = members(data)
    word = name_in(data.get("processing_status"))
    counts = members(data.get("request_counts"))
    found = {name: count(counts.get(name)) for name in _COUNTS}
    known = [value for value in found.values() if value is not None]
    phase = _phase(word, data, found)
    failed = found["errored"] if phase.has_ended else None
    id_, archived = name_in(data.get("id")), data.get("archived_at") is not None
    # results_url names api.anthropic.com behind any gateway, and only the gateway takes the key
    is_there = name_in(data.get("results_url")) != "" and not archived
    return BatchState(
        id=id_,
        phase=phase,
        word=word,
        is_known=word in {"in_progress", "canceling", "ended"},
        total=sum(known) if known else None,
        done=(found["succeeded"] or 0) + (failed or 0) if phase.has_ended and known else None,
        failed=failed,
        files=(f"{_BATCHES}/{id_}/results",) if is_there else (),
        problems=("its results are not kept any more",) if archived else (),
        created_at=seconds_of(data.get("created_at")),
        ended_at=seconds_of(data.get("ended_at")),
    )


def _phase(word: str, data: Json, counts: dict[str, int | None]) -> Phase:
    """`ended` says nothing of how: the lines that were not answered do."""
    if word != "ended":
        return Phase.CANCELLING if word == "canceling" else Phase.RUNNING
    if counts["canceled"] or (counts["canceled"] is None and data.get("cancel_initiated_at") is not None):
        return Phase.CANCELLED
    return Phase.EXPIRED if counts["expired"] else Phase.COMPLETED


def result(data: Json) -> LineResult:
    """A line of the results, as the chat that was asked for would have been answered."""
    data = members(data)
    custom_id, found = name_in(data.get("custom_id")), members(data.get("result"))
    kind = name_in(found.get("type"))
    if kind in {"expired", "canceled"}:
        return LineResult(custom_id, None)
    if kind == "succeeded":
        return LineResult(custom_id, 200, completion_of(found.get("message")))
    said = members(found.get("error"))  # {type: error, error: {type, message}, request_id}
    error = said["error"] if isinstance(said.get("error"), dict) else said
    if not error:
        return LineResult(custom_id, 500, {"error": {"message": f"a result of the type {kind or 'none'}"}})
    return LineResult(
        custom_id,
        status_of(error),
        {"type": "error", "error": dict(error)},
        request_id_of(said.get("request_id")),
    )


ANTHROPIC = Dialect(
    "anthropic",
    line=line,
    order=order,
    state=state,
    result=result,
    batches=_BATCHES,
    files=None,
    inline="requests",
    headers={"anthropic-version": "2023-06-01"},
    key_header="x-api-key",
    limits=BatchLimits(lines=100_000, size=256_000_000, tasks=frozenset({"chat"})),
    keeps_labels=False,
    page="after_id",
    kept_s=29 * 86_400.0,
    remarks=(
        "half the price of live calls; most batches end within an hour; what takes more than 24 expires",
        "asked as Messages: max_tokens has to be set; what it has not (n, logprobs, seed, ...) is refused",
        "batches have no labels: one whose order may have been lost is not sent again unseen",
        "results are kept for 29 days",
    ),
)

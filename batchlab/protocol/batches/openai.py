"""The batch API of OpenAI, which most services have with small differences.

Sources: openai-python `types/batch.py`, `types/batch_create_params.py`; platform.openai.com's batch guide.
"""

from __future__ import annotations

from typing import Any

from batchlab.protocol.batches.dialect import BatchState, Dialect, Json, LineResult, Order, Phase
from batchlab.protocol.values import id_of

# by the service's word, lower case
PHASES = {
    "validating": Phase.WAITING,
    "in_progress": Phase.RUNNING,
    "finalizing": Phase.RUNNING,
    "cancelling": Phase.CANCELLING,
    "completed": Phase.COMPLETED,
    "expired": Phase.EXPIRED,
    "cancelled": Phase.CANCELLED,
    "failed": Phase.FAILED,
}
# what a batch fails with when the account's queue is full
NO_ROOM = frozenset({"token_limit_exceeded", "request_limit_exceeded", "batch_limit_exceeded"})


def line(body: Json, custom_id: str, path: str) -> Json:
    """A line of the input file."""
    return {"custom_id": custom_id, "method": "POST", "url": path, "body": body}


def order(asked: Order) -> Json:
    """The JSON of `POST batches`."""
    return {
        "input_file_id": asked.file,
        "endpoint": asked.path,
        "completion_window": asked.window,
        "metadata": dict(asked.labels),
    }


def state(data: Json) -> BatchState:
    """A batch object's state. A word that is not known counts as running: the service goes on with it."""
    word = str(data.get("status") or "")
    counts = data.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    done, failed = count_of(counts.get("completed")), count_of(counts.get("failed"))
    found = _errors(data)
    files = (data.get("output_file_id"), data.get("error_file_id"))
    labels = data.get("metadata")
    return BatchState(
        id=str(data.get("id") or ""),
        phase=PHASES.get(word.lower(), Phase.RUNNING),
        word=word,
        total=count_of(counts.get("total")),
        done=None if done is None else done + (failed or 0),
        failed=failed,
        files=tuple(one for one in files if isinstance(one, str) and one),
        problems=tuple(_said(one) for one in found),
        lacks_room=any(one.get("code") in NO_ROOM for one in found),
        created_at=seconds_of(data.get("created_at")),
        labels={str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {},
    )


def result(data: Json) -> LineResult:
    """A line of the output or of the error file."""
    custom_id = str(data.get("custom_id") or "")
    response, error = data.get("response"), data.get("error")
    if isinstance(response, dict) and isinstance(status := response.get("status_code"), int):
        body = response.get("body")
        return LineResult(
            custom_id,
            status,
            body if isinstance(body, dict) else {"error": {"message": str(body)}},
            id_of(response.get("request_id")),
        )
    if isinstance(error, dict) and error.get("code") in {"batch_expired", "batch_cancelled"}:
        return LineResult(custom_id, None)
    return LineResult(custom_id, 500, {"error": error or {"message": "a line without a response"}})


def count_of(value: Any) -> int | None:
    """A count that is one."""
    return value if type(value) is int and value >= 0 else None


def seconds_of(value: Any) -> float | None:
    """Unix seconds that are such."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _errors(data: Json) -> list[dict[str, Any]]:
    errors = data.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else errors
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _said(error: dict[str, Any]) -> str:
    where = f"line {error['line']}: " if type(error.get("line")) is int else ""
    return f"{where}{error.get('message') or error.get('code') or 'no reason given'}"


OPENAI = Dialect("openai", line=line, order=order, state=state, result=result)

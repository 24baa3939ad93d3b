"""The batch API of OpenAI, which most services have with small differences.

Sources: openai-python `types/batch.py`, `types/batch_error.py`, `types/batch_create_params.py`; the OpenAPI
document's `BatchRequestOutput` (error codes `batch_expired`, `batch_cancelled`, `request_timeout`);
openai-python 2084 (`token_limit_exceeded`, which Azure says in the same way). The errors of lines are in a
file of their own, and a batch whose lines all failed is `completed` with that file alone (litellm 33987).
"""

from __future__ import annotations

from typing import Any

from batchlab.protocol.batches.dialect import (
    BatchLimits,
    BatchState,
    Dialect,
    Json,
    LineResult,
    Order,
    Phase,
)
from batchlab.protocol.batches.fields import (
    body_of,
    labels_of,
    listed,
    members,
    name_in,
    names_in,
    problems_of,
    request_id_of,
    seconds_of,
    status_of,
)
from batchlab.protocol.batches.words import phase_of
from batchlab.protocol.usage import count

# what a batch fails with when the account's queue is full
NO_ROOM = frozenset({"token_limit_exceeded", "request_limit_exceeded", "batch_limit_exceeded"})
# what a line has that was never asked
UNASKED = frozenset({"batch_expired", "batch_cancelled", "batch_canceled"})
TIMED_OUT = (
    "request_timeout"  # the call to the model did; no other error of a line without a response is known
)


def line(body: Json, custom_id: str, path: str) -> Json:
    """A line of the input file."""
    return {"custom_id": custom_id, "method": "POST", "url": path, "body": unstreamed(body)}


def unstreamed(body: Json) -> Json:
    """A body that asks for the whole answer at once: a file has no streams."""
    if "stream" not in body and "stream_options" not in body:
        return body
    return {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}


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
    data = members(data)
    word = name_in(data.get("status"))
    counts = members(data.get("request_counts"))
    done, failed = count(counts.get("completed")), count(counts.get("failed"))
    found = errors_of(data)
    return BatchState(
        id=name_in(data.get("id")),
        phase=phase_of(word) or Phase.RUNNING,
        word=word,
        is_known=phase_of(word) is not None,
        total=count(counts.get("total")),
        done=None if done is None else done + (failed or 0),
        failed=failed,
        files=names_in(data.get("output_file_id"), data.get("error_file_id")),
        problems=problems_of(found),
        lacks_room=any(name_in(members(one).get("code")) in NO_ROOM for one in found),
        created_at=seconds_of(data.get("created_at")),
        ended_at=seconds_of(data.get("completed_at")),
        labels=labels_of(data.get("metadata")),
        lines_file=name_in(data.get("input_file_id")) or None,
    )


def result(data: Json) -> LineResult:
    """A line of the output or of the error file."""
    data = members(data)
    custom_id = name_in(data.get("custom_id"))
    response, error = members(data.get("response")), data.get("error")
    request_id = request_id_of(response.get("request_id"))
    if (status := count(response.get("status_code"))) is not None:
        body = response.get("body")
        if body is None and error:  # vLLM's run_batch says beside the response what was wrong
            body = _error_of(error)
        return LineResult(custom_id, status, body_of(body), request_id)
    if response.get("body") is not None:  # and no status: the body tells
        body = body_of(response["body"])
        status = 200 if "error" not in body else status_of(body["error"])
        return LineResult(custom_id, status, body, request_id)
    code = name_in(members(error).get("code"))
    if code in UNASKED:
        return LineResult(custom_id, None, request_id=request_id)
    if not error:
        return LineResult(custom_id, 500, {"error": {"message": "a line without a response"}}, request_id)
    status = 504 if code == TIMED_OUT else status_of(error)
    return LineResult(custom_id, status, _error_of(error), request_id)


def _error_of(error: Any) -> Json:
    """The error of a line as the body of a live call has it."""
    return {"error": error if isinstance(error, dict) else {"message": str(error)}}


def errors_of(data: Json) -> list[Any]:
    """The errors of a batch object, in a list of OpenAI's kind or as they are."""
    errors = data.get("errors")
    found = listed(errors.get("data")) if isinstance(errors, dict) else listed(errors)
    return found or [one for one in (errors, data.get("error")) if isinstance(one, str) and one]


OPENAI = Dialect(
    "openai",
    line=line,
    order=order,
    state=state,
    result=result,
    limits=BatchLimits(inputs=50_000),
    remarks=(
        "half the price of live calls; answered within 24 hours, most often much sooner",
        "the tokens that may be queued are limited by model and account",
        "what was answered before a batch expires or is cancelled is kept, and billed",
    ),
)

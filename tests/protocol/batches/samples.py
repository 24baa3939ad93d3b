"""Batches and lines of results as services send them; where each was read stands beside it."""

from __future__ import annotations

from batchlab.protocol.batches.dialect import Phase

CHAT_PATH = "/v1/chat/completions"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
COMPLETION = {
    "id": "chatcmpl-123",
    "object": "chat.completion",
    "created": 1711652795,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 22, "completion_tokens": 2, "total_tokens": 24},
}
MESSAGE = {  # platform.claude.com docs/en/build-with-claude/batch-processing
    "id": "msg_014VwiXbi91y3JMjcpyGBHX5",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-6",
    "content": [{"type": "text", "text": "Hello again! It's nice to see you."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 36},
}


def batch(**more):
    """platform.openai.com docs/api-reference/batch/object."""
    return {
        "id": "batch_abc123",
        "object": "batch",
        "endpoint": CHAT_PATH,
        "errors": None,
        "input_file_id": "file-abc123",
        "completion_window": "24h",
        "status": "completed",
        "output_file_id": "file-cvaTdG",
        "error_file_id": "file-HOWS94",
        "created_at": 1711471533,
        "request_counts": {"total": 100, "completed": 95, "failed": 5},
        "metadata": {"run": "r1"},
        **more,
    }


def together(**more):
    """togethercomputer/openapi, BatchJob."""
    return {
        "id": "01234567-8901-2345-6789-012345678901",
        "user_id": "user_789xyz012",
        "input_file_id": "file-input123abc456def",
        "status": "IN_PROGRESS",
        "job_deadline": "2024-01-15T15:30:00Z",
        "created_at": "2024-01-15T14:30:00Z",
        "endpoint": CHAT_PATH,
        "progress": 75.0,
        "model_id": "Qwen/Qwen3.5-9B",
        **more,
    }


def mistral(**more):
    """mistralai/client-python, BatchJob."""
    return {
        "id": "job-1",
        "object": "batch",
        "input_files": ["f-in"],
        "endpoint": CHAT_PATH,
        "model": "ministral-3b-latest",
        "errors": [],
        "status": "RUNNING",
        "created_at": 1761577934,
        "total_requests": 3,
        "completed_requests": 2,
        "succeeded_requests": 1,
        "failed_requests": 1,
        "metadata": {"run": "r1", "shard": 4},
        **more,
    }


def openrouter(**more):
    """OpenRouterTeam/docs, batch-quickstart.mdx."""
    return {
        "id": "batch_123",
        "object": "batch",
        "endpoint": CHAT_PATH,
        "model": "openai/gpt-4o",
        "completion_window": "24h",
        "status": "validating",
        "created_at": 1782097200,
        "finalized_at": None,
        "request_counts": {"total": 1, "completed": 0, "failed": 0},
        "usage": None,
        "results": None,
        "error": None,
        **more,
    }


def messages(counts=(0, 100, 0, 0, 0), **more):
    """anthropic-sdk-python, MessageBatch."""
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return {
        "id": "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": dict(zip(names, counts, strict=True)),
        "created_at": "2024-08-20T18:37:24.100435Z",
        "expires_at": "2024-08-21T18:37:24.100435Z",
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results",
        **more,
    }


LIMIT = {  # openai-python 2084
    "code": "token_limit_exceeded",
    "line": None,
    "message": "Enqueued token limit reached for gpt-4o-mini in organization org-x. Limit: 2,000,000 enqueued "
    "tokens. Please try again once some in_progress batches have been completed.",
    "param": None,
}
AZURE_LIMIT = {  # learn.microsoft.com answers/questions/2285577
    "code": "token_limit_exceeded",
    "message": "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment "
    "'gpt-4.1-batch'. Please either increase the limit or try again once the current jobs have finished.",
    "line": None,
    "param": None,
}
BAD_LINE = {"code": "invalid_json_line", "line": 7, "message": "This line is not parseable as valid JSON."}
OUTPUTS = ("file-cvaTdG", "file-HOWS94")
RESULTS = "messages/batches/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results"
FULL = "failed; no room"

# (dialect, what, the batch, phase, what is known of it)
STATES = [
    ("openai", "completed", batch(), Phase.COMPLETED, {"total": 100, "done": 100, "failed": 5, "files": OUTPUTS, "created_at": 1711471533.0, "labels": {"run": "r1"}, "problems": ()}),
    ("openai", "all lines failed", batch(output_file_id=None), Phase.COMPLETED, {"files": ("file-HOWS94",)}),
    ("openai", "expired with a part done", batch(status="expired"), Phase.EXPIRED, {"files": OUTPUTS, "done": 100}),
    ("openai", "queue full", batch(status="failed", errors={"object": "list", "data": [LIMIT]}, output_file_id=None, error_file_id=None, request_counts=None), Phase.FAILED, {"lacks_room": True, "files": (), "total": None, "done": None}),
    ("openai", "a bad line", batch(status="failed", errors={"object": "list", "data": [BAD_LINE]}), Phase.FAILED, {"lacks_room": False, "problems": ("line 7: This line is not parseable as valid JSON.",)}),
    ("openai", "just ordered", batch(status="validating", request_counts={"total": 0, "completed": 0, "failed": 0}, metadata=None, output_file_id=None, error_file_id=None), Phase.WAITING, {"labels": {}, "files": ()}),
    ("openai", "being written", batch(status="finalizing"), Phase.RUNNING, {}),
    ("openai", "being cancelled", batch(status="cancelling"), Phase.CANCELLING, {}),
    ("openai", "cancelled", batch(status="cancelled"), Phase.CANCELLED, {"files": OUTPUTS}),
    ("openai", "a word nobody knows", batch(status="consolidating"), Phase.RUNNING, {"word": "consolidating"}),
    ("openai", "no word", batch(status=None), Phase.RUNNING, {"word": ""}),
    ("openai", "counts as texts, and one missing", batch(request_counts={"total": "100", "completed": "7.0", "failed": 2.0}), Phase.COMPLETED, {"total": 100, "done": None, "failed": 2}),
    ("openai", "a time in words", batch(created_at="2024-08-20T18:37:24Z"), Phase.COMPLETED, {"created_at": 1724179044.0}),
    ("openai", "errors that are a text", batch(status="failed", errors="file is empty"), Phase.FAILED, {"problems": ("file is empty",)}),
    ("azure", "queue full", batch(status="failed", errors={"object": "list", "data": [AZURE_LIMIT]}), Phase.FAILED, {"lacks_room": True}),
    # MicrosoftDocs/azure-ai-docs, includes/batch/batch-rest.md
    ("azure", "just ordered", batch(status="Validating", created_at="2024-07-19T17:13:57.2491382+00:00", metadata=None, output_file_id=None, error_file_id=None, request_counts={"total": None, "completed": None, "failed": None}), Phase.WAITING, {"created_at": 1721409237.249138, "total": None, "done": None}),
    ("azure", "empty ids of files", batch(output_file_id="", error_file_id=""), Phase.COMPLETED, {"files": ()}),
    ("groq", "in progress", batch(status="in_progress", request_counts={"total": 3, "completed": 1, "failed": 0}), Phase.RUNNING, {"total": 3, "done": 1}),
    # docs.siliconflow.cn api-reference/batch/create-batch
    ("siliconflow", "in the queue", batch(status="in_queue", request_counts=None, errors=None), Phase.WAITING, {"total": None, "done": None}),
    ("siliconflow", "errors as texts", batch(status="failed", errors=["line 3: no messages"]), Phase.FAILED, {"problems": ("line 3: no messages",)}),
    ("alibaba", "completed", batch(metadata={"ds_name": "run=r1", "ds_description": "run=r1"}), Phase.COMPLETED, {"total": 100}),
    ("moonshot", "in progress", batch(status="in_progress"), Phase.RUNNING, {}),
    ("deepinfra", "validating", batch(status="validating"), Phase.WAITING, {}),
    ("together", "seen", together(), Phase.RUNNING, {"progress": 0.75, "total": None, "created_at": 1705329000.0, "files": ()}),
    ("together", "ordered", {"job": together(status="VALIDATING", progress=0), "warning": "slow"}, Phase.WAITING, {"id": "01234567-8901-2345-6789-012345678901", "progress": 0.0}),
    ("together", "completed", together(status="COMPLETED", progress=100, output_file_id="file-o", error_file_id="file-e"), Phase.COMPLETED, {"files": ("file-o", "file-e"), "progress": 1.0}),
    ("together", "failed", together(status="FAILED", error="model is not available for batch"), Phase.FAILED, {"problems": ("model is not available for batch",)}),
    ("together", "being cancelled", together(status="CANCELING", progress="much"), Phase.CANCELLING, {"progress": None}),
    ("mistral", "running", mistral(), Phase.RUNNING, {"total": 3, "done": 2, "failed": 1, "labels": {"run": "r1", "shard": "4"}}),
    ("mistral", "success", mistral(status="SUCCESS", output_file="f-o", error_file="f-e"), Phase.COMPLETED, {"files": ("f-o", "f-e"), "inline": None}),
    ("mistral", "results inline", mistral(status="SUCCESS", outputs=[{"custom_id": "a"}]), Phase.COMPLETED, {"inline": ({"custom_id": "a"},)}),
    ("mistral", "time is over", mistral(status="TIMEOUT_EXCEEDED"), Phase.EXPIRED, {}),
    ("mistral", "being cancelled", mistral(status="CANCELLATION_REQUESTED"), Phase.CANCELLING, {}),
    ("mistral", "cancelled", mistral(status="CANCELLED"), Phase.CANCELLED, {}),
    ("mistral", "failed", mistral(status="FAILED", errors=[{"message": "invalid line", "count": 12}, {"message": "no body"}]), Phase.FAILED, {"problems": ("invalid line (12 times)", "no body")}),
    ("openrouter", "ordered", openrouter(), Phase.WAITING, {"total": 1, "inline": None, "files": ()}),
    ("openrouter", "completed", openrouter(status="completed", results=[{"custom_id": "a"}, 3]), Phase.COMPLETED, {"inline": ({"custom_id": "a"},)}),
    ("openrouter", "failed", openrouter(status="failed", error={"message": "no endpoints"}), Phase.FAILED, {"problems": ("no endpoints",), "inline": None}),
    ("anthropic", "in progress", messages((100, 0, 0, 0, 0), processing_status="in_progress", results_url=None), Phase.RUNNING, {"total": 100, "done": None, "files": ()}),
    ("anthropic", "ended", messages((0, 95, 5, 0, 0)), Phase.COMPLETED, {"total": 100, "done": 100, "failed": 5, "files": (RESULTS,), "created_at": 1724179044.100435}),
    ("anthropic", "ended, some too late", messages((0, 50, 30, 0, 20)), Phase.EXPIRED, {"done": 80}),
    ("anthropic", "ended, some cancelled", messages((0, 50, 30, 10, 10), cancel_initiated_at="2024-08-20T18:37:24Z"), Phase.CANCELLED, {"done": 80}),
    ("anthropic", "cancelled too late", messages((0, 100, 0, 0, 0), cancel_initiated_at="2024-08-20T18:37:24Z"), Phase.COMPLETED, {}),
    ("anthropic", "being cancelled", messages((9, 0, 0, 0, 0), processing_status="canceling"), Phase.CANCELLING, {}),
    ("anthropic", "archived", messages(archived_at="2024-09-20T18:37:24Z"), Phase.COMPLETED, {"files": (), "problems": ("its results are not kept any more",)}),
    ("anthropic", "no counts", messages(request_counts=None), Phase.COMPLETED, {"total": None, "done": None}),
]  # fmt: skip


def answer(body=COMPLETION, status=200, **more):
    """platform.openai.com docs/api-reference/batch/request-output."""
    response = {"status_code": status, "request_id": "req_c187b3", "body": body}
    return {"id": "batch_req_wnaDys", "custom_id": "r-1", "response": response, "error": None, **more}


def error(code, message, **more):
    return {"error": {"code": code, "message": message, **more}}


def unanswered(code, message="", **more):
    return {"id": "batch_req_123", "custom_id": "r-1", "response": None, "error": {"code": code, "message": message, **more}}  # fmt: skip


def said(kind, **more):
    return {"custom_id": "r-1", "result": {"type": kind, **more}}


def refused(type_, message="x"):
    body = {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_9"}
    return said("errored", error=body)


# (dialect, what, the line, its status, what the live path makes of it: "ok", None for a line that was never
# asked, or the error_class)
RESULTS = [
    ("openai", "an answer", answer(), 200, "ok"),
    ("openai", "a refusal of the request", answer(error("context_length_exceeded", "too long", type="invalid_request_error"), 400), 400, "context_length"),
    ("openai", "a limit", answer(error("rate_limit_exceeded", "slow", type="requests"), 429), 429, "rate_limit"),
    ("openai", "expired", unanswered("batch_expired", "This request could not be executed before the completion window expired."), None, None),
    ("openai", "cancelled", unanswered("batch_cancelled"), None, None),
    ("openai", "the call timed out", unanswered("request_timeout", "timed out"), 504, "server"),
    ("openai", "an error nobody knows", unanswered("mystery", "?"), 500, "server"),
    ("openai", "neither", {"custom_id": "r-1", "response": None, "error": None}, 500, "server"),
    ("openai", "a body that is JSON in a text", answer('{"error": {"message": "bad", "type": "invalid_request_error"}}', 400), 400, "bad_request"),
    ("openai", "a body that is a text", answer("Bad Gateway", 502), 502, "server"),
    ("openai", "an answer without a body", answer(None), 200, "server"),
    ("openai", "a status as a text", answer(status="200"), 200, "ok"),
    ("openai", "vLLM's text beside a response without a body", {"id": "vllm-1", "custom_id": "r-1", "response": {"status_code": 400, "request_id": "vllm-batch-1", "body": None}, "error": "This model's maximum context length is 4096 tokens."}, 400, "context_length"),
    ("openai", "vLLM's error beside a response without a body", {"id": "vllm-1", "custom_id": "r-1", "response": {"status_code": 404, "request_id": "vllm-batch-1"}, "error": {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}}, 404, "not_found"),
    ("openai", "an error as a text", {"custom_id": "r-1", "error": "model is busy"}, 500, "server"),
    ("openai", "an answer without a status", {"custom_id": "r-1", "response": {"body": COMPLETION}}, 200, "ok"),
    ("openai", "an error without a status", {"custom_id": "r-1", "response": {"body": {"error": {"type": "invalid_request_error", "message": "n"}}}}, 400, "bad_request"),
    ("openai", "a foreign line", {"hello": "world"}, 500, "server"),
    ("azure", "filtered", answer({"error": {"code": "content_filter", "message": "The response was filtered", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, 400), 400, "content_filter"),
    ("groq", "an answer", answer({**COMPLETION, "x_groq": {"id": "req_1"}}), 200, "ok"),
    ("alibaba", "an answer", {**answer(), "error": {"code": None, "message": None}}, 200, "ok"),
    ("siliconflow", "an answer", answer(), 200, "ok"),
    ("moonshot", "an answer", answer(), 200, "ok"),
    ("deepinfra", "an answer", answer(), 200, "ok"),
    ("together", "an error with a status", {"custom_id": "r-1", "error": {"message": "bad model", "code": 422}}, 422, "bad_request"),
    ("together", "an answer", answer(), 200, "ok"),
    # docs.mistral.ai inference/batch-processing
    ("mistral", "an answer", {"id": "batch-cd0da3ab-1", "custom_id": "r-1", "response": {"status_code": 200, "body": COMPLETION}, "error": None}, 200, "ok"),
    ("mistral", "a validation error", answer({"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "extra"}]}, "type": "invalid_request_error"}, 422), 422, "bad_request"),
    ("openrouter", "an answer", answer({**COMPLETION, "usage": {**COMPLETION["usage"], "cost": 0.0001}}), 200, "ok"),
    ("openrouter", "an error", {"id": "batch_req_1", "custom_id": "r-1", "response": None, "error": {"message": "invalid", "type": "invalid_request_error", "param": None}}, 400, "bad_request"),
    ("anthropic", "an answer", said("succeeded", message=MESSAGE), 200, "ok"),
    ("anthropic", "invalid", refused("invalid_request_error"), 400, "bad_request"),
    ("anthropic", "key", refused("authentication_error"), 401, "auth"),
    ("anthropic", "billing", refused("billing_error"), 402, "quota"),
    ("anthropic", "permission", refused("permission_error"), 403, "forbidden"),
    ("anthropic", "not found", refused("not_found_error"), 404, "not_found"),
    ("anthropic", "too large", refused("request_too_large"), 413, "too_large"),
    ("anthropic", "limit", refused("rate_limit_error"), 429, "rate_limit"),
    ("anthropic", "inside", refused("api_error"), 500, "server"),
    ("anthropic", "late", refused("timeout_error"), 504, "server"),
    ("anthropic", "overloaded", refused("overloaded_error"), 529, "overloaded"),
    ("anthropic", "an error nobody knows", refused("mystery_error"), 500, "server"),
    ("anthropic", "expired", said("expired"), None, None),
    ("anthropic", "cancelled", said("canceled"), None, None),
    ("anthropic", "another type", said("postponed"), 500, "server"),
    ("anthropic", "no message", said("succeeded", message=None), 200, "invalid_response"),
]  # fmt: skip

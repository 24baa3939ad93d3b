"""Errors that come under 200, or inside another error; and bodies that are no answer at all.

Sources: ModelsLab's error page (`status`, `message` or `messege`); LM Studio (lmstudio-bug-tracker 618);
OpenRouter's `metadata.raw` (reVrost/go-openrouter 21, diegosouzapw/OmniRoute 3044, open-webui/computer 293).
"""

from __future__ import annotations

import json
from typing import Any

from batchlab.endpoints.simulator.faults.drafts import Change, FaultKind, answer
from batchlab.endpoints.simulator.faults.statuses import page

_UPSTREAM = {
    "error": {
        "message": "Model supports at most 1 image per prompt.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "invalid_image_count",
    }
}
_UPSTREAM_CONTEXT = {
    "error": {
        "message": "Input tokens exceed the configured limit of 272000 tokens",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
}


def completion(**changes: Any) -> dict[str, Any]:
    """A small chat completion, with `changes`."""
    message = {"role": "assistant", "content": "An answer.", **changes.pop("message", {})}
    return {
        "id": "sim-fault",
        "object": "chat.completion",
        "model": "sim",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    } | changes


def without(value: dict[str, Any], name: str) -> dict[str, Any]:
    """A value without one of its members."""
    return {key: one for key, one in value.items() if key != name}


def _raw(status: int, raw: Any, code: int) -> Change:
    """What OpenRouter says when the host behind it failed."""
    metadata = {"raw": raw, "provider_name": "SomeHost", "is_byok": False}
    return answer(
        status,
        {
            "error": {"message": "Provider returned error", "code": code, "metadata": metadata},
            "user_id": "user_0",
        },
    )


ENVELOPES: dict[str, FaultKind] = {
    "queue_full": FaultKind(
        "200, the queue of the account is full (ModelsLab)",
        answer(200, {"status": "error", "messege": "You have reached the limit of queued requests."}),
    ),
    "status_error": FaultKind(
        "200, the server's own trouble (ModelsLab)",
        answer(200, {"status": "error", "messege": "Something went wrong, try again."}),
    ),
    "envelope_invalid": FaultKind(
        "200, the request is invalid (ModelsLab)",
        answer(200, {"status": "error", "message": "The messages field is invalid."}),
    ),
    "envelope_fields": FaultKind(
        "200, the request is invalid, field by field (ModelsLab)",
        answer(200, {"status": "error", "message": {"messages": ["The messages field is required."]}}),
    ),
    "envelope_invalid_type": FaultKind(
        "200, the error's type says that the request is invalid",
        answer(200, {"error": {"type": "invalid_request_error", "message": "Unsupported value."}}),
    ),
    "error_object": FaultKind(
        "200, the host behind it failed (OpenRouter)",
        answer(200, {"error": {"message": "upstream failed", "code": 502}}),
    ),
    "wrong_endpoint": FaultKind(
        "200, no such path (LM Studio)",
        answer(200, lambda asked: {"error": f"Unexpected endpoint or method. (POST {asked.path})"}),
    ),
    "html": FaultKind("200 with a web page", page(200, "Maintenance")),
    "raw_text": FaultKind(
        "429, metadata.raw is text (OpenRouter)",
        _raw(429, "m is temporarily rate-limited upstream. Please retry shortly.", 429),
    ),
    "raw_json": FaultKind(
        "400, metadata.raw is JSON in a string (OpenRouter)", _raw(400, json.dumps(_UPSTREAM), 400)
    ),
    "raw_context": FaultKind(
        "400, metadata.raw says that the prompt is too long (OpenRouter)",
        _raw(400, json.dumps(_UPSTREAM_CONTEXT, indent=2), 400),
    ),
    "raw_nested": FaultKind(
        "400, metadata.raw holds an error whose message is JSON again (OpenRouter behind a gateway)",
        _raw(400, json.dumps({"error": {"message": json.dumps(_UPSTREAM_CONTEXT), "code": 400}}), 400),
    ),
    "raw_object": FaultKind("400, metadata.raw is an object (OpenRouter)", _raw(400, _UPSTREAM, 400)),
    "raw_in_200": FaultKind("the same under 200 (OpenRouter)", _raw(200, json.dumps(_UPSTREAM), 400)),
    "empty_body": FaultKind("200 without a body", answer(200, b"")),
    "null": FaultKind("200 with null", answer(200, b"null")),
    "no_choices": FaultKind("200 without choices", answer(200, {"id": "x", "object": "chat.completion"})),
    "empty_choices": FaultKind(
        "200 with no choice, not charged", answer(200, without(completion(choices=[]), "usage"))
    ),
    "no_choices_billed": FaultKind(
        "200 without choices, with usage, charged",
        answer(200, without(completion(), "choices"), usage=(5, 3)),
    ),
    "empty_choices_billed": FaultKind(
        "200 with no choice and usage, charged", answer(200, completion(choices=[]), usage=(5, 3))
    ),
    "null_choices_billed": FaultKind(
        "200 with null for choices and usage, charged", answer(200, completion(choices=None), usage=(5, 3))
    ),
    "deep_json": FaultKind("200, JSON of 100,000 levels", answer(200, b"[" * 100_000)),
    "nan": FaultKind("200, NaN for choices", answer(200, b'{"choices": NaN}')),
}

"""HTTP statuses as services send them: errors, pages of proxies, models that are being loaded.

Sources: OpenAI, Groq and Anthropic error pages; Cloudflare's 52x; llama.cpp server ("Loading model");
Hugging Face inference (`estimated_time`); Azure Machine Learning (424 of a failed dependency).
"""

from __future__ import annotations

from batchlab.endpoints.simulator.faults.drafts import Change, FaultKind, answer, error

FAR_S = 1_209_600  # two weeks


def page(status: int, title: str) -> Change:
    """A web page of a proxy or a firewall."""
    body = f"<!doctype html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return answer(status, body.encode(), content_type="text/html")


STATUSES: dict[str, FaultKind] = {
    "http_400": FaultKind(
        "400, a parameter's value (OpenAI)",
        error(400, "Invalid value for 'temperature'.", "invalid_request_error", "invalid_value"),
    ),
    "http_401": FaultKind(
        "401, the key is wrong (OpenAI)",
        error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    ),
    "http_402": FaultKind(
        "402 (DeepSeek, OpenRouter)", error(402, "Payment required.", "billing_error", None)
    ),
    "http_403": FaultKind(
        "403, the key may not use the model (OpenAI)",
        error(
            403,
            "Project does not have access to the model.",
            "invalid_request_error",
            "model_not_found",
        ),
    ),
    "http_403_html": FaultKind("403 page of a firewall", page(403, "Access denied")),
    "http_404": FaultKind(
        "404, no such model (OpenAI)",
        error(404, "The model does not exist.", "invalid_request_error", "model_not_found"),
    ),
    "http_408": FaultKind("408", error(408, "Request timeout.", "timeout", None)),
    "http_409": FaultKind("409", error(409, "Conflict.", "conflict", None)),
    "http_413": FaultKind("413", error(413, "Request too large.", "invalid_request_error", None)),
    "http_204": FaultKind("204 without a body", answer(204, b"", content_type=None)),
    "redirect": FaultKind(
        "307 to elsewhere", answer(307, b"", headers={"Location": "http://127.0.0.1:9/elsewhere"})
    ),
    "http_500": FaultKind("500 (OpenAI)", error(500, "The server had an error.", "server_error", None)),
    "http_500_far": FaultKind(
        "500 that asks to come back in two weeks",
        error(500, "Down for maintenance.", "server_error", None, headers={"Retry-After": str(FAR_S)}),
    ),
    "http_502_html": FaultKind("502 page of a proxy", page(502, "Bad Gateway")),
    "http_503": FaultKind("503", error(503, "Service unavailable.", "server_error", None)),
    "overloaded": FaultKind(
        "503, overloaded (OpenAI)",
        error(503, "The engine is currently overloaded.", "server_error", "overloaded"),
    ),
    "http_504_html": FaultKind("504 page of a proxy", page(504, "Gateway Timeout")),
    "http_520_html": FaultKind(
        "520 page (Cloudflare)", page(520, "Web server is returning an unknown error")
    ),
    "http_524_html": FaultKind("524 page (Cloudflare)", page(524, "A timeout occurred")),
    "http_529": FaultKind("529 (Anthropic)", error(529, "Overloaded.", "overloaded_error", None)),
    "capacity_498": FaultKind(
        "498, no room on the flex tier (Groq)",
        error(498, "Flex tier capacity exceeded.", "capacity_exceeded", "capacity_exceeded"),
    ),
    "loading_404": FaultKind(
        "404 while the model is loaded",
        error(404, "The model is still loading, try again in 1s.", "not_found_error", "model_loading"),
    ),
    "loading_421": FaultKind(
        "421 while the model is loaded",
        answer(421, {"error": "Model is loading on this node. Please try again in 1 seconds."}),
    ),
    "loading_423": FaultKind(
        "423 while the model is loaded",
        answer(
            423,
            {"error": {"message": "Model is locked: loading weights", "code": 423}},
            headers={"Retry-After": "1"},
        ),
    ),
    "loading_424": FaultKind(
        "424 while the model is loaded (Azure Machine Learning)",
        answer(424, {"detail": "Failed Dependency: the model is loading, try again in 1 second"}),
    ),
    "loading_503": FaultKind(
        "503 with estimated_time (Hugging Face)",
        answer(
            503, lambda asked: {"error": f"Model {asked.model} is currently loading", "estimated_time": 1.0}
        ),
    ),
    "loading_503_llama": FaultKind(
        "503 while the model is loaded (llama.cpp)", error(503, "Loading model", "unavailable_error", 503)
    ),
}

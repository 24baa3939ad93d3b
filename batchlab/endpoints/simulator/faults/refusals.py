"""Requests that a service refuses: too long, not wanted, or with a parameter it does not know.

Sources of the wordings: vLLM (Gabesarch/grounded-rl 16, THUDM/LongBench 104), SGLang (QwenLM/Qwen3 1321,
sgl-project/sglang 4048), TGI, llama.cpp (ggml-org/llama.cpp 15780), Anthropic, Google, xAI
(UKGovernmentBEIS/inspect_ai 2267), DashScope (QwenLM/qwen-code 98 and 3145, camel-ai/owl 432), Moonshot
(MoonshotAI/kimi-cli 2011), Groq, DeepSeek (FoundationAgents/OpenManus 62), Zhipu (langchain4j 1079),
Azure, OpenRouter's errors page; `stream_options`: QuantumNous/new-api 418, microsoft/semantic-kernel
10510, nomtek/mistralai_client_dart 44.
"""

from __future__ import annotations

from typing import Any

from batchlab.endpoints.simulator.faults.drafts import Asked, Change, FaultKind, answer, error

_INVALID = "invalid_request_error"


def _flat(message: str, code: int = 400) -> Change:
    """The flat error of vLLM and SGLang."""
    said = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": code}
    return answer(code, said)


def _context(message: str, type_: str | None = _INVALID, code: Any = None, **more: Any) -> Change:
    return error(400, message, type_, code, **more)


CONTEXT: dict[str, tuple[str, Change]] = {
    "context_length": (
        "OpenAI",
        _context("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
    ),
    "context_openai_input": (
        "OpenAI, newer models",
        _context(
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 310244 "
            "tokens. "
            "Please reduce the length of the messages.",
            code="context_length_exceeded",
        ),
    ),
    "context_vllm": (
        "vLLM",
        _flat(
            "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens "
            "(112946 in "
            "the messages, 10000 in the completion). Please reduce the length of the messages or completion."
        ),
    ),
    "context_vllm_decoder": (
        "vLLM, engine V1",
        _flat(
            "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make "
            "sure that "
            "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens."
        ),
    ),
    "context_vllm_only": (
        "vLLM, nested",
        _context(
            "You passed 40961 input tokens and requested 1 output tokens. However, the model's context "
            "length is "
            "only 40960 tokens, resulting in a maximum input length of 40959 tokens.",
            "BadRequestError",
            400,
        ),
    ),
    "context_sglang": (
        "SGLang",
        _flat("The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
    ),
    "context_sglang_allowed": (
        "SGLang, by memory",
        _flat("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."),
    ),
    "context_tgi": (
        "TGI",
        answer(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
                "Given: 5021 "
                "`inputs` tokens and 512 `max_new_tokens`",
                "error_type": "validation",
            },
        ),
    ),
    "context_llama_cpp": (
        "llama.cpp",
        _context(
            "the request exceeds the available context size. try increasing the context size or enable "
            "context shift",
            "exceed_context_size_error",
            400,
            n_prompt_tokens=14_429,
            n_ctx=8_192,
        ),
    ),
    "context_anthropic": (
        "Anthropic",
        answer(
            400,
            {
                "type": "error",
                "error": {"type": _INVALID, "message": "prompt is too long: 214336 tokens > 200000 maximum"},
            },
        ),
    ),
    "context_gemini": (
        "Google",
        answer(
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (1091639) exceeds the maximum number of tokens "
                        "allowed "
                        "(1048576).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ],
        ),
    ),
    "context_xai": (
        "xAI",
        answer(
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 131072 but the request contains 537812 "
                "tokens.",
            },
        ),
    ),
    "context_dashscope": (
        "DashScope",
        _context(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
            code="invalid_parameter_error",
        ),
    ),
    "context_moonshot": (
        "Moonshot",
        answer(
            400,
            {
                "error": {
                    "message": "Invalid request: Your request exceeded model token limit: 262144 "
                    "(requested: 269030)",
                    "type": _INVALID,
                }
            },
        ),
    ),
    "context_groq": (
        "Groq",
        _context("Please reduce the length of the messages or completion.", code="context_length_exceeded"),
    ),
    "context_deepseek": (
        "DeepSeek",
        _context(
            "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens "
            "(122942 in "
            "the messages, 8192 in the completion). Please reduce the length of the messages or completion.",
            code=_INVALID,
        ),
    ),
}

CONTENT: dict[str, tuple[str, Change]] = {
    "content_filter": (
        "as Azure, in short",
        _context("The prompt was filtered by the content management policy.", code="content_filter"),
    ),
    "filter_azure": (
        "Azure",
        error(
            400,
            "The response was filtered due to the prompt triggering the content management policy.",
            None,
            "content_filter",
            param="prompt",
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {
                    "hate": {"filtered": False, "severity": "safe"},
                    "violence": {"filtered": True, "severity": "medium"},
                },
            },
        ),
    ),
    "filter_azure_inner": (
        "Azure, only the inner error tells",
        error(
            400,
            "Invalid request.",
            None,
            None,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
            },
        ),
    ),
    "filter_deepseek": ("DeepSeek", _context("Content Exists Risk", code=_INVALID)),
    "filter_dashscope": (
        "DashScope",
        _context(
            "Input data may contain inappropriate content.",
            "data_inspection_failed",
            "data_inspection_failed",
        ),
    ),
    "filter_dashscope_algo": (
        "DashScope, the longer code",
        _context(
            "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate "
            "content.",
            "data_inspection_failed",
            "DataInspectionFailed",
        ),
    ),
    "filter_zhipu": (
        "Zhipu",
        answer(
            400,
            {
                "contentFilter": [{"level": 1, "role": "user"}],
                "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
            },
        ),
    ),
    "filter_openai": (
        "OpenAI",
        _context(
            "Your request was rejected as a result of our safety system.",
            code="content_policy_violation",
        ),
    ),
    "filter_xai": (
        "xAI, 403",
        answer(
            403,
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Team: 00000000, API key ID: 00000000, "
                "Model: grok-4, "
                "Failed check: SAFETY_CHECK_TYPE_BIO",
            },
        ),
    ),
    "filter_openrouter": (
        "OpenRouter, 403 with what was flagged",
        answer(
            403,
            lambda asked: {
                "error": {
                    "code": 403,
                    "message": "Your chosen model requires moderation and your input was flagged",
                    "metadata": {
                        "reasons": ["violence"],
                        "flagged_input": asked.prompt[:100],
                        "provider_name": "SomeHost",
                        "model_slug": asked.model,
                    },
                }
            },
        ),
    ),
    "filter_403_code": (
        "403, only the code tells",
        error(403, "Request blocked.", "permission_error", "content_policy_violation"),
    ),
}


def _quotes(asked: Asked) -> dict[str, Any]:
    message = f"Invalid value for 'messages[0].content': \"{asked.prompt}\" cannot be tokenized."
    return {"error": {"message": message, "type": _INVALID, "param": "messages", "code": "invalid_value"}}


_EXTRA = {
    "type": "extra_forbidden",
    "loc": ["body", "stream_options"],
    "msg": "Extra inputs are not permitted",
    "input": {"include_usage": True},
}
NO_STREAM_OPTIONS: dict[str, tuple[str, Change]] = {
    "extra": ("pydantic, 422", answer(422, {"detail": [_EXTRA]})),
    "wrapped": (
        "Mistral, 422",
        answer(
            422,
            {
                "object": "error",
                "message": {"detail": [_EXTRA]},
                "type": _INVALID,
                "param": None,
                "code": None,
            },
        ),
    ),
    "argument": (
        "OpenAI of old",
        _context("Unrecognized request argument supplied: stream_options"),
    ),
    "unknown": (
        "OpenAI",
        _context("Unknown parameter: 'stream_options'.", code="unknown_parameter", param="stream_options"),
    ),
    "pointer": (
        "Azure",
        answer(
            400,
            {
                "error": {
                    "code": "BadRequest",
                    "message": "Validation error at #/stream_options: Extra inputs are not permitted",
                }
            },
        ),
    ),
    "property": ("Groq", _context("property 'stream_options' is unsupported")),
    "param": (
        "only the field tells",
        _context("Invalid parameter.", code="invalid_value", param="stream_options"),
    ),
}

REFUSALS: dict[str, FaultKind] = {
    **{name: FaultKind(f"the prompt is too long ({by})", change) for name, (by, change) in CONTEXT.items()},
    **{
        name: FaultKind(f"the content is not wanted ({by})", change) for name, (by, change) in CONTENT.items()
    },
    "quotes_prompt": FaultKind("400 that quotes the whole prompt, whatever it says", answer(400, _quotes)),
    "tier_unsupported": FaultKind(
        "400, the model has no such tier (openai/codex 15099)",
        error(400, "Unsupported service_tier: flex", _INVALID, "unsupported_value", param="service_tier"),
        needs="service_tier",
    ),
    **{
        f"stream_options_{name}": FaultKind(
            f"`stream_options` is unknown ({by})", change, needs="stream_options"
        )
        for name, (by, change) in NO_STREAM_OPTIONS.items()
    },
}

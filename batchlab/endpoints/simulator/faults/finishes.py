"""The word that says why an answer ended, in the languages of many services.

Sources: OpenAI, Azure, Google (`FinishReason`), Anthropic (`stop_reason`), Mistral, Zhipu and Z.ai
(`sensitive`, `network_error`), DeepSeek (`insufficient_system_resource`), TGI (`eos_token`),
vLLM and SGLang (`abort`), Bedrock gateways, OpenRouter (`error`), Cohere.
"""

from __future__ import annotations

from batchlab.endpoints.simulator.faults.drafts import FaultKind, finished_with

CUT_OFF = ("length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")
WITHHELD = (
    "content_filter",
    "SAFETY",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "sensitive",
    "content_filtered",
    "guardrail",
    "refusal",
)
TROUBLE = (
    "error",
    "abort",
    "aborted",
    "network_error",
    "insufficient_system_resource",
    "cancelled",
    "unknown_error",
)
WHOLE = (
    "stop",
    "end_turn",
    "STOP",
    "eos",
    "eos_token",
    "stop_sequence",
    "tool_calls",
    "function_call",
    "tool_use",
)
UNHEARD = ("COMPLETE", "pause_turn", "repetition_truncation", "because")
FAMILIES = {
    "cut off": CUT_OFF,
    "withheld": WITHHELD,
    "the server's trouble": TROUBLE,
    "whole": WHOLE,
    "a word few know": UNHEARD,
}

FINISHES: dict[str, FaultKind] = {
    **{
        f"finish_{word}": FaultKind(f"finish_reason {word} ({family})", finished_with(word))
        for family, words in FAMILIES.items()
        for word in words
    },
    "finish_null": FaultKind("finish_reason null to the end, then [DONE]", finished_with(None)),
}

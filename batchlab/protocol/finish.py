"""What a finish reason means, whichever service's word it is.

One positive sign is not enough: a stream may end with `[DONE]` and the word that its server broke off.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Meaning: TypeAlias = Literal["ok", "truncated", "filtered", "broken", "unknown"]

# word in lower case → the services that say it, by what it means
FINISH_WORDS: dict[Meaning, dict[str, str]] = {
    "ok": {
        "stop": "OpenAI, and nearly all; STOP: Gemini",
        "tool_calls": "OpenAI",
        "function_call": "OpenAI, before tools",
        "end_turn": "Anthropic",
        "stop_sequence": "Anthropic",
        "tool_use": "Anthropic",
        "pause_turn": "Anthropic",
        "complete": "Cohere",
        "tool_call": "Cohere",
        "eos": "Together",
        "eos_token": "TGI",
    },
    "truncated": {
        "length": "OpenAI, and nearly all",
        "max_tokens": "Anthropic; Cohere and Gemini as MAX_TOKENS",
        "model_length": "Mistral",
        "model_context_window_exceeded": "Anthropic, Zhipu",
        "max_output_tokens": "OpenAI's Responses behind gateways",
        "token_limit": "watsonx",
        "time_limit": "watsonx",
    },
    "filtered": {
        "content_filter": "OpenAI, Azure, DeepSeek",
        "content_filtered": "Bedrock",
        "guardrail_intervened": "Bedrock",
        "guardrail": "gateways before Bedrock",
        "refusal": "Anthropic",
        "sensitive": "Zhipu",
        "safety": "Gemini",
        "recitation": "Gemini",
        "language": "Gemini",
        "blocklist": "Gemini",
        "prohibited_content": "Gemini",
        "spii": "Gemini",
        "image_safety": "Gemini",
        "error_toxic": "Cohere",
    },
    "broken": {
        "error": "OpenRouter, Mistral, Cohere",
        "abort": "vLLM, SGLang",
        "aborted": "gateways",
        "cancelled": "gateways",
        "network_error": "Zhipu",
        "insufficient_system_resource": "DeepSeek",
        "unknown_error": "gateways",
        "timeout": "Cohere",
    },
}
_MEANINGS: dict[str, Meaning] = {word: meaning for meaning, words in FINISH_WORDS.items() for word in words}


def finish_meaning(finish_reason: str | None) -> Meaning:
    """What is made of an answer that ended so; `ok` when its server gave no reason.

    A word that is in no table is `unknown`: its answer is kept as ok, and people are told the word.
    """
    if finish_reason is None:
        return "ok"
    known = _MEANINGS.get(finish_reason)  # nearly all are in lower case
    word = finish_reason.strip().lower().replace("-", "_")  # gateways in TypeScript write content-filter
    return known or _MEANINGS.get(word, "unknown" if word else "ok")


def unknown_finish(finish_reason: str | None) -> str | None:
    """The word itself, when nobody has told us what it means."""
    return finish_reason if finish_meaning(finish_reason) == "unknown" else None

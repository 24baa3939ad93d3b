"""What a finish reason means, word by word."""

from __future__ import annotations

import pytest

from batchlab.protocol.finish import FINISH_WORDS, finish_meaning, unknown_finish

# word as it came → meaning; OpenAI, Anthropic, Gemini, Cohere, TGI, Together, Mistral, Bedrock, Zhipu,
# DeepSeek, OpenRouter, vLLM and SGLang, by their references and servers' sources
WORDS = {
    "ok": "stop STOP end_turn eos eos_token stop_sequence STOP_SEQUENCE tool_calls function_call tool_use "
    "pause_turn COMPLETE complete TOOL_CALL",
    "truncated": "length max_tokens MAX_TOKENS model_length model_context_window_exceeded max_output_tokens "
    "token_limit time_limit",
    "filtered": "content_filter CONTENT_FILTER SAFETY RECITATION PROHIBITED_CONTENT BLOCKLIST SPII LANGUAGE "
    "content-filter IMAGE_SAFETY sensitive content_filtered guardrail guardrail_intervened refusal ERROR_TOXIC",
    "broken": "error ERROR abort aborted network_error insufficient_system_resource cancelled unknown_error "
    "TIMEOUT",
    "unknown": "OTHER MALFORMED_FUNCTION_CALL load FINISH_REASON_UNSPECIFIED repetition recitations xstop",
}


@pytest.mark.parametrize(("meaning", "words"), WORDS.items())
def test_each_service_s_word_means_what_it_means_there(meaning, words):
    assert {word: finish_meaning(word) for word in words.split()} == dict.fromkeys(words.split(), meaning)


def test_no_word_has_two_meanings_and_each_has_someone_who_says_it():
    every = [word for words in FINISH_WORDS.values() for word in words]

    assert len(every) == len(set(every))
    assert all(said_by for words in FINISH_WORDS.values() for said_by in words.values())
    assert every == [word.lower() for word in every]
    assert {word for words in WORDS.values() for word in words.lower().split()} >= set(every)


@pytest.mark.parametrize("word", [None, "", " "])
def test_an_answer_without_a_word_is_ok(word):
    assert finish_meaning(word) == "ok"
    assert unknown_finish(word) is None


def test_a_word_that_nobody_has_told_us_of_is_named():
    assert unknown_finish(" Hamburger ") == " Hamburger "
    assert unknown_finish("stop") is None
    assert unknown_finish(" STOP\n") is None
    assert unknown_finish("error") is None

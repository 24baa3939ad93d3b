"""Parameters of requests, as services in use call them, and which of them a word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

NEAR = 0.8  # of a word to a parameter's name, as difflib has it: above, it is that name misspelt

# of OpenAI, its like and the servers of open models; none is one of our settings misspelt
KNOWN_PARAMETERS = frozenset(
    """
    best_of chat_template_kwargs dimensions echo enable_thinking encoding_format extra_body frequency_penalty
    guided_choice guided_json guided_regex ignore_eos include_reasoning input_type keep_alive length_penalty
    logit_bias logprobs max_completion_tokens max_new_tokens max_output_tokens max_tokens metadata min_p min_tokens
    mirostat modalities n num_ctx parallel_tool_calls plugins prediction presence_penalty priority
    prompt_cache_key prompt_logprobs provider random_seed reasoning reasoning_effort reasoning_format
    repetition_penalty response_format route safe_prompt safety_identifier search_parameters seed service_tier
    skip_special_tokens stop stop_token_ids store stream_options structured_outputs suffix temperature thinking
    tool_choice tools top_a top_k top_logprobs top_p transforms truncate truncate_prompt_tokens typical_p user
    verbosity web_search_options
""".split()
)


def misspelt_notes(names: Iterable[str]) -> list[str]:
    """What to say of parameters that are nearly a known one: they are sent, and may do nothing."""
    notes = []
    for name in names:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), KNOWN_PARAMETERS, 1, NEAR)
        if name not in KNOWN_PARAMETERS and close:
            notes.append(f"request parameter {name!r}: sent as it is; did you mean {close[0]!r}?")
    return notes

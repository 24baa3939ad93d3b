"""Parameters of requests: what services in use call them, which a word may have meant, and what they take."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from batchlab.finite import is_finite
from batchlab.job.endpoint import EndpointJob
from batchlab.job.presets import PRESETS, SAME_NUMBERS, Preset

SHOWN_CHARS = 40  # of a value
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
# what the simulator states for itself, and refuses as it does, are the numbers of the service that it stands
# for; the model that batchlab starts is served by llama.cpp
_STARTED = {"simulator": PRESETS["modelslab"], "local": PRESETS["llama.cpp"]}


def param_problems(
    params: Mapping[str, Any], endpoints: Sequence[EndpointJob], *, check: bool
) -> list[tuple[str, str]]:
    """Parameters that cannot be sent, and what is wrong with each.

    Args:
        endpoints: those that the request may go to.
        check: whether what services say of their parameters counts; what JSON cannot say is wrong anyway.
    """
    found = [
        (name, "is or holds NaN or Infinity, which JSON does not have")
        for name, value in params.items()
        if not is_finite(value)
    ]
    taken = {name for name, _ in found}
    for endpoint in endpoints if check else ():
        service = _STARTED.get(endpoint.host, endpoint.service)
        for name, problem in _unlike(params, service):
            if name not in taken:
                taken.add(name)
                found.append((name, f"{problem}; {{request.check_params=false}} sends it all the same"))
    return found


def _unlike(params: Mapping[str, Any], service: Preset) -> list[tuple[str, str]]:
    """Parameters that are not what a service says it takes."""
    found = []
    for name, value in params.items():
        span = service.takes.get(name) or service.takes.get(SAME_NUMBERS.get(name, ""))
        if span is not None and (problem := span.problem(value)) is not None:
            shown = repr(value)[:SHOWN_CHARS]
            who = f"{service.name} takes" if service.name else "services take"
            found.append((name, f"{shown} {problem}: {who} {span}"))
    stops = params.get("stop")
    if service.most_stops is not None and isinstance(stops, list) and len(stops) > service.most_stops:
        found.append(("stop", f"{len(stops)} sequences: {service.name} takes {service.most_stops}"))
    return found


def misspelt_notes(names: Iterable[str]) -> list[str]:
    """What to say of parameters that are nearly a known one: they are sent, and may do nothing."""
    notes = []
    for name in names:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), KNOWN_PARAMETERS, 1, NEAR)
        if name not in KNOWN_PARAMETERS and close:
            notes.append(f"request parameter {name!r}: sent as it is; did you mean {close[0]!r}?")
    return notes

"""The services people use: where each is, which variable holds its key, how it spells parameters.

One row a service; `batchlab check --list` prints the table. A service is recognised by its name
(`--preset groq`) or by the host of `base_url`. Facts are from the services' own documentation;
limits differ by account, so they are notes for a person: the rate controller finds the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Span:
    """Which numbers a parameter takes; None for no end.

    Attributes:
        above_low: `low` itself is not taken; `high` is.
    """

    low: float | None = None
    high: float | None = None
    whole: bool = False
    above_low: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value; None when nothing is, or there is none."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "is no number"
        if self.whole and not float(value).is_integer():
            return "is no whole number"
        below = self.low is not None and (value < self.low or (self.above_low and value == self.low))
        above = self.high is not None and value > self.high
        return "is out of range" if below or above else None

    def __str__(self) -> str:
        if self.above_low:
            return f"more than {self.low:g}" + (f", up to {self.high:g}" if self.high is not None else "")
        if self.low is None or self.high is None:
            return f"{self.low:g} or more" if self.low is not None else f"{self.high:g} or less"
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g}"


# What services take that say nothing else. Those that check (OpenAI, Azure, Mistral, Fireworks, xAI, vLLM) all
# refuse what is beyond; llama.cpp (tools/server/server-task.cpp) and Ollama (openai/openai.go) do not check,
# so that their presets have no numbers. 0 is a top_p to OpenAI and Mistral, and a max_tokens to OpenAI's
# completions and Mistral; -1 is no cap to llama.cpp, which is found at any address.
_ANYWHERE = {
    "temperature": Span(0),
    "top_p": Span(0, 1),
    "max_tokens": Span(-1, whole=True),
    "n": Span(1, whole=True),
}


@dataclass(frozen=True, slots=True)
class Preset:
    """One service.

    Attributes:
        base_url: None when every account has its own.
        key_env: variable that usually holds the key.
        host: the key's owner; the key is sent to this host and its subdomains only. None for a
            server of the user's own, whose key is optional.
        hosts: others of the same owner.
        renamed: request parameter as users write it, to the name this service takes.
        key_header: header that carries the key; `Authorization` carries it as a Bearer token.
        stream_usage: whether `stream_options.include_usage` is understood.
        free: a call costs nothing: it runs on the user's own machine.
        queues: it queues what it cannot serve yet and refuses nothing, so there is no limit to feel for.
        schema_mode: how it is best asked for answers that fit a schema: `json_schema` where a
            `response_format` of that type is enforced, else `json_object` or `prompt`.
        limits: what is known of its limits.
        takes: the numbers that parameters may be, by the name that users write: what its API reference or
            its source says, read in the place that stands beside each, and `_ANYWHERE` for the rest.
        most_stops: sequences that `stop` may list, where it says so.
        flex: the `service_tier` by which calls are answered later and for less (Groq: within larger limits);
            None where there is no such tier.
        reasons_beyond_cap: reasoning comes on top of the completion tokens that a cap holds down, and is
            billed; seen in usage whose total is prompt + completion + reasoning.
    """

    name: str
    base_url: str | None
    key_env: str
    host: str | None = None
    hosts: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    key_header: str = "Authorization"
    stream_usage: bool = True
    free: bool = False
    queues: bool = False
    schema_mode: str = "json_schema"
    limits: str = ""
    takes: Mapping[str, Span] = field(default_factory=lambda: _ANYWHERE)
    most_stops: int | None = None
    reasons_beyond_cap: bool = False
    flex: str | None = None

    def owns(self, hostname: str) -> bool:
        """Whether a host is one of the service's, or a subdomain of one."""
        owners = (self.host, *self.hosts) if self.host else ()
        return any(hostname == owner or hostname.endswith(f".{owner}") for owner in owners)


_COMPLETION_CAP = {"max_tokens": "max_completion_tokens"}
_PENALTIES = {"presence_penalty": Span(-2, 2), "frequency_penalty": Span(-2, 2)}
_SAMPLING = {**_ANYWHERE, "temperature": Span(0, 2), **_PENALTIES}
_SEVERAL = Span(1, 128, whole=True)  # choices
_TOP_20 = Span(0, 20, whole=True)  # log probabilities
_TOKENS = Span(1, whole=True)
_TOP_P_ABOVE_0 = Span(0, 1, above_low=True)
# openai openapi (2026-08), CreateChatCompletionRequest: temperature 0-2, top_p 0-1, penalties -2-2, n 1-128,
# top_logprobs 0-20, stop up to 4; CreateCompletionRequest: max_tokens 0 or more, best_of 0-20
_OPENAI = {
    **_SAMPLING,
    "max_tokens": Span(0, whole=True),
    "n": _SEVERAL,
    "top_logprobs": _TOP_20,
    "best_of": _TOP_20,
}
# parameters that services call otherwise
SAME_NUMBERS = {"max_completion_tokens": "max_tokens", "random_seed": "seed"}

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "modelslab",
            "https://modelslab.com/api/v7/llm",
            "MODELSLAB_API_KEY",
            host="modelslab.com",
            schema_mode="prompt",  # its API reference lists no response_format
            limits="5, 10 or 15 queued requests per account, by plan",
            # docs.modelslab.com/llm-api/chat-completions
            takes={**_SAMPLING, "max_tokens": _TOKENS},
        ),
        Preset(
            "openai",
            "https://api.openai.com/v1",
            "OPENAI_API_KEY",
            host="api.openai.com",
            renamed=_COMPLETION_CAP,  # reasoning models refuse max_tokens
            limits="requests and tokens a minute, by tier; stated in x-ratelimit headers",
            takes=_OPENAI,
            most_stops=4,
            flex="flex",  # platform.openai.com/docs/guides/flex-processing
        ),
        Preset(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            host="openrouter.ai",
            limits="20 requests a minute on :free models; by credits otherwise",
            # openrouter.ai/docs/api-reference/parameters: temperature 0-2, top_p 0-1, penalties -2-2, top_k 0 or
            # more, repetition_penalty 0-2, min_p and top_a 0-1, max_tokens 1 or more; openrouter openapi
            # (2026-08), ChatRequest: top_logprobs 0-20, stop up to 4
            takes={
                **_SAMPLING,
                "max_tokens": _TOKENS,
                "top_logprobs": _TOP_20,
                "top_k": Span(0, whole=True),
                "repetition_penalty": Span(0, 2),
                "min_p": Span(0, 1),
                "top_a": Span(0, 1),
            },
            most_stops=4,
        ),
        Preset(
            "together",
            "https://api.together.xyz/v1",
            "TOGETHER_API_KEY",
            host="together.xyz",
            limits="requests and tokens, by tier and model; stated in x-ratelimit headers",
            # together openapi (2026-04), ChatCompletionRequest: n 1-128, penalties -2-2, min_p 0-1. It speaks of a
            # temperature "from 0-1", and refuses none above.
            takes={**_ANYWHERE, **_PENALTIES, "n": _SEVERAL, "min_p": Span(0, 1)},
        ),
        Preset(
            "groq",
            "https://api.groq.com/openai/v1",
            "GROQ_API_KEY",
            host="api.groq.com",
            renamed=_COMPLETION_CAP,  # max_tokens is deprecated there
            schema_mode="json_object",  # json_schema is refused for most of its models
            limits="requests a day and tokens a minute, by model; stated in x-ratelimit headers",
            # groq-python (2026-08), completion_create_params.py: temperature 0-2, penalties -2-2, only n=1,
            # top_logprobs 0-20, stop up to 4
            takes={**_SAMPLING, "n": Span(1, 1, whole=True), "top_logprobs": _TOP_20},
            most_stops=4,
            flex="flex",  # console.groq.com/docs/flex-processing: the usual price, ten times the limits
        ),
        Preset(
            "deepseek",
            "https://api.deepseek.com",
            "DEEPSEEK_API_KEY",
            host="api.deepseek.com",
            schema_mode="json_object",  # the only type its guide "JSON Output" has
            limits="none stated; a busy server keeps the connection open",
            # api-docs.deepseek.com/api/create-chat-completion: temperature 0-2, top_p up to 1, penalties -2-2,
            # top_logprobs 0-20, stop up to 16
            takes={**_SAMPLING, "top_logprobs": _TOP_20},
            most_stops=16,
        ),
        Preset(
            "mistral",
            "https://api.mistral.ai/v1",
            "MISTRAL_API_KEY",
            host="api.mistral.ai",
            # unknown parameters are refused with 422
            renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
            stream_usage=False,  # it is sent unasked
            limits="requests a second and tokens a minute, by workspace",
            # mistral openapi (2026-08), ChatCompletionRequest: temperature 0-1.5, top_p 0-1, penalties -2-2,
            # max_tokens and random_seed 0 or more, n 1 or more
            takes={
                **_SAMPLING,
                "temperature": Span(0, 1.5),
                "max_tokens": Span(0, whole=True),
                "seed": Span(0, whole=True),
            },
        ),
        Preset(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            "FIREWORKS_API_KEY",
            host="api.fireworks.ai",
            limits="requests a minute, by account; grows with use",
            # fireworks python-sdk (2026-07), completion_create_params.py: temperature and repetition_penalty 0-2,
            # top_p and min_p 0-1, top_k 0-100, penalties -2-2, n 1-128, top_logprobs 0-5, stop up to 4
            takes={
                **_SAMPLING,
                "n": _SEVERAL,
                "top_logprobs": Span(0, 5, whole=True),
                "top_k": Span(0, 100, whole=True),
                "min_p": Span(0, 1),
                "repetition_penalty": Span(0, 2),
            },
            most_stops=4,
        ),
        Preset(
            "xai",
            "https://api.x.ai/v1",
            "XAI_API_KEY",
            host="api.x.ai",
            limits="requests a second and tokens a minute, by model and team",
            # docs.x.ai/docs/api-reference: temperature 0-2, top_p above 0, penalties -2-2, top_logprobs 0-8, stop
            # up to 4; xai-proto, chat.proto: n up to 128
            takes={
                **_SAMPLING,
                "top_p": _TOP_P_ABOVE_0,
                "n": _SEVERAL,
                "top_logprobs": Span(0, 8, whole=True),
            },
            most_stops=4,
            reasons_beyond_cap=True,  # usage: total = prompt + completion + reasoning
        ),
        Preset(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
            host="generativelanguage.googleapis.com",
            limits="requests and tokens a minute, requests a day, by tier and model",
            # ai.google.dev/api/generate-content, GenerationConfig: temperature 0-2, stopSequences up to 5;
            # googleapis/python-genai (2026-08), types.py: penalties -2-2. The 8 candidates of older pages are gone.
            takes=_SAMPLING,
            most_stops=5,
            reasons_beyond_cap=True,  # its thoughts are in the total only
            flex="flex",  # ai.google.dev/gemini-api/docs/flex-inference
        ),
        Preset(
            "azure",
            None,
            "AZURE_OPENAI_API_KEY",
            host="openai.azure.com",
            # resources of AI Services and Foundry, and of the US government's cloud, have the same paths and key
            hosts=("cognitiveservices.azure.com", "services.ai.azure.com", "openai.azure.us"),
            renamed=_COMPLETION_CAP,
            key_header="api-key",
            limits="requests and tokens a minute, by deployment; checked over 1 to 10 s",
            takes=_OPENAI,  # azure-rest-api-specs, AzureOpenAI/inference 2024-10-21: as OpenAI's
            most_stops=4,
            flex="flex",  # of some models; a 400 for the others
        ),
        Preset(
            "ollama",
            "http://127.0.0.1:11434/v1",
            "OLLAMA_API_KEY",
            free=True,
            queues=True,
            limits="OLLAMA_NUM_PARALLEL requests at once",
            takes={},
        ),
        Preset(
            "vllm",
            "http://127.0.0.1:8000/v1",
            "VLLM_API_KEY",
            free=True,
            queues=True,
            limits="--max-num-seqs requests at once; the rest wait in a queue",
            # vllm/sampling_params.py, _verify_args: top_p above 0, penalties -2-2, max_tokens and n 1 or more,
            # min_p 0-1, top_k -1 or more, repetition_penalty above 0. Its newest takes no temperature above 2,
            # others do.
            takes={
                **_ANYWHERE,
                **_PENALTIES,
                "top_p": _TOP_P_ABOVE_0,
                "max_tokens": _TOKENS,
                "min_p": Span(0, 1),
                "top_k": Span(-1, whole=True),
                "repetition_penalty": Span(0, above_low=True),
            },
        ),
        Preset(
            "llama.cpp",
            "http://127.0.0.1:8080/v1",
            "LLAMA_API_KEY",
            free=True,
            queues=True,
            limits="--parallel requests at once; the rest wait in a queue",
            takes={},
        ),
        Preset(
            "anthropic",
            "https://api.anthropic.com/v1",
            "ANTHROPIC_API_KEY",
            host="api.anthropic.com",
            schema_mode="prompt",  # response_format is passed over
            limits="requests and tokens a minute, in and out, by tier and model",
            # platform.claude.com/docs/en/api/openai-sdk; a higher temperature is taken for 1
            takes={**_ANYWHERE, "temperature": Span(0, 1), "n": Span(1, 1, whole=True)},
        ),
        # Of the ranges that these take, no reference was at hand: `_ANYWHERE`'s.
        Preset(
            "alibaba",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",  # Singapore
            "DASHSCOPE_API_KEY",
            host="dashscope-intl.aliyuncs.com",
            # Beijing, and the hosts that workspaces have of their own
            hosts=("dashscope.aliyuncs.com", "maas.aliyuncs.com"),
            schema_mode="json_object",
            limits="requests and tokens a minute, by model",
        ),
        Preset(
            "siliconflow",
            "https://api.siliconflow.cn/v1",
            "SILICONFLOW_API_KEY",
            host="api.siliconflow.cn",
            hosts=("api.siliconflow.com",),
            schema_mode="json_object",
            limits="requests and tokens a minute, by model and level",
        ),
        Preset(
            "moonshot",
            "https://api.moonshot.ai/v1",
            "MOONSHOT_API_KEY",
            host="api.moonshot.ai",
            hosts=("api.moonshot.cn",),
            schema_mode="json_object",
            limits="requests at once, requests and tokens a minute, by tier",
        ),
        Preset(
            "deepinfra",
            "https://api.deepinfra.com/v1/openai",
            "DEEPINFRA_TOKEN",
            host="api.deepinfra.com",
            schema_mode="json_object",
            limits="requests at once, by model",
        ),
    )
}

# An endpoint no row is about.
UNKNOWN = Preset("", None, "")


def preset_of(name: str | None, base_url: str) -> Preset:
    """The named preset, else the one whose host `base_url` has, else `UNKNOWN`."""
    if name is not None:
        return PRESETS[name]
    hostname = urlsplit(base_url).hostname or ""
    return next((preset for preset in PRESETS.values() if preset.owns(hostname)), UNKNOWN)


def key_owner(variable: str) -> Preset | None:
    """The service that the key in a well-known variable belongs to; None for one of the user's own."""
    named = (preset for preset in PRESETS.values() if preset.key_env == variable and preset.host)
    return next(named, None)

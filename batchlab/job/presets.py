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
    """Which numbers a parameter takes, both ends included; None for no end."""

    low: float | None = None
    high: float | None = None
    whole: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value; None when nothing is, or there is none."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "is no number"
        if self.whole and not float(value).is_integer():
            return "is no whole number"
        below = self.low is not None and value < self.low
        above = self.high is not None and value > self.high
        return "is out of range" if below or above else None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.low:g} or more" if self.low is not None else f"{self.high:g} or less"
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g}"


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
        takes: what its API reference says of the numbers that parameters may be, by the name that users
            write; a parameter of which it says nothing is not there.
        most_stops: sequences that `stop` may list, where it says so.
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
    takes: Mapping[str, Span] = field(default_factory=dict)
    most_stops: int | None = None
    reasons_beyond_cap: bool = False

    def owns(self, hostname: str) -> bool:
        """Whether a host is one of the service's, or a subdomain of one."""
        owners = (self.host, *self.hosts) if self.host else ()
        return any(hostname == owner or hostname.endswith(f".{owner}") for owner in owners)


_COMPLETION_CAP = {"max_tokens": "max_completion_tokens"}
# the numbers that OpenAI's API reference has for a chat, as the references of most others have them too
_PENALTIES = {"presence_penalty": Span(-2, 2), "frequency_penalty": Span(-2, 2)}
_SAMPLING = {"temperature": Span(0, 2), "top_p": Span(0, 1), **_PENALTIES}
_SEVERAL = Span(1, 128, whole=True)  # choices
_TOP_20 = Span(0, 20, whole=True)  # log probabilities
_TOKENS = Span(1, whole=True)
_OPENAI = {**_SAMPLING, "max_tokens": Span(0, whole=True), "n": _SEVERAL, "top_logprobs": _TOP_20}
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
            takes=_OPENAI,  # platform.openai.com/docs/api-reference/chat/create
            most_stops=4,
        ),
        Preset(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            host="openrouter.ai",
            limits="20 requests a minute on :free models; by credits otherwise",
            # openrouter.ai/docs/api-reference/parameters
            takes={**_SAMPLING, "max_tokens": _TOKENS, "top_logprobs": _TOP_20},
        ),
        Preset(
            "together",
            "https://api.together.xyz/v1",
            "TOGETHER_API_KEY",
            host="together.xyz",
            limits="requests and tokens, by tier and model; stated in x-ratelimit headers",
            takes={**_PENALTIES, "n": _SEVERAL},  # docs.together.ai/reference/chat-completions-1
        ),
        Preset(
            "groq",
            "https://api.groq.com/openai/v1",
            "GROQ_API_KEY",
            host="api.groq.com",
            renamed=_COMPLETION_CAP,  # max_tokens is deprecated there
            schema_mode="json_object",  # json_schema is refused for most of its models
            limits="requests a day and tokens a minute, by model; stated in x-ratelimit headers",
            # console.groq.com/docs/api-reference
            takes={**_SAMPLING, "n": Span(1, 1, whole=True), "top_logprobs": _TOP_20},
            most_stops=4,
        ),
        Preset(
            "deepseek",
            "https://api.deepseek.com",
            "DEEPSEEK_API_KEY",
            host="api.deepseek.com",
            schema_mode="json_object",  # the only type its guide "JSON Output" has
            limits="none stated; a busy server keeps the connection open",
            # api-docs.deepseek.com/api/create-chat-completion
            takes={**_SAMPLING, "max_tokens": _TOKENS, "top_logprobs": _TOP_20},
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
            # docs.mistral.ai/api
            takes={
                **_SAMPLING,
                "temperature": Span(0, 1.5),
                "max_tokens": Span(0, whole=True),
                "n": Span(1, whole=True),
                "seed": Span(0, whole=True),
            },
        ),
        Preset(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            "FIREWORKS_API_KEY",
            host="api.fireworks.ai",
            limits="requests a minute, by account; grows with use",
            # docs.fireworks.ai/api-reference/post-chatcompletions
            takes={**_SAMPLING, "n": _SEVERAL},
        ),
        Preset(
            "xai",
            "https://api.x.ai/v1",
            "XAI_API_KEY",
            host="api.x.ai",
            limits="requests a second and tokens a minute, by model and team",
            # docs.x.ai/docs/api-reference
            takes={**_SAMPLING, "n": _SEVERAL, "top_logprobs": Span(0, 8, whole=True)},
            reasons_beyond_cap=True,  # usage: total = prompt + completion + reasoning
        ),
        Preset(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
            host="generativelanguage.googleapis.com",
            limits="requests and tokens a minute, requests a day, by tier and model",
            # ai.google.dev/api/generate-content, GenerationConfig
            takes={**_SAMPLING, "n": Span(1, 8, whole=True)},
            most_stops=5,
            reasons_beyond_cap=True,  # its thoughts are in the total only
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
            takes=_OPENAI,  # learn.microsoft.com/azure/ai-foundry/openai/reference
            most_stops=4,
        ),
        Preset(
            "ollama",
            "http://127.0.0.1:11434/v1",
            "OLLAMA_API_KEY",
            free=True,
            queues=True,
            limits="OLLAMA_NUM_PARALLEL requests at once",
        ),
        Preset(
            "vllm",
            "http://127.0.0.1:8000/v1",
            "VLLM_API_KEY",
            free=True,
            queues=True,
            limits="--max-num-seqs requests at once; the rest wait in a queue",
            # vllm/sampling_params.py
            takes={
                "temperature": Span(0),
                "top_p": Span(0, 1),
                **_PENALTIES,
                "max_tokens": _TOKENS,
                "n": Span(1, whole=True),
            },
        ),
        Preset(
            "llama.cpp",
            "http://127.0.0.1:8080/v1",
            "LLAMA_API_KEY",
            free=True,
            queues=True,
            limits="--parallel requests at once; the rest wait in a queue",
        ),
        Preset(
            "anthropic",
            "https://api.anthropic.com/v1",
            "ANTHROPIC_API_KEY",
            host="api.anthropic.com",
            schema_mode="prompt",  # response_format is passed over
            limits="requests and tokens a minute, in and out, by tier and model",
            # platform.claude.com/docs/en/api/openai-sdk; a higher temperature is taken for 1
            takes={"temperature": Span(0, 1), "n": Span(1, 1, whole=True)},
        ),
        # Of the ranges that these take, no reference was at hand.
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

# An endpoint no row is about: sent as written.
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

"""Words by which services tell of what they have no code for, with the service beside each.

They come last (see `classify`), and are looked for in a message without what it quotes. None of
them makes a 400, 413 or 422 more than its own row's failure, but for whole sentences of a service's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def any_of(wordings: Mapping[str, str]) -> str:
    """One pattern for all of them."""
    return "|".join(f"(?:{pattern})" for pattern in wordings)


# pattern → who says it
CONTEXT: Mapping[str, str] = {
    r"maximum context length": "OpenAI, vLLM, DeepSeek, OpenRouter, Mistral, Fireworks",
    r"context length is only": "vLLM",
    r"longer than the maximum model length": "vLLM, V0",
    r"too long to fit into the model": "vLLM, V1",
    r"(model's|model) (max(imum)? )?context (length|window|size)": "vLLM, SGLang, Together",
    r"input length.{0,20} exceeds the maximum allowed (input )?length": "SGLang, OpenRouter",
    r"(token count|tokens) exceeds? the (model's )?max": "SGLang",
    r"`inputs` (tokens \+|must have less than)": "TGI, Together",
    r"exceeds? the (available )?context": "llama.cpp",
    r"context (the )?overflows|of only \d+ tokens, which is not enough": "LM Studio",
    r"greater than the context length": "LM Studio",
    r"configured context size is \d+": "llama.cpp behind gateways",
    r"prompt is too long": "Anthropic, Fireworks",
    r"prompt too long; exceeded": "Ollama",
    r"exceed context limit": "Anthropic",
    r"input token count.{0,40}(exceeds|but model only supports)": "Gemini, Vertex",
    r"maximum prompt length is \d+": "xAI",
    r"range of input length": "DashScope",
    r"exceeded model token limit": "Moonshot",
    r"context window exceeds limit": "MiniMax",
    r"prompt token count of \d+ exceeds the limit": "GitHub Models",
    r"reduce the length of (the|your) (messages|prompt)": "Groq, OpenAI",
    r"too large for model with \d+ maximum context": "Mistral",
    r"too many tokens: ": "Cohere",
    r"input is too long for requested model": "Bedrock",
    r"(exceeds?|longer than|larger than) the (model's )?(maximum )?context (window|length|size)": "gateways",
    r"input tokens exceed the configured limit": "OpenAI behind gateways",
    r"prompt ?超长|输入.{0,12}(超过|超出|过长)": "Zhipu, DashScope",
}
# at a 500: llama.cpp's server, an input for a vector
CONTEXT_500 = r"tokens\) is too large to process"
UNFIT_500 = r"^(image|audio|video) input is not supported"  # the same server, as `server_error`

CONTENT: Mapping[str, str] = {
    r"content exists risk": "DeepSeek",
    r"(input|output)( text)? data may contain inappropriate content": "DashScope",
    r"content (violates|violating) (the )?usage guidelines": "xAI",
    r"safety_check_type_|failed check: safety": "xAI",
    r"content management policy": "Azure",
    r"content (policy|filter)|content_(policy|filter)": "OpenAI, Azure",
    r"blocked by content filtering": "Anthropic",
    r"(rejected|flagged|blocked).{0,60}(safety|moderation|polic(y|ies)|risk)": "OpenAI, Moonshot",
    r"violat\w+ .{0,40}(usage|content|safety) polic": "OpenAI",
    r"flagged (as|by|for)|(prompt|input|request|content) was flagged": "OpenAI, OpenRouter",
    r"requires moderation|refused by moderation|by (the )?moderation": "OpenRouter",
    r"prohibited_content|prohibited content": "Gemini",
    r"不安全或敏感内容|内容安全|敏感内容": "Zhipu",
    r"new_sensitive|input new_sensitive": "MiniMax",
}
# 400 and 422: the way to ask for JSON is refused; counted only where the request asked for it
FORMAT: Mapping[str, str] = {
    r"response[_ ]format|json[_ ]schema|json_object|json[_ ]mode": "OpenAI, Groq, DeepSeek",
    r"structured[_ ]?outputs?|guided_(json|decoding)": "vLLM",
    r"(parse|invalid|initializ\w*|unsupported) grammar|grammar error": "llama.cpp",
}
QUEUE: Mapping[str, str] = {
    r"queue(d)?\b.{0,40}(limit|full|wait|reached|exceed)|(limit|full|in the|your).{0,40}\bqueue": "ModelsLab",
    r"too many (concurrent|requests|queued)": "ModelsLab, gateways",
    r"concurren\w+ (limit|request|exceed)|(maximum|max|limit).{0,12}concurren": "ModelsLab, Zhipu",
    r"^out of call volume quota": "Azure's API Management, with a 403",
    r"rate.?limit": "gateways",
    r"limit (reached|exceeded)|(reached|exceeded) (the|your) (\w+ )?limit": "ModelsLab",
}
# ModelsLab, at a 400: a sentence of its own, from its beginning
QUEUE_400 = (
    r"^(you have |you've |your )?(reached |exceeded )?(the |your )?"
    r"(request |queue |rate |concurren\w+ )+limit"
    r"|^(the |your )?queue is full"
)
KEY: Mapping[str, str] = {
    r"(invalid|incorrect|missing|wrong|no) api.?key": "ModelsLab, OpenAI",
    r"unauthori[sz]ed|invalid token": "gateways",
    r"api key.*(required|invalid|not valid)": "ModelsLab, Gemini",
    r"invalid access token": "Databricks",
    r"security token .{0,40}(expired|invalid)": "AWS",
}
KEY_400 = r"^(invalid|incorrect|missing|wrong) api.?key\b"
CREDIT: Mapping[str, str] = {
    r"insufficient (account )?(credit|balance|fund|quota)": "ModelsLab, OpenRouter, DeepSeek",
    r"balance is insufficient|quota is not enough": "SiliconFlow, One API",
    r"余额不足|欠费": "Zhipu",
    r"no credits?|out of credits?|credits? (is|are) (over|exhausted|used up)": "gateways",
    r"(used all|exhausted|(does|do)(n't| not) have any) (\w+ ){0,3}credits?\b": "xAI",
    r"not enough balance|balance of your account is insufficient": "Novita, SiliconFlow",
    r"exhausted your .{0,20}balance": "gateways",
    r"overdue balance|in arrears": "Volcengine",
    r"exceeded your current quota": "OpenAI",
    r"^key limit exceeded": "OpenRouter",
    r"free tier .{0,20}(has been|is) exhausted": "DashScope",
    r"(subscription|plan) (has )?(expired|ended)": "ModelsLab",
    r"(reached|exceeded) (your|its|the) monthly": "xAI, Hugging Face",
    r"monthly (spending )?limit (reached|exceeded)": "ModelsLab",
}
# by the day, which begins anew by itself
DAILY: Mapping[str, str] = {
    r"\bper[- ]day\b": "OpenRouter, Cerebras, Bedrock",
    r"\bdaily (free allocation|request limit|quota)\b": "Cloudflare, Baidu",
    r"今日调用次数上限": "Zhipu",
}
MONTHLY = r"\bapi calls ?/ ?month\b"  # Cohere's trial keys
# Anthropic says so with a 400, MiniMax with a 500, Fireworks with a 412: their whole sentences
CREDIT_400 = (
    r"^your credit balance is too low to access the (anthropic|claude) api\b"
    r"|^you have reached your specified (workspace )?api usage limits\b"
)
CREDIT_412 = r"^account .{1,80} is suspended\b"
CREDIT_500 = r"^insufficient balance \(1008\)$"
# DashScope says `insufficient_quota` of tokens a minute, in this sentence
ALLOCATED = r"^allocated quota exceeded, please increase your quota limit"
# a 200 of ModelsLab about the request: the sentences of its validator
REFUSED: Mapping[str, str] = {
    r"^the (selected )?[\w .'-]{1,60}? (field|is invalid|must|may (only|not))": "ModelsLab",
    r"^the (selected )?[\w .'-]{1,60}? (has already|format|does not)": "ModelsLab",
    r"^[\w.]{1,40} (is|are) (required|invalid|missing|not supported)": "ModelsLab",
    r"^(invalid|unsupported|unknown|missing) (model|parameter|request|message)": "ModelsLab, gateways",
    r"^(invalid|unsupported|unknown|missing) (value|field|argument|type|json|role)": "gateways",
    r"validation (error|failed)": "gateways",
}
UNKNOWN_MODEL = (
    r"^(the )?model .{0,80}(not found|does not exist|not available|not exist)|^model_?id? not found"
)
# at a 400: LiteLLM; DeepSeek; SiliconFlow
UNKNOWN_MODEL_400 = (
    r"^/[\w/]+: invalid model name passed in model=|^model not exist$|^model does not exist\. please check it"
)
LOADING = r"loading|warming|starting up|try again in|please wait|not ready"
OVERLOADED = r"overload|slow.?down|loading|capacity|busy|try again|request queue is full"
WRONG_ADDRESS = r"unexpected endpoint or method"  # LM Studio, with a 200
# nginx; Go
PLAIN_TO_TLS = (
    r"^(400 )?the plain http request was sent to https port|^client sent an http request to an https server"
)

NO_ROOM = r"^resource unavailable\b"  # OpenAI's guide to flex processing
TIER = r"\bservice[_ ]tier\b"  # OpenAI, Azure: of the parameter, where one was asked for

_REQUESTED = re.compile(r"limit[: ]+(\d[\d,]*).{0,12}?requested[: ]+(\d[\d,]*)", re.IGNORECASE)
_A_MINUTE = re.compile(r"rate limit of (\d[\d,]*) input tokens per minute", re.IGNORECASE)
TOO_LARGE = r"^(litellm\.\w+: )?.{0,40}request too large|^request entity too large"


def asks_too_much(message: str, prompt_tokens: int) -> bool:
    """Whether a rate limit says that this very request is larger than the limit allows at all.

    OpenAI and Groq: "Limit 30000, Requested 40000" (with "Used" between them it is a matter of time);
    Anthropic: "rate limit of 20,000 input tokens per minute", for a prompt of more.
    """
    if (found := _REQUESTED.search(message)) is not None:
        return _number(found.group(2)) > _number(found.group(1))
    found = _A_MINUTE.search(message)
    return found is not None and prompt_tokens > _number(found.group(1))


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))

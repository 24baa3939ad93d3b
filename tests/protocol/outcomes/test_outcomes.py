"""The outcome table, line by line, with bodies as services send them (answers.md, section 2)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.protocol.outcomes import wordings
from batchlab.protocol.outcomes.classify import TransportFault, classify, explained, judged
from batchlab.protocol.outcomes.facts import Asked
from batchlab.protocol.outcomes.table import TABLE
from batchlab.protocol.redact import MAX_MESSAGE_CHARS
from batchlab.records import OutcomeClass

RETRY, WAIT, PAUSE = OutcomeClass.RETRY, OutcomeClass.WAIT, OutcomeClass.PAUSE
FAIL, STOP = OutcomeClass.FAIL, OutcomeClass.STOP


def openai(message="", *, type_=None, code=None, **more):
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def google(code, message, status, *details):
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def quota(*ids):
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/x", "quotaId": one} for one in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}
GONE = "You exceeded your current quota, please check your plan and billing details."


def azure(**filtered):
    result = {name: {"filtered": value, "severity": "high"} for name, value in filtered.items()}
    return {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}


# (what and where it was read, status, headers, body, class, error_class)
ANSWERS = [
    ("llama.cpp without eyes", 500, {}, openai("image input is not supported - hint: you may need the mmproj", type_="server_error", code=500), FAIL, "bad_request"),
    # OpenAI: error codes guide; API reference
    ("OpenAI rate limit", 429, {}, openai("Rate limit reached for gpt-4o", type_="requests", code="rate_limit_exceeded"), WAIT, "rate_limit"),
    ("OpenAI quota by type", 429, {}, openai(GONE, type_="insufficient_quota"), STOP, "quota"),
    ("OpenAI quota by code", 429, {"Retry-After": "1"}, openai("", code="insufficient_quota"), STOP, "quota"),
    ("OpenAI spend limit", 429, {}, openai("", code="project_spend_limit_exceeded"), STOP, "quota"),
    ("OpenAI usage limit", 429, {}, openai("", code="organization_usage_limit_exceeded"), STOP, "quota"),
    ("OpenAI credit", 429, {}, openai("", code="credit_balance_exhausted"), STOP, "quota"),
    ("OpenAI billing", 400, {}, openai("", code="billing_hard_limit_reached"), STOP, "quota"),
    ("OpenAI row larger than the limit", 429, {}, openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", type_="tokens", code="rate_limit_exceeded"), FAIL, "too_large"),
    ("OpenAI limit that is used up", 429, {}, openai("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000. Please try again in 6s.", type_="tokens", code="rate_limit_exceeded"), WAIT, "rate_limit"),
    ("OpenAI slow down", 503, {}, openai("", code="slow_down"), WAIT, "overloaded"),
    ("OpenAI overloaded", 503, {}, openai("The engine is currently overloaded"), WAIT, "overloaded"),
    ("503 plain", 503, {}, openai("Service unavailable"), RETRY, "server"),
    ("OpenAI bad key", 401, {}, openai("Incorrect API key provided", code="invalid_api_key"), STOP, "auth"),
    ("401 without a body", 401, {}, b"", STOP, "auth"),
    ("OpenAI context", 400, {}, openai("Too long", code="context_length_exceeded"), FAIL, "context_length"),
    ("OpenAI content", 400, {}, openai("", code="content_policy_violation"), FAIL, "content_filter"),
    ("OpenAI flagged prompt", 400, {}, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", type_="invalid_request_error", code="invalid_prompt"), FAIL, "content_filter"),
    ("OpenAI unsupported parameter", 400, {}, openai("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"), FAIL, "bad_request"),
    ("OpenAI unknown model", 404, {}, openai("The model `x` does not exist", code="model_not_found"), FAIL, "not_found"),
    ("OpenAI server error", 500, {}, openai("The server had an error", type_="server_error"), RETRY, "server"),
    # Azure OpenAI: content filtering; helm 3327, TinyTroupe 85
    ("Azure filter by code", 400, {}, openai("The response was filtered", code="content_filter", status=400), FAIL, "content_filter"),
    ("Azure filter by inner code", 400, {}, openai("no", innererror=azure(jailbreak=True, hate=False)), FAIL, "content_filter"),
    ("Azure filter by result", 400, {}, openai("no", innererror={"content_filter_result": azure(hate=True)["content_filter_result"]}), FAIL, "content_filter"),
    ("Azure, nothing filtered", 400, {}, openai("no", innererror={"content_filter_result": azure(hate=False)["content_filter_result"]}), FAIL, "bad_request"),
    ("Azure filter in words", 400, {}, openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy."), FAIL, "content_filter"),
    ("Azure rate", 429, {}, openai("Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 20 seconds.", code="429"), WAIT, "rate_limit"),
    ("Azure API Management", 401, {}, {"statusCode": 401, "message": "Access denied due to invalid subscription key."}, STOP, "auth"),
    # Google: gemini-cli 8437, dify 19838, continue 9570 and 10560; google.rpc
    ("Gemini per minute", 429, {}, google(429, GONE, "RESOURCE_EXHAUSTED", quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), RETRY_INFO), WAIT, "rate_limit"),
    ("Gemini RetryInfo alone", 429, {}, google(429, GONE, "RESOURCE_EXHAUSTED", RETRY_INFO), WAIT, "rate_limit"),
    ("Gemini quota that says no time", 429, {}, google(429, GONE, "", quota("InputTokens")), WAIT, "rate_limit"),
    ("Gemini per day", 429, {}, google(429, GONE, "RESOURCE_EXHAUSTED", quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), RETRY_INFO), STOP, "quota"),
    ("Gemini per day by its metric", 429, {}, google(429, GONE, "RESOURCE_EXHAUSTED", quota("generate_requests_per_model_per_day")), STOP, "quota"),
    ("Gemini both", 429, {}, google(429, GONE, "RESOURCE_EXHAUSTED", quota("A-PerMinute-F", "RequestsPer-Day")), STOP, "quota"),
    ("Gemini inside a message", 429, {}, {"error": {"message": json.dumps(google(429, GONE, "RESOURCE_EXHAUSTED", RETRY_INFO)[0]), "code": 429, "status": "Too Many Requests"}}, WAIT, "rate_limit"),
    ("Gemini bare", 429, {}, google(429, "Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"), WAIT, "rate_limit"),
    ("Gemini key", 400, {}, google(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}), STOP, "auth"),
    ("Gemini context", 400, {}, google(400, "The input token count (1091639) exceeds the maximum number of tokens allowed (1048576).", "INVALID_ARGUMENT"), FAIL, "context_length"),
    ("Gemini overloaded", 503, {}, google(503, "The model is overloaded. Please try again later.", "UNAVAILABLE"), WAIT, "overloaded"),
    ("Vertex denied", 403, {}, google(403, "Permission denied on resource project x.", "PERMISSION_DENIED"), FAIL, "forbidden"),
    # vLLM, SGLang, TGI, llama.cpp, Ollama, LM Studio, Triton: their sources
    ("vLLM flat context", 400, {}, {"object": "error", "message": "This model's maximum context length is 4096 tokens", "type": "BadRequestError", "param": None, "code": 400}, FAIL, "context_length"),
    ("vLLM nested context", 400, {}, openai("context length is only 4096", type_="BadRequestError", code=400), FAIL, "context_length"),
    ("vLLM decoder prompt", 400, {}, openai("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller", type_="BadRequestError", code=400), FAIL, "context_length"),
    ("vLLM total length", 400, {}, {"error": {"object": "error", "message": "The prompt (total length 6287) is too long to fit into the model (context length 4096).", "type": "BadRequestError", "code": 400}}, FAIL, "context_length"),
    ("SGLang", 400, {}, {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 32768 tokens.", "type": "BadRequestError", "code": 400}, FAIL, "context_length"),
    ("SGLang, input", 400, {}, {"object": "error", "message": "Input length (9000 tokens) exceeds the maximum allowed length (8185 tokens).", "type": "BadRequestError", "code": 400}, FAIL, "context_length"),
    ("TGI", 422, {}, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3200 `inputs` tokens and 512 `max_new_tokens`", "error_type": "validation"}, FAIL, "context_length"),
    ("TGI, input", 422, {}, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500", "error_type": "validation"}, FAIL, "context_length"),
    ("TGI overloaded", 429, {}, {"error": "Model is overloaded", "error_type": "overloaded"}, WAIT, "overloaded"),
    ("llama.cpp context", 400, {}, {"error": {"code": 400, "message": "request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 13392, "n_ctx": 8192}}, FAIL, "context_length"),
    ("llama.cpp context through a gateway", 400, {}, {"detail": json.dumps(openai("x", type_="exceed_context_size_error", code=400))}, FAIL, "context_length"),
    ("llama.cpp context in words", 400, {}, openai("the request exceeds the available context size", code=400), FAIL, "context_length"),
    ("llama.cpp input for a vector", 500, {}, openai("input (3501 tokens) is too large to process. increase the physical batch size (current batch size: 2048)", type_="server_error", code=500), FAIL, "context_length"),
    ("llama.cpp loading", 503, {}, openai("Loading model", type_="unavailable_error", code=503), WAIT, "overloaded"),
    ("Ollama", 500, {}, {"error": "llama runner process has terminated"}, RETRY, "server"),
    ("Ollama context", 400, {}, {"error": "prompt too long; exceeded max context length by 12 tokens"}, FAIL, "context_length"),
    ("LM Studio context", 400, {}, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}, FAIL, "context_length"),
    ("LM Studio context, newer", 400, {}, {"error": "The number of tokens to keep from the initial prompt is greater than the context length."}, FAIL, "context_length"),
    ("LM Studio route", 200, {}, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, RETRY, "invalid_response"),
    ("Hugging Face loading", 503, {}, {"error": "Model x is currently loading", "estimated_time": 20.0}, WAIT, "overloaded"),
    ("loading at 404", 404, {}, openai("model is loading"), WAIT, "overloaded"),
    ("loading at 421", 421, {}, openai("not ready"), WAIT, "overloaded"),
    ("loading at 423", 423, {}, openai("try again in 5s"), WAIT, "overloaded"),
    ("loading at 424", 424, {}, openai("warming up"), WAIT, "overloaded"),
    ("404 that asks to wait", 404, {"Retry-After": "3"}, openai("gone"), WAIT, "overloaded"),
    # OpenRouter: errors guide; open-webui/computer 293, OmniRoute 3044 and 8210, agent-os 2214
    ("OpenRouter credits", 402, {}, openai("Insufficient credits", code=402), STOP, "quota"),
    ("OpenRouter can only afford", 402, {}, openai("This request requires more credits, or fewer max_tokens.", code=402), STOP, "quota"),
    ("OpenRouter in-flight budget", 402, {"Retry-After": "2"}, openai("in_flight_budget", code=402), WAIT, "rate_limit"),
    ("OpenRouter moderation", 403, {}, openai("openai/gpt-4o requires moderation on OpenAI. Your input was flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "..."}), FAIL, "content_filter"),
    ("OpenRouter upstream in a 200", 200, {}, openai("Provider returned error", code=502), RETRY, "server"),
    ("OpenRouter rate limit in a 200", 200, {}, openai("Rate limited", code=429), WAIT, "rate_limit"),
    ("OpenRouter key in a 200", 200, {}, openai("No auth", code=401), STOP, "auth"),
    ("OpenRouter raw context", 400, {}, openai("Provider returned error", code=400, metadata={"provider_name": "OpenAI", "raw": json.dumps(openai("x", code="context_length_exceeded"))}), FAIL, "context_length"),
    ("OpenRouter raw content", 403, {}, openai("Provider returned error", code=403, metadata={"raw": json.dumps({"code": "permission-denied", "error": "Content violates usage guidelines."}), "provider_name": "xAI"}), FAIL, "content_filter"),
    ("OpenRouter raw request", 400, {}, openai("Provider returned error", code=400, metadata={"raw": json.dumps(openai("supports at most 1 image", type_="invalid_request_error"))}), FAIL, "bad_request"),
    ("OpenRouter raw text", 429, {}, openai("Provider returned error", code=429, metadata={"raw": "x is temporarily rate-limited upstream. Please retry shortly."}), WAIT, "rate_limit"),
    ("OpenRouter overloaded in a stream", 200, {}, {"error": {"code": 502, "message": "no", "metadata": {"error_type": "overloaded"}}}, WAIT, "overloaded"),
    ("OpenRouter input length", 400, {}, openai("Input length 131393 exceeds the maximum allowed input length of 131040 tokens."), FAIL, "context_length"),
    # LiteLLM's proxy: OpenHands 4894 and 5350, brokk 540, litellm 6629 and 16231
    ("LiteLLM context", 400, {}, openai('litellm.BadRequestError: litellm.ContextWindowExceededError: AnthropicError - {"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210543 tokens > 200000 maximum"}}', code="400"), FAIL, "context_length"),
    ("LiteLLM context without its class", 400, {}, openai('litellm.BadRequestError: AnthropicException - b\'{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 179413 + 32768 > 200000"}}\'. Received Model Group=x', code="400"), FAIL, "context_length"),
    ("LiteLLM content", 400, {}, openai("litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - The response was filtered", code="400"), FAIL, "content_filter"),
    ("LiteLLM rate", 429, {}, openai("litellm.RateLimitError: RateLimitError: OpenAIException - slow", type_="throttling_error", code="429"), WAIT, "rate_limit"),
    ("LiteLLM key", 401, {}, openai("litellm.AuthenticationError: no", code="401"), STOP, "auth"),
    ("Python gateway in a 200", 200, {}, openai("Error code: 400 - {'error': {'message': 'x', 'code': 'content_filter'}}"), FAIL, "bad_request"),
    # Anthropic's Messages API behind gateways
    ("Anthropic context", 400, {}, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 214336 tokens > 200000 maximum"}}, FAIL, "context_length"),
    ("Anthropic credit", 400, {}, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}, STOP, "quota"),
    ("Anthropic output refused", 400, {}, {"type": "error", "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}}, FAIL, "content_filter"),
    ("Anthropic overloaded", 529, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, WAIT, "overloaded"),
    ("Anthropic 413", 413, {}, {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, FAIL, "too_large"),
    ("Anthropic model", 404, {}, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}, FAIL, "not_found"),
    ("Anthropic permission", 403, {}, {"type": "error", "error": {"type": "permission_error", "message": "no"}}, FAIL, "forbidden"),
    ("Bedrock input", 400, {}, {"message": "Input is too long for requested model."}, FAIL, "context_length"),
    ("Bedrock throttled", 429, {}, {"message": "Too many requests, please wait before trying again.", "__type": "ThrottlingException"}, WAIT, "rate_limit"),
    # Groq, Together, Fireworks, Cohere, Mistral, xAI
    ("Groq capacity", 498, {}, openai("", code="capacity_exceeded"), WAIT, "overloaded"),
    ("Groq 413", 413, {}, openai("Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000", type_="tokens", code="rate_limit_exceeded"), FAIL, "too_large"),
    ("Groq length", 400, {}, openai("Please reduce the length of the messages or completion.", type_="invalid_request_error", code="context_length_exceeded"), FAIL, "context_length"),
    ("Groq schema", 400, {}, openai("Failed to generate JSON.", code="json_validate_failed"), FAIL, "schema"),
    ("Together context", 400, {}, openai("The input (516368 tokens) is longer than the model's context length (262144 tokens).", type_="invalid_request_error"), FAIL, "context_length"),
    ("Fireworks context", 400, {}, openai("The prompt is too long: 140000, model maximum context length: 131071", type_="invalid_request_error"), FAIL, "context_length"),
    ("413 with a prompt too long", 413, {}, openai("prompt is too long"), FAIL, "context_length"),
    ("Cohere", 400, {}, {"message": "too many tokens: total number of tokens in the prompt exceeds the limit"}, FAIL, "context_length"),
    ("Mistral context", 400, {}, {"object": "error", "message": "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "code": "3051"}, FAIL, "context_length"),
    ("Mistral validator", 422, {}, {"object": "Error", "message": [{"type": "extra_forbidden", "loc": ["body", "tools"], "msg": "Extra inputs are not permitted", "input": []}], "type": "invalid_request_error", "code": 3001}, FAIL, "bad_request"),
    ("Mistral validator in text", 422, {}, {"object": "error", "message": '{"detail":[{"type":"extra_forbidden","loc":["body","frequency_penalty"],"msg":"Extra inputs are not permitted","input":0.0}]}', "type": "internal_error_proxy", "param": None, "code": "1000"}, FAIL, "bad_request"),
    ("Mistral capacity", 429, {}, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "code": "3505"}, WAIT, "rate_limit"),
    ("xAI content", 403, {}, {"code": "The caller does not have permission to execute the specified operation", "error": "Content violates usage guidelines. Team: x, API key ID: y, Model: grok-4-0709, Failed check: SAFETY_CHECK_TYPE_BIO"}, FAIL, "content_filter"),
    ("xAI content, newer", 403, {}, {"code": "permission-denied", "error": "Content violates usage guidelines. "}, FAIL, "content_filter"),
    ("xAI denied", 403, {}, {"code": "permission-denied", "error": "Access to the chat endpoint is denied."}, FAIL, "forbidden"),
    ("xAI context", 400, {}, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}, FAIL, "context_length"),
    # DeepSeek, DashScope, Moonshot, Zhipu, MiniMax, SiliconFlow: their error pages, qwen-code 98 and 3145,
    # QwenLM 938 and 2254, CowAgent 2910, claude-code 9201, Kimi-K2 5, MiniMax-M2 62, modelscope 1691, OpenManus 438
    ("DeepSeek content", 400, {}, openai("Content Exists Risk", type_="invalid_request_error", code="invalid_request_error"), FAIL, "content_filter"),
    ("DeepSeek balance", 402, {}, openai("Insufficient Balance", type_="unknown_error", code="invalid_request_error"), STOP, "quota"),
    ("DeepSeek context", 400, {}, openai("This model's maximum context length is 65536 tokens. However, you requested 70000 tokens", type_="invalid_request_error"), FAIL, "context_length"),
    ("DashScope content", 400, {}, openai("Input data may contain inappropriate content.", type_="data_inspection_failed", code="data_inspection_failed"), FAIL, "content_filter"),
    ("DashScope content in words", 400, {}, openai("<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content."), FAIL, "content_filter"),
    ("DashScope content of its own", 400, {}, {"code": "DataInspectionFailed", "message": "x"}, FAIL, "content_filter"),
    ("DashScope length", 400, {}, openai("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 983616]", type_="invalid_request_error", code="invalid_parameter_error"), FAIL, "context_length"),
    ("DashScope arrears", 400, {}, openai("Access denied, please make sure your account is in good standing.", type_="Arrearage", code="Arrearage"), STOP, "quota"),
    ("DashScope tokens a minute", 429, {}, openai("Allocated quota exceeded, please increase your quota limit. For details, see: https://x", type_="insufficient_quota", code="insufficient_quota"), WAIT, "rate_limit"),
    ("DashScope rate", 429, {}, openai("You have exceeded your current request limit.", type_="limit_requests", code="limit_requests"), WAIT, "rate_limit"),
    ("DashScope burst in a 200", 200, {}, openai("", code="limit_burst_rate"), WAIT, "rate_limit"),
    ("DashScope key", 401, {}, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, STOP, "auth"),
    ("Moonshot quota", 403, {}, openai("Your account x is not active, exceeded current quota, please check your plan", type_="exceeded_current_quota_error"), STOP, "quota"),
    ("Moonshot rate", 429, {}, openai("Your account reached max organization concurrency: 1, please try again after 1 seconds", type_="rate_limit_reached_error"), WAIT, "rate_limit"),
    ("Moonshot overloaded", 429, {}, openai("The engine is currently overloaded", type_="engine_overloaded_error"), WAIT, "overloaded"),
    ("Moonshot context", 400, {}, openai("Invalid request: Your request exceeded model token limit: 262144 (requested: 291351)", type_="invalid_request_error"), FAIL, "context_length"),
    ("Moonshot content", 400, {}, openai("The request was rejected because it was considered high risk", type_="content_filter"), FAIL, "content_filter"),
    ("Moonshot key", 401, {}, openai("Invalid Authentication", type_="invalid_authentication_error"), STOP, "auth"),
    ("Zhipu content", 400, {}, {"contentFilter": [{"level": 1, "role": "user"}], "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}, FAIL, "content_filter"),
    ("Zhipu arrears", 429, {}, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, STOP, "quota"),
    ("Zhipu arrears, Anthropic's envelope", 429, {}, {"type": "error", "error": {"type": "1113", "message": "Insufficient balance or no resource package. Please recharge."}}, STOP, "quota"),
    ("Zhipu rate", 429, {}, {"error": {"code": "1302", "message": "您的账户已达到速率限制"}}, WAIT, "rate_limit"),
    ("Zhipu rate in a 200", 200, {}, {"error": {"code": "1302", "message": "x"}}, WAIT, "rate_limit"),
    ("Zhipu context", 400, {}, {"error": {"code": "1261", "message": "Prompt 超长"}}, FAIL, "context_length"),
    ("Zhipu context in words", 400, {}, {"error": {"message": "Prompt超长"}}, FAIL, "context_length"),
    ("MiniMax balance in a 200", 200, {}, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, STOP, "quota"),
    ("MiniMax balance", 429, {}, {"error": {"http_code": "429", "message": "insufficient balance (1008)", "type": "insufficient_balance_error"}}, STOP, "quota"),
    ("MiniMax balance at 500", 500, {}, {"type": "error", "error": {"type": "api_error", "message": "insufficient balance (1008)"}}, STOP, "quota"),
    ("MiniMax rate", 200, {}, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, WAIT, "rate_limit"),
    ("MiniMax key", 200, {}, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, STOP, "auth"),
    ("MiniMax content", 200, {}, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, FAIL, "content_filter"),
    ("MiniMax parameter", 200, {}, {"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}, FAIL, "bad_request"),
    ("MiniMax context", 200, {}, {"base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}}, FAIL, "context_length"),
    ("MiniMax trouble", 200, {}, {"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}, RETRY, "server"),
    ("SiliconFlow balance", 403, {}, {"code": 30011, "message": "The selected model requires paid balance. Your paid balance is insufficient.", "data": None}, STOP, "quota"),
    ("One API quota", 403, {}, openai("user quota is not enough (request id: 1)", type_="one_api_error", code="insufficient_user_quota"), STOP, "quota"),
    ("New API quota", 403, {}, openai("token quota is not enough", type_="new_api_error", code="pre_consume_token_quota_failed"), STOP, "quota"),
    ("One API channel in words", 403, {}, openai("user quota is not enough", type_="v_api_error"), STOP, "quota"),
    ("OpenCode credit", 401, {}, {"message": "Insufficient balance. Manage your billing here", "type": "CreditsError", "param": "", "code": None}, STOP, "quota"),
    # Volcengine, Novita, Cloudflare, Databricks, Azure's gateway, Portkey: their error pages and public reports
    ("Azure deployment", 404, {}, openai("The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.", code="DeploymentNotFound"), FAIL, "not_found"),
    ("API Management's quota", 403, {}, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 03:12:24."}, WAIT, "rate_limit"),
    ("AWS throttled by its header", 400, {"x-amzn-ErrorType": "ThrottlingException"}, {"message": "Rate exceeded"}, WAIT, "rate_limit"),
    ("Databricks token", 403, {}, {"error_code": "403", "message": "Invalid access token."}, STOP, "auth"),
    ("Mistral model", 400, {}, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, FAIL, "not_found"),
    ("DeepSeek model", 400, {}, openai("Model Not Exist", type_="invalid_request_error", code="invalid_request_error"), FAIL, "not_found"),
    ("Groq model of yesterday", 400, {}, openai("The model `x` has been decommissioned", type_="invalid_request_error", code="model_decommissioned"), FAIL, "not_found"),
    ("OpenRouter key's limit", 403, {}, openai("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", code=403), STOP, "quota"),
    ("Fireworks suspended", 412, {}, openai("Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices", code="PRECONDITION_FAILED"), STOP, "quota"),
    ("xAI credits", 429, {}, {"code": "Some resource has been exhausted", "error": "Your team x has either used all available credits or reached its monthly spending limit."}, STOP, "quota"),
    ("xAI no credits", 403, {}, {"code": "permission-denied", "error": "Your newly created team doesn't have any credits yet."}, STOP, "quota"),
    ("Cohere by the month", 429, {}, {"message": "You are using a Trial key, which is limited to 1000 API calls / month. You can continue"}, STOP, "quota"),
    ("Cohere by the minute", 429, {}, {"message": "You are using a Trial key, which is limited to 40 API calls / minute. You can continue"}, WAIT, "rate_limit"),
    ("Cloudflare by the day", 429, {}, {"success": False, "errors": [{"code": 4006, "message": "AiError: you have used up your daily free allocation of 10,000 neurons"}]}, STOP, "quota"),
    ("SGLang's queue", 503, {}, {"object": "error", "message": "The request queue is full.", "code": 503}, WAIT, "overloaded"),
    ("LiteLLM expired key", 400, {}, openai("Authentication Error - Expired Key.", type_="expired_key", code="400"), STOP, "auth"),
    ("Portkey's guard", 446, {}, openai("The guardrail checks defined in the config failed.", type_="hooks_failed"), FAIL, "content_filter"),
    ("Baidu by the day", 200, {}, {"error_code": 17, "error_msg": "Open api daily request limit reached"}, STOP, "quota"),
    ("Baidu by the second", 200, {}, {"error_code": 18, "error_msg": "Open api qps request limit reached"}, WAIT, "rate_limit"),
    ("Volcengine arrears", 403, {}, openai("The request failed because your account has an overdue balance.", code="AccountOverdueError", type_="Forbidden"), STOP, "quota"),
    ("Zhipu's plan", 429, {}, {"error": {"code": "1308", "message": "已达到 5 小时的使用上限"}}, STOP, "quota"),
    ("Anthropic usage limit", 400, {}, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}, STOP, "quota"),
    ("DashScope free tier", 403, {}, openai("The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"), STOP, "quota"),
    ("Novita balance", 403, {}, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance", "metadata": {}}, STOP, "quota"),
    ("a proxy's password", 407, {}, b"Proxy Authentication Required", STOP, "endpoint"),
    ("a model that has gone", 410, {}, {"error": "The requested model is deprecated"}, FAIL, "not_found"),
    # ModelsLab
    ("ModelsLab wallet", 200, {}, {"status": "error", "message": "You have exhausted your wallet balance, please add funds"}, STOP, "quota"),
    ("ModelsLab month", 200, {}, {"status": "error", "message": "Monthly limit exceeded, upgrade subscription"}, STOP, "quota"),
    ("ModelsLab queue, 429", 429, {}, {"status": "error", "message": "queue limit reached"}, WAIT, "rate_limit"),
    ("ModelsLab queue, 200", 200, {}, {"status": "error", "messege": "You have reached the limit of queued requests"}, WAIT, "rate_limit"),
    ("ModelsLab queue, 400", 400, {}, {"status": "error", "message": "Queue limit reached, please wait"}, WAIT, "rate_limit"),
    ("ModelsLab queue full, 400", 400, {}, {"status": "error", "message": "Your queue is full"}, WAIT, "rate_limit"),
    ("ModelsLab key, 200", 200, {}, {"status": "error", "message": "Invalid API key"}, STOP, "auth"),
    ("ModelsLab key, 400", 400, {}, {"status": "error", "message": "Invalid API key"}, STOP, "auth"),
    ("ModelsLab credit, 200", 200, {}, {"status": "error", "message": "Insufficient credits"}, STOP, "quota"),
    ("ModelsLab credit, 400", 400, {}, {"status": "error", "message": "Insufficient credits"}, FAIL, "bad_request"),
    ("ModelsLab validator", 200, {}, {"status": "error", "message": {"prompt": ["The prompt field is required."]}}, FAIL, "bad_request"),
    ("ModelsLab validator's sentence", 200, {}, {"status": "error", "message": "The model_id field is required."}, FAIL, "bad_request"),
    ("ModelsLab model", 200, {}, {"status": "error", "message": "model_id not found"}, FAIL, "not_found"),
    ("ModelsLab trouble", 200, {}, {"status": "error", "message": "Failed"}, RETRY, "server"),
    # a request that a 200 refuses
    ("invalid request in a 200", 200, {}, openai("no", type_="invalid_request_error"), FAIL, "bad_request"),
    ("context in a 200", 200, {}, openai("prompt is too long", type_="invalid_request_error"), FAIL, "context_length"),
    ("rate in a 200", 200, {}, openai("", type_="rate_limit_error"), WAIT, "rate_limit"),
    ("overloaded in a 200", 200, {}, openai("", type_="overloaded_error"), WAIT, "overloaded"),
    ("string in a 200", 200, {}, {"error": "no"}, RETRY, "server"),
    ("flat in a 200", 200, {}, {"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, FAIL, "bad_request"),
    # 200, but no completion
    ("empty", 200, {}, b"", RETRY, "invalid_response"),
    ("null", 200, {}, b"null", RETRY, "invalid_response"),
    ("page", 200, {}, b"<html>Maintenance</html>", RETRY, "invalid_response"),
    ("page that names a key", 200, {}, b"<html>Unauthorized: invalid api key, rate limit, out of credits</html>", RETRY, "invalid_response"),
    ("text that names a key", 200, {}, b"Unauthorized: invalid api key, rate limit, out of credits", RETRY, "invalid_response"),
    ("no choices", 200, {}, {"id": "x"}, RETRY, "invalid_response"),
    ("deep", 200, {}, b"[" * 100_000, RETRY, "invalid_response"),
    # pages and proxies
    ("nginx, http to https", 400, {}, b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>", FAIL, "tls"),
    ("Go, http to https", 400, {}, b"Client sent an HTTP request to an HTTPS server.\n", FAIL, "tls"),
    ("a bare 529", 529, {}, b"", WAIT, "overloaded"),
    ("524 page", 524, {}, b"<html><title>A timeout occurred</title></html>", RETRY, "server"),
    ("502 page", 502, {}, b"<html>Bad gateway</html>", RETRY, "server"),
    ("firewall page", 403, {}, b"<html><title>Access denied</title></html>", FAIL, "forbidden"),
    ("firewall page that says unauthorized", 403, {}, b"<html><title>Unauthorized activity, rate limit</title></html>", FAIL, "forbidden"),
    ("nginx 413 page", 413, {}, b"<html><title>413 Request Entity Too Large</title></html>", FAIL, "too_large"),
    # the rest of the statuses
    ("201", 201, {}, b"{}", FAIL, "invalid_response"),
    ("204", 204, {}, b"", FAIL, "invalid_response"),
    ("redirect", 307, {"Location": "https://elsewhere.example/"}, b"", STOP, "redirect"),
    ("404 route", 404, {}, b"not found", FAIL, "not_found"),
    ("405", 405, {}, b"", STOP, "endpoint"),
    ("501", 501, {}, b"", STOP, "endpoint"),
    ("408", 408, {}, b"", RETRY, "server"),
    ("409", 409, {}, b"", RETRY, "server"),
    ("425", 425, {}, b"", RETRY, "server"),
    ("499", 499, {}, b"", RETRY, "server"),
    ("418", 418, {}, b"", FAIL, "bad_request"),
    ("422", 422, {}, {"detail": [{"msg": "field required"}]}, FAIL, "bad_request"),
    ("599", 599, {}, b"", RETRY, "server"),
]  # fmt: skip


def raw(body) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "error_class"),
    [row[1:] for row in ANSWERS],
    ids=[row[0] for row in ANSWERS],
)
def test_an_answer_means_what_the_table_says(status, headers, body, kind, error_class):
    outcome = classify(status, headers, raw(body))

    assert (outcome.kind, outcome.error_class) == (kind, error_class)
    assert outcome.code == status
    assert outcome.message


DANGEROUS = [
    "You exceeded your current quota", "insufficient credits", "out of credits", "Unauthorized", "invalid api key",
    "rate limit reached", "queue is full", "too many requests", "the engine is overloaded", "loading model",
    "try again in 20s", "slow down", "insufficient balance (1008)", "Allocated quota exceeded, please increase your quota limit",
    "The plain HTTP request was sent to HTTPS port", '{"error": {"code": "invalid_api_key"}}', "余额不足",
]  # fmt: skip


def envelopes(message):
    yield {"error": {"message": message, "type": "invalid_request_error", "code": None}}
    yield {"object": "error", "message": message, "type": "BadRequestError", "code": 400}
    yield {"error": message}
    yield {"detail": message}
    yield {"detail": [{"type": "string_type", "loc": ["body", "messages"], "msg": "bad", "input": message}]}
    yield {"detail": [{"type": "value_error", "loc": ["body"], "msg": message, "input": {}}]}
    yield openai("Provider returned error", metadata={"raw": json.dumps(openai(message))})
    yield openai("Provider returned error", metadata={"raw": message})
    yield openai(json.dumps({"error": {"message": message}}))


def quotings(text):
    """As pydantic, f-strings, repr, JSON and truncation show it, and with no quotes at all."""
    yield f"1 validation error for ValidatorIterator\n0.content\n  Input should be text [type=string_type, input_value={text!r}, input_type=str]"
    yield f"messages.0: not allowed here, got '{text}'"
    yield f'messages.0: not allowed here, got "{text}'
    yield f"messages.0: got {json.dumps({'content': text})} which is bad"
    yield f"cannot read {text} as a message"
    yield text


@pytest.mark.parametrize("text", DANGEROUS)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_a_request_is_its_row_s_failure_whatever_the_prompt_said(status, text):
    for quoted in quotings(text):
        for body in envelopes(quoted):
            if text.startswith("{") and "metadata" in str(body):
                continue  # metadata.raw is a host's whole answer
            outcome = classify(status, {}, raw(body))
            assert outcome.kind is FAIL, (body, outcome)
            assert outcome.error_class in {"bad_request", "too_large"}
        if not quoted.startswith("{"):
            assert classify(status, {}, quoted.encode()).kind is FAIL


@pytest.mark.parametrize("text", DANGEROUS)
@pytest.mark.parametrize(("status", "error_class"), [(403, "forbidden"), (404, "not_found")])
def test_a_quoted_prompt_makes_no_403_and_no_404_wait_or_stop(status, error_class, text):
    for quoted in list(quotings(f" {text} "))[:4]:
        for body in (
            openai(quoted),
            {"error": quoted},
            {"detail": quoted},
            {"status": "error", "message": quoted},
        ):
            outcome = classify(status, {}, raw(body))
            assert (outcome.kind, outcome.error_class) == (FAIL, error_class), body


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_quoted_prompt_in_a_200_is_no_wait_and_no_stop(text):
    for quoted in list(quotings(f" {text} "))[:4]:
        for body in ({"error": quoted}, {"status": "error", "message": quoted}, openai(quoted)):
            assert classify(200, {}, raw(body)).kind in {RETRY, FAIL}, body


def test_only_a_whole_sentence_of_anthropic_s_makes_a_400_a_stop():
    whole = "Your credit balance is too low to access the {} API. Please go to Plans & Billing."

    for name in ("Anthropic", "Claude"):
        assert classify(400, {}, raw(openai(whole.format(name)))).error_class == "quota"
    for other in (
        "Your credit balance is too low",
        f"You said: {whole.format('Claude')}",
        f"bad text '{whole.format('Claude')}'",
        "Your credit balance is too low to access the Apish",
    ):
        assert classify(400, {}, raw(openai(other))).error_class == "bad_request"
    assert classify(422, {}, raw(openai(whole.format("Claude")))).error_class == "bad_request"
    assert classify(500, {}, raw(openai("so: insufficient balance (1008)"))).kind is RETRY
    assert classify(500, {}, raw(openai("insufficient balance (1008) x"))).kind is RETRY


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("You have reached the queue limit", WAIT),
        ("exceeded your rate limit", WAIT),
        ("Concurrency limit reached", WAIT),
        ("the queue is full", WAIT),
        ("the prompt tells of a queue limit", FAIL),
        ("a queue is full", FAIL),
        ("Incorrect API key", STOP),
        ("missing api_key", STOP),
        ("Invalid API keyboard", FAIL),
        ("the invalid api key", FAIL),
    ],
)
def test_modelslab_s_own_sentences_count_in_its_own_envelope_only(message, kind):
    for status in (400, 403, 422):
        assert (
            classify(status, {}, raw({"status": "error", "message": message})).kind is kind or status == 403
        )
        if status != 403:
            assert classify(status, {}, raw(openai(message))).kind is FAIL
    assert classify(413, {}, raw({"status": "error", "message": message})).kind is FAIL


def test_a_row_larger_than_its_limit_a_minute_fails_and_a_smaller_one_waits():
    """Anthropic, 429."""
    said = "This request would exceed your organization's rate limit of 20,000 input tokens per minute."
    body = raw({"type": "error", "error": {"type": "rate_limit_error", "message": said}})

    assert classify(429, {}, body, asked=Asked(20_001)).error_class == "too_large"
    assert classify(429, {}, body, asked=Asked(20_000)).kind is WAIT
    assert classify(429, {}, body).kind is WAIT


@pytest.mark.parametrize(
    ("message", "too_much"),
    [
        ("Limit 30000, Requested 40000", True),
        ("Limit: 30,000 / Requested: 40,000", True),
        ("limit 30000, requested 30000", False),
        ("Limit 30000, Used 29999, Requested 2", False),
        ("Limit 30000, Used 10, Requested 40000", True),
        ("Limit 9, Requested 10", True),
        ("no numbers", False),
    ],
)
def test_requested_and_limit_are_compared_as_numbers(message, too_much):
    assert wordings.asks_too_much(message, 0) is too_much


def test_a_refused_format_counts_only_where_one_was_asked_for():
    said = raw(openai("Invalid schema for response_format 'answer'"))
    named = raw({**openai("no"), "error": {**openai("no")["error"], "param": "response_format"}})
    asked = Asked(options=frozenset({"response_format", "model"}))

    assert classify(400, {}, said).error_class == "bad_request"
    assert classify(400, {}, said, asked=asked).error_class == "response_format"
    assert classify(422, {}, said, asked=asked).after == "no_success"
    assert classify(500, {}, said, asked=asked).error_class == "server"
    assert classify(400, {}, named).error_class == "response_format"
    assert classify(400, {}, raw(openai("nothing of it")), asked=asked).error_class == "bad_request"
    for option in ("guided_json", "grammar", "json_schema", "structured_outputs"):
        assert (
            classify(400, {}, said, asked=Asked(options=frozenset({option}))).error_class == "response_format"
        )


@pytest.mark.parametrize(
    ("fault", "kind", "error_class", "after"),
    [
        ("connect", PAUSE, "connection", "no_success"),
        ("timeout_connect", PAUSE, "connection", "no_success"),
        ("dns", PAUSE, "connection", "no_success"),
        ("reset", RETRY, "connection", ""),
        ("payload", RETRY, "connection", ""),
        ("timeout_idle", RETRY, "timeout", ""),
        ("timeout_total", RETRY, "timeout", ""),
        ("tls", STOP, "tls", ""),
        ("tls_expected", STOP, "tls", ""),
        ("invalid_url", STOP, "invalid_url", ""),
        ("too_large", FAIL, "too_large", ""),
        ("local", WAIT, "local", ""),
    ],
)
def test_a_transport_fault_means_what_the_table_says(fault, kind, error_class, after):
    outcome = classify(None, {}, b"", TransportFault(fault, "what the library said"))

    assert (outcome.kind, outcome.error_class, outcome.after, outcome.code) == (
        kind,
        error_class,
        after,
        None,
    )
    assert outcome.message.startswith("what the library said")
    assert outcome.wait_s == (1.0 if fault == "local" else None)


@pytest.mark.parametrize(
    ("body", "status", "remedy"),
    [
        (b"Client sent an HTTP request to an HTTPS server.", 400, "server. The server speaks TLS: write https:// in base_url."),
        (raw(google(429, "gone.", "RESOURCE_EXHAUSTED", quota("PerDay"))), 429, "gone. It is a quota by the day (Google's begin anew at midnight Pacific time, OpenRouter's in UTC)."),
        (raw({**openai("no"), "error": {"message": "no", "param": "response_format"}}), 400, "no. To ask without it: schema_mode json_object, or prompt."),
        (raw(openai("x" * 5_000, param="response_format")), 400, "x. To ask without it: schema_mode json_object, or prompt."),
    ],
)  # fmt: skip
def test_a_remedy_follows_the_message(body, status, remedy):
    message = classify(status, {}, body).message

    assert message.endswith(remedy)
    assert len(message) <= MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("status", "after"),
    [(404, "no_success"), (403, "row_streak"), (400, "first_rows"), (422, "first_rows"), (413, "")],
)
def test_what_may_stop_the_run_later_says_after_what(status, after):
    assert classify(status, {}, b"").after == after


@pytest.mark.parametrize(
    ("headers", "message", "wait_s"),
    [
        ({"Retry-After": "20"}, "", 20.0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, "", 1.5),
        ({}, "Please try again in 9m38.016s.", 578.016),
        ({}, "Please retry after 12 seconds.", 12.0),
        ({"Retry-After": "soon"}, "", None),
        ({"Retry-After": "-1"}, "", None),
        ({"Retry-After": "0"}, "", 0.0),
    ],
)
def test_the_wait_comes_from_the_headers_else_from_the_message(headers, message, wait_s):
    assert classify(429, headers, raw(openai(message))).wait_s == wait_s


def test_x_should_retry_is_obeyed_between_retry_and_fail_only():
    assert classify(400, {"x-should-retry": "true"}, b"").kind is RETRY
    assert classify(500, {"x-should-retry": "false"}, b"").kind is FAIL
    assert classify(401, {"x-should-retry": "true"}, b"").kind is STOP
    assert classify(429, {"x-should-retry": "false"}, b"").kind is WAIT


def test_a_message_shows_no_key_and_no_control_characters():
    body = raw(openai("bad key sk-abcdefghijklmnop\x1b[31m \u202egnp.exe", code="sk-abcdefghijklmnop\x1b"))

    outcome = classify(401, {}, body)

    for text in (outcome.message, outcome.cause):
        assert "sk-abc" not in text
        assert text.isprintable()
    assert "sk-abc" not in outcome.error_raw


def test_a_message_that_echoes_the_prompt_is_cut():
    outcome = classify(400, {}, raw(openai("x" * 100_000, code="c")))

    assert len(outcome.message) == MAX_MESSAGE_CHARS
    assert json.loads(outcome.error_raw)["code"] == "c"


def test_the_provider_s_own_words_are_kept_beside_ours():
    outcome = classify(400, {}, raw(openai("no", type_="t", code="c")))

    assert json.loads(outcome.error_raw) == {"type": "t", "code": "c", "param": None, "message": "no"}
    assert outcome.cause == "c"
    assert classify(400, {}, b"").error_raw is None
    assert classify(400, {}, raw(openai("no", code="c" * 3_000))).error_raw is None


def test_every_line_of_the_table_is_explained():
    assert [line.evidence for line in TABLE] == [one[0] for one in explained()[-len(TABLE) :]]
    assert all(row[0] and row[1] and row[3] for row in explained())
    assert len({line.evidence for line in TABLE}) == len(TABLE)
    assert [row[1:3] for row in explained()[:3]] == [("OK", ""), ("OK", ""), ("FAIL", "dimensions")]


def test_every_line_but_the_last_is_what_some_answer_of_these_tests_means():
    lines = {judged(status, headers, raw(body))[0].evidence for _, status, headers, body, *_ in ANSWERS}
    said = raw(openai("", param="response_format"))
    lines.add(judged(400, {}, said)[0].evidence)
    for status, code in ((429, "resource_unavailable"), (400, "unsupported_value")):
        refused = raw(openai("", code=code, param="service_tier"))
        lines.add(judged(status, {}, refused, asked=Asked(tier="flex"))[0].evidence)
    faults = "connect dns reset timeout_idle tls tls_expected invalid_url too_large local".split()
    lines |= {judged(None, {}, b"", TransportFault(fault, ""))[0].evidence for fault in faults}

    assert {line.evidence for line in TABLE} - lines == {TABLE[-1].evidence}


@given(
    status=st.one_of(st.none(), st.integers(100, 999)),
    headers=st.dictionaries(
        st.sampled_from(
            ["retry-after", "Retry-After", "x-should-retry", "retry-after-ms", "date", "location"]
        ),
        st.text(),
    ),
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["error", "code", "type", "message", "status", "x"]), inner)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_answer_however_strange_raises(status, headers, body):
    fault = TransportFault("reset", "") if status is None else None

    outcome = classify(status, headers, body, fault)

    assert outcome.kind is not OutcomeClass.OK
    assert outcome.wait_s is None or outcome.wait_s >= 0


@pytest.mark.parametrize(
    "body",
    [b"Ollama is running", b'{"version": "0.5"}', b"{}", b"[]", b"null", b"<html><title>x</title></html>"],
)
def test_a_200_of_something_else_tells_of_a_wrong_address_and_shows_what_came(body):
    outcome = classify(200, {}, body)

    assert (outcome.kind, outcome.error_class, outcome.after) == (RETRY, "invalid_response", "wrong_address")
    assert body.decode() in outcome.message or "x" in outcome.message


@pytest.mark.parametrize(
    "body", [b"", b'{"choices": []}', b'{"choices": nu', b'{"object": "x", "usage": {}}']
)
def test_a_200_that_is_begun_as_an_answer_does_not(body):
    assert classify(200, {}, body).after == ""


def test_a_limit_by_the_day_stops_unless_it_says_how_long():
    """OpenRouter's free models; OpenAI's requests per day come back one by one."""
    by_the_day = openai("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more", code=429)
    rolling = openai("Rate limit reached on requests per day (RPD): Limit 200. Please try again in 7m12s.")

    assert classify(429, {}, json.dumps(by_the_day).encode()).kind is STOP
    assert classify(429, {}, json.dumps(rolling).encode()).kind is WAIT
    assert classify(429, {"Retry-After": "5"}, json.dumps(by_the_day).encode()).kind is WAIT


NO_ROOM = openai("Resource Unavailable", type_="resource_unavailable", code="resource_unavailable")
UNSUPPORTED = openai("Unsupported service_tier: flex", code="unsupported_value", param="service_tier")


@pytest.mark.parametrize(
    ("by", "status", "body", "kind", "error_class"),
    [
        ("OpenAI", 429, NO_ROOM, WAIT, "no_room"),
        ("OpenAI, by its words", 429, openai("Resource Unavailable. Try again later."), WAIT, "no_room"),
        ("Groq", 498, openai("Flex tier capacity exceeded.", code="capacity_exceeded"), WAIT, "no_room"),
        ("Gemini", 503, google(503, "The model is overloaded.", "UNAVAILABLE"), WAIT, "no_room"),
        (
            "OpenAI, a limit",
            429,
            openai("Rate limit reached", code="rate_limit_exceeded"),
            WAIT,
            "rate_limit",
        ),
        ("OpenAI, no such tier", 400, UNSUPPORTED, FAIL, "tier"),
        ("Azure", 400, openai("The model 'gpt' does not support service_tier flex."), FAIL, "tier"),
        ("a quoted prompt", 400, openai("Bad text: 'which service_tier is best?'"), FAIL, "bad_request"),
    ],
)
def test_refusals_of_a_tier_are_told_from_those_of_a_row(by, status, body, kind, error_class):
    flex = classify(status, {}, raw(body), asked=Asked(tier="flex"))

    assert (flex.kind, flex.error_class) == (kind, error_class), by
    assert classify(status, {}, raw(body)).error_class not in {"no_room", "tier"}

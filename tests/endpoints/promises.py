"""What each kind of fault is to send, written down beside the simulator, not taken from it.

name → (status, what must be in the bytes, what must not be). Where a plain and a streamed answer differ,
`PLAIN` and `STREAMED` have more.
"""

from __future__ import annotations

GOOD = b'"finish_reason": "stop"'
DONE = b"data: [DONE]"

ANY: dict[str, tuple[int, tuple[bytes, ...], tuple[bytes, ...]]] = {
    # statuses
    "http_400": (400, (b'"code": "invalid_value"',), (GOOD,)),
    "http_401": (401, (b'"code": "invalid_api_key"',), ()),
    "http_402": (402, (b"Payment required",), ()),
    "http_403": (403, (b"does not have access",), ()),
    "http_403_html": (403, (b"text/html", b"<title>Access denied"), ()),
    "http_404": (404, (b'"code": "model_not_found"',), ()),
    "http_408": (408, (), ()),
    "http_409": (409, (), ()),
    "http_413": (413, (), ()),
    "http_204": (204, (), (b"Content-Length", b"Content-Type")),
    "redirect": (307, (b"Location: http://127.0.0.1:9/elsewhere",), ()),
    "http_500": (500, (b'"type": "server_error"',), ()),
    "http_500_far": (500, (b"Retry-After: 1209600\r\n",), ()),
    "http_502_html": (502, (b"text/html",), ()),
    "http_503": (503, (), ()),
    "overloaded": (503, (b'"code": "overloaded"',), ()),
    "http_504_html": (504, (b"text/html",), ()),
    "http_520_html": (520, (b"text/html",), ()),
    "http_524_html": (524, (b"text/html",), ()),
    "http_529": (529, (b"overloaded_error",), ()),
    "capacity_498": (498, (b'"code": "capacity_exceeded"',), ()),
    "loading_404": (404, (b"loading", b"try again in 1s"), ()),
    "loading_421": (421, (b"loading", b"try again in 1 seconds"), ()),
    "loading_423": (423, (b"loading", b"Retry-After: 1\r\n"), ()),
    "loading_424": (424, (b"loading", b"try again in 1 second"), ()),
    "loading_503": (503, (b"Model sim is currently loading", b'"estimated_time": 1.0'), ()),
    "loading_503_llama": (503, (b"Loading model", b"unavailable_error", b'"code": 503'), ()),
    # limits
    "rate_limit": (429, (b'"code": "rate_limit_exceeded"',), (b"etry-",)),
    "rate_limit_retry_after": (429, (b"Retry-After: 1\r\n",), ()),
    "rate_limit_date": (429, (b"Retry-After: Wed, 01 Jan 2020 00:00:00 GMT\r\n",), ()),
    "rate_limit_ms": (429, (b"retry-after-ms: 200\r\n",), ()),
    "rate_limit_zero": (429, (b"Retry-After: 0\r\n",), ()),
    "rate_limit_huge": (429, (b"Retry-After: 1000000000\r\n",), ()),
    "insufficient_quota": (429, (b'"code": "insufficient_quota"',), ()),
    "in_flight_budget": (402, (b"in_flight_budget", b"Retry-After: 1\r\n"), ()),
    "too_large": (429, (b"Limit 30000, Requested 40000",), ()),
    "too_large_413": (413, (b"Limit 10000, Requested 21247",), ()),
    "too_large_organization": (429, (b"your organization's rate limit of ", b" input tokens per minute"), ()),
    "organization_limit": (429, (b"rate limit of 2,000,000 input tokens per minute",), ()),
    "google_exhausted": (429, (b'[{"error": ', b'"status": "RESOURCE_EXHAUSTED"'), (b"details",)),
    "google_retry_info": (
        429,
        (b"google.rpc.RetryInfo", b'"retryDelay": "1.2s"', b"plan and billing"),
        (b"QuotaFailure",),
    ),
    "google_per_minute": (
        429,
        (b"QuotaFailure", b"PerMinute", b'"retryDelay": "1s"', b"plan and billing"),
        (b"PerDay",),
    ),
    "google_per_day": (429, (b"QuotaFailure", b"PerDay", b'"retryDelay": "41s"'), (b"PerMinute",)),
    "google_in_a_string": (429, (rb"\"status\": \"RESOURCE_EXHAUSTED\"", rb"\"retryDelay\": \"1s\""), ()),
    "resource_unavailable": (429, (b'"code": "resource_unavailable"',), ()),
    # too long
    "context_length": (400, (b'"code": "context_length_exceeded"',), ()),
    "context_openai_input": (400, (b"Input tokens exceed the configured limit of 272000",), ()),
    "context_vllm": (400, (b'{"object": "error"', b"However, you requested 122946 tokens"), ()),
    "context_vllm_decoder": (400, (b"The decoder prompt (length 10127) is longer than",), ()),
    "context_vllm_only": (400, (b"context length is only 40960 tokens", b'"code": 400'), ()),
    "context_sglang": (400, (b"is longer than the model's context length (40960 tokens)",), ()),
    "context_sglang_allowed": (400, (b"exceeds the maximum allowed length (59862 tokens)",), ()),
    "context_tgi": (
        422,
        (b"`inputs` tokens + `max_new_tokens` must be <= 4096", b'"error_type": "validation"'),
        (),
    ),
    "context_llama_cpp": (400, (b"exceed_context_size_error", b'"n_ctx": 8192'), ()),
    "context_anthropic": (400, (b"prompt is too long: 214336 tokens > 200000 maximum",), (b'"code"',)),
    "context_gemini": (400, (b"The input token count (1091639) exceeds", b"INVALID_ARGUMENT"), ()),
    "context_xai": (400, (b"maximum prompt length is 131072", b'"code": "Client specified'), ()),
    "context_dashscope": (400, (b"Range of input length should be [1, 204800]",), ()),
    "context_moonshot": (400, (b"exceeded model token limit: 262144",), (b'"code"',)),
    "context_groq": (400, (b"Please reduce the length of the messages", b"context_length_exceeded"), ()),
    "context_deepseek": (
        400,
        (b"131134 tokens (122942 in the messages", b'"code": "invalid_request_error"'),
        (),
    ),
    # not wanted
    "content_filter": (400, (b'"code": "content_filter"',), ()),
    "filter_azure": (
        400,
        (b'"code": "content_filter"', b"ResponsibleAIPolicyViolation", b"content_filter_result"),
        (),
    ),
    "filter_azure_inner": (400, (b'"code": null', b"ResponsibleAIPolicyViolation"), ()),
    "filter_deepseek": (400, (b"Content Exists Risk",), ()),
    "filter_dashscope": (400, (b'"code": "data_inspection_failed"',), ()),
    "filter_dashscope_algo": (400, (b'"code": "DataInspectionFailed"',), ()),
    "filter_zhipu": (400, (b'"code": "1301"', b"contentFilter"), ()),
    "filter_openai": (400, (b'"code": "content_policy_violation"',), ()),
    "filter_xai": (403, (b"Content violates usage guidelines", b"SAFETY_CHECK_TYPE_BIO"), ()),
    "filter_openrouter": (403, (b'"reasons": ["violence"]', b'"flagged_input": "<filter_openrouter>'), ()),
    "filter_403_code": (403, (b'"code": "content_policy_violation"',), ()),
    "quotes_prompt": (400, (b"<quotes_prompt> quota, rate limit, unauthorized",), ()),
    "tier_unsupported": (400, (b"Unsupported service_tier: flex",), ()),
    # under 200
    "queue_full": (200, (b'"status": "error"', b'"messege"', b"queued requests"), ()),
    "status_error": (200, (b'"messege"',), ()),
    "envelope_invalid": (200, (b'{"status": "error", "message": "The messages field is invalid."}',), ()),
    "envelope_fields": (200, (b'"message": {"messages": ["The messages field is required."]}',), ()),
    "envelope_invalid_type": (200, (b'{"error": {"type": "invalid_request_error"',), ()),
    "error_object": (200, (b'{"error": {"message": "upstream failed", "code": 502}}',), ()),
    "wrong_endpoint": (
        200,
        (b'{"error": "Unexpected endpoint or method. (POST /api/v7/llm/chat/completions)"}',),
        (),
    ),
    "html": (200, (b"text/html", b"<title>Maintenance"), ()),
    "raw_text": (429, (b'"raw": "m is temporarily rate-limited upstream',), ()),
    "raw_json": (400, (rb'"raw": "{\"error\": {\"message\": \"Model supports',), ()),
    "raw_context": (400, (rb"context_length_exceeded",), ()),
    "raw_nested": (400, (rb"\\\"code\\\": \\\"context_length_exceeded\\\"",), ()),
    "raw_object": (400, (b'"raw": {"error": {',), ()),
    "raw_in_200": (200, (b'"code": 400', b'"raw": "'), ()),
    "empty_body": (200, (b"Content-Length: 0",), ()),
    "null": (200, (b"\r\n\r\nnull",), ()),
    "no_choices": (200, (), (b"choices", b"usage")),
    "empty_choices": (200, (b'"choices": []',), (b"usage",)),
    "no_choices_billed": (200, (b'"usage": {"prompt_tokens": 5',), (b"choices",)),
    "empty_choices_billed": (200, (b'"choices": []', b'"prompt_tokens": 5'), ()),
    "null_choices_billed": (200, (b'"choices": null', b'"prompt_tokens": 5'), ()),
    "deep_json": (200, (b"[" * 100_000,), (b"]",)),
    "nan": (200, (b'{"choices": NaN}',), ()),
    # strange answers
    "null_content": (200, (b'"content": null',), ()),
    "no_usage": (200, (GOOD,), (b"usage",)),
    "lone_surrogate": (200, (rb"half \ud83d of a pair",), ()),
    "json_fenced": (200, (), ()),
    "json_in_prose": (200, (), ()),
    "json_after_reasoning": (200, (), ()),
    "json_broken": (200, (), ()),
    "json_unfit": (200, (), ()),
    "choice_error": (200, (b'"error": {"code": 502', b'"finish_reason": "error"', b"total_tokens"), (GOOD,)),
    "choice_error_null": (200, (b'"error": {"code": 502', b'"finish_reason": null'), (GOOD,)),
    "choice_error_stop": (200, (b'"error": {"code": 502', GOOD), ()),
    "choice_error_undone": (200, (b'"error": {"code": 502',), (DONE,)),
    "json_as_sse": (200, (b"Content-Type: text/event-stream", b'"object": "chat.completion",'), (b"data:",)),
    "json_as_text": (200, (b"Content-Type: text/plain", b'"object": "chat.completion",'), (b"data:",)),
    "json_untyped": (200, (b'"object": "chat.completion",',), (b"Content-Type", b"data:")),
    "stream_ignored": (
        200,
        (b"Content-Type: application/json", b'"object": "chat.completion",'),
        (b"data:",),
    ),
    "sse_as_json": (200, (b"Content-Type: application/json", b"data: {", DONE), ()),
    "sse_as_text": (200, (b"Content-Type: text/plain", b"data: {", DONE), ()),
    "sse_untyped": (200, (b"data: {", DONE), (b"Content-Type",)),
    "sse_unasked": (200, (b"Content-Type: text/event-stream", b"data: {", DONE), ()),
    "json_then_done": (200, (b"Content-Type: application/json", b"}\n\ndata: [DONE]\n\n"), ()),
    "bom": (200, (b"\xef\xbb\xbf", GOOD), ()),
    "leading_blanks": (200, (b"\n\r\n  \n\n", GOOD), ()),
    "not_utf8": (200, (b"caf\xe9 \xff", GOOD), ()),
    "control_text": (200, (rb"a\u0000b\u001b[31mc" + b"\x7f ", GOOD), ()),
    "thinking_parts": (
        200,
        (
            b'[{"type": "thinking", "thinking": [{"type": "text", "text": "It is',
            b'{"type": "text", "text": "',
        ),
        (),
    ),
    "thinking_text": (200, (b'[{"type": "thinking", "thinking": "It is', b'"signature"'), ()),
    "model_control": (200, (rb'"model": "sim\u0000\u001b[31m' + b"\x7f",), ()),
    "model_surrogate": (200, (rb'"model": "sim-\ud83d"',), ()),
    "id_surrogate": (200, (rb'-\udc00", "object"',), ()),
    "fingerprint_surrogate": (200, (rb'"system_fingerprint": "fp_\ud83d"',), ()),
    "fingerprint_control": (200, (rb'"system_fingerprint": "fp_\u0000\u001b[31m',), ()),
    "fingerprint_bytes": (200, (b'"system_fingerprint": "fp_\xff\xfe"',), ()),
    "fingerprint_number": (200, (b'"system_fingerprint": 7',), ()),
    # usage
    "usage_reasoning_inside": (200, (b'"completion_tokens_details": {"reasoning_tokens": 7}',), ()),
    "usage_reasoning_outside": (200, (b'"completion_tokens_details": {"reasoning_tokens": 7}',), ()),
    "usage_no_total": (200, (b"completion_tokens",), (b"total_tokens",)),
    "usage_in_choice": (200, (b'"finish_reason": "stop", "usage": {"prompt_tokens"',), (b'"}, "usage"',)),
    "usage_x_groq": (200, (b'"x_groq": {"id": "req_0", "usage": {"prompt_tokens"',), (b'], "usage"',)),
    "usage_cached_top_level": (
        200,
        (b'"total_tokens": ', b', "cached_tokens": '),
        (b"prompt_tokens_details",),
    ),
    "usage_cache_hit": (200, (b"prompt_cache_hit_tokens", b"prompt_cache_miss_tokens"), (b"cached_tokens",)),
    "usage_cache_read": (200, (b'"prompt_tokens_details": {"cached_tokens": ',), ()),
    "usage_cache_write": (200, (b'"prompt_tokens_details": {', b'"cache_write_tokens": '), ()),
    "usage_cache_creation": (200, (b"cache_creation_input_tokens", b"cache_read_input_tokens"), ()),
    "usage_every_chunk": (200, (b'"usage": {',), ()),
    "usage_negative": (200, (b'"prompt_tokens": -5',), ()),
    "usage_nan": (200, (b'"prompt_tokens": NaN',), ()),
    "usage_huge": (200, (b'"prompt_tokens": 9223372036854775808',), ()),
    "usage_text": (200, (b'"prompt_tokens": "many"',), ()),
    "usage_list": (200, (b'"usage": [',), ()),
    "usage_empty": (200, (b'"usage": {}',), ()),
    "usage_null": (200, (b'"usage": null',), ()),
    # headers and bytes
    "request_id_latin": (200, (b"x-request-id: caf\xe9-1\r\n", GOOD), ()),
    "request_id_control": (200, (b"x-request-id: req\t1\x1b[31m\x7f\r\n", GOOD), ()),
    "request_id_utf8": (200, (b"x-request-id: r\xc3\xa9q-", GOOD), ()),
    "bad_gzip": (200, (b"Content-Encoding: gzip", b"this is not gzip"), ()),
    "gzip_bomb": (200, (b"Content-Encoding: gzip", b"\x1f\x8b"), ()),
    "huge_body": (200, (b"y" * 1_000_000,), ()),
    "answer_twice": (200, (GOOD,), ()),
    "late_408": (200, (GOOD,), ()),
    "drip": (200, (), ()),
    "reset_body": (200, (b"Content-Length: 4096",), ()),
}

# § 1 of the list of what services say: the words that end an answer
WORDS = """
length max_tokens MAX_TOKENS model_length model_context_window_exceeded
content_filter SAFETY RECITATION PROHIBITED_CONTENT BLOCKLIST SPII sensitive content_filtered guardrail refusal
error abort aborted network_error insufficient_system_resource cancelled unknown_error
stop end_turn STOP eos eos_token stop_sequence tool_calls function_call tool_use
COMPLETE pause_turn repetition_truncation because
""".split()
ANY |= {f"finish_{word}": (200, (f'"finish_reason": "{word}"'.encode(),), ()) for word in WORDS}
ANY["finish_null"] = (200, (b'"finish_reason": null',), (GOOD,))

# only what is streamed is hit
STREAMED: dict[str, tuple[int, tuple[bytes, ...], tuple[bytes, ...]]] = {
    "single_newlines": (200, (b"}\ndata: {",), (b"\n\n",)),
    "stream_held": (200, (GOOD, b"total_tokens", DONE), ()),
    "stream_held_undone": (200, (GOOD, b"total_tokens"), (DONE,)),
    "stream_reset": (200, (GOOD, b"total_tokens", DONE), ()),
    "stream_reset_undone": (200, (GOOD, b"total_tokens"), (DONE,)),
    "stream_no_last_chunk": (200, (GOOD, DONE, b"Connection: close"), ()),
    "stream_pings": (200, (GOOD, DONE, b": ping\n\n"), ()),
    "stream_undone": (200, (GOOD, b"total_tokens"), (DONE,)),
    "stream_unfinished": (200, (b'"delta": {"content": ',), (GOOD, b"total_tokens", DONE)),
    "stream_empty": (200, (b'"choices": []', b"total_tokens", DONE), (GOOD, b"delta")),
    "stream_comments": (200, (b": OPENROUTER PROCESSING\n\n: keep-alive\n\n", GOOD), ()),
    "stream_crlf": (200, (b"}\r\n\r\ndata: {", DONE), (b"}\n",)),
    "cut_stream": (200, (b"data: {",), (GOOD, DONE, b"total_tokens")),
    "error_event": (
        200,
        (b'data: {"error": {"message": "upstream failed", "code": 502}}\n\n', DONE),
        (GOOD,),
    ),
    "stream_options_extra": (422, (b'"type": "extra_forbidden"', b'["body", "stream_options"]'), ()),
    "stream_options_wrapped": (422, (b'{"object": "error"', b'"extra_forbidden"'), ()),
    "stream_options_argument": (400, (b"Unrecognized request argument supplied: stream_options",), ()),
    "stream_options_unknown": (400, (b'"code": "unknown_parameter"', b'"param": "stream_options"'), ()),
    "stream_options_pointer": (400, (b"Validation error at #/stream_options: Extra inputs",), ()),
    "stream_options_property": (400, (b"property 'stream_options' is unsupported",), ()),
    "stream_options_param": (400, (b'"message": "Invalid parameter."', b'"param": "stream_options"'), ()),
}
_MIDDLE = {
    "sse_error_field": b'\n\nerror: {"code": 500, "message": "failed to decode',
    "sse_error_event": b'\n\nevent: error\ndata: {"type": "error", "error": {',
    "stream_error_object": b'\n\ndata: {"object": "error", "message": "the engine died',
    "stream_error_envelope": b'\n\ndata: {"error": {"message": "upstream failed", "type": "server_error"',
    "stream_error_flat": b'\n\ndata: {"message": "the engine died while it wrote", "type": "InternalServerError"',
    "stream_error_text": b'\n\ndata: {"error": "an error was encountered"}',
}
STREAMED |= {name: (200, (said, DONE), (GOOD, b"total_tokens")) for name, said in _MIDDLE.items()}
STREAMED |= {f"{name}_undone": (200, (said,), (GOOD, DONE)) for name, said in _MIDDLE.items()}

_ARGUMENTS = (b"call_weather_1", b"call_clock_2", b'"name": "weather"', b'"name": "clock"')
for _name in (
    "usual",
    "in_turns",
    "one_index",
    "one_index_whole",
    "no_index",
    "no_index_pieces",
    "no_index_ids",
):
    ANY[f"tools_{_name}"] = (200, (*_ARGUMENTS, b'"finish_reason": "tool_calls"', b"total_tokens"), ())

PLAIN: dict[str, tuple[int, tuple[bytes, ...], tuple[bytes, ...]]] = {
    name: (200, (said.partition(b"data: ")[2] or b'{"error": {"code": 500',), (GOOD, DONE))
    for name, said in _MIDDLE.items()
}
PLAIN |= {f"{name}_undone": promise for name, promise in PLAIN.items()}
PLAIN |= dict.fromkeys(
    ("cut_stream", "error_event"), (200, (b"Content-Length: 4096", b'{"id": "cut'), (GOOD,))
)

NOTHING = ("reset", "hang")  # not a byte comes

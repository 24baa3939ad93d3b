"""What must become of a row, for each kind of fault: batchlab's answer to all that the simulator can send.

    python -m tests.proofs.simulator.verdicts [--only KIND ...]

Runs the real thing against the simulator, plain and streamed: first every kind that concerns one row, in
one run with good rows between them, then each that must end the run, in a run of its own. Prints a line for
each row that ended otherwise, and ends with 1 if there was one.

Verdicts: `ok`, `empty` (ok without a text), `truncated`, `filtered`, `again` (the fault strikes once, then
the row is ok), an error class (the row fails with it), `stop`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import batchlab
from batchlab.endpoints.simulator import FAULTS
from batchlab.endpoints.simulator.faults.table import FAMILIES
from tests.conftest import CANARY, simulating
from tests.endpoints.promises import PLAIN, STREAMED
from tests.proofs.arguments import Option, ended, options

_KINDS = {
    "ok": """
        no_usage lone_surrogate json_fenced json_in_prose json_after_reasoning json_broken json_unfit
        json_as_sse json_as_text json_untyped stream_ignored sse_as_json sse_as_text sse_untyped sse_unasked
        json_then_done bom leading_blanks not_utf8 control_text thinking_parts thinking_text
        model_control model_surrogate id_surrogate fingerprint_surrogate fingerprint_control fingerprint_bytes
        fingerprint_number request_id_latin request_id_control request_id_utf8 answer_twice late_408 drip
        single_newlines stream_held stream_held_undone stream_reset stream_reset_undone stream_no_last_chunk
        stream_pings stream_undone stream_comments stream_crlf
        tools_usual tools_in_turns tools_one_index tools_one_index_whole tools_no_index tools_no_index_pieces
        tools_no_index_ids
        finish_stop finish_end_turn finish_STOP finish_eos finish_eos_token finish_stop_sequence
        finish_tool_calls finish_function_call finish_tool_use finish_null
        finish_COMPLETE finish_pause_turn finish_repetition_truncation finish_because
    """,
    "empty": "null_content",
    "truncated": """
        finish_length finish_max_tokens finish_MAX_TOKENS finish_model_length finish_model_context_window_exceeded
    """,
    "filtered": """
        finish_content_filter finish_SAFETY finish_RECITATION finish_PROHIBITED_CONTENT finish_BLOCKLIST
        finish_SPII finish_sensitive finish_content_filtered finish_guardrail finish_refusal
    """,
    "again": """
        http_408 http_409 http_500 http_502_html http_503 overloaded http_504_html http_520_html http_524_html
        http_529 capacity_498 loading_404 loading_421 loading_423 loading_424 loading_503 loading_503_llama
        rate_limit rate_limit_retry_after rate_limit_date rate_limit_ms rate_limit_zero in_flight_budget
        organization_limit google_exhausted google_retry_info google_per_minute google_in_a_string
        resource_unavailable queue_full status_error error_object wrong_endpoint html raw_text empty_body null
        no_choices empty_choices no_choices_billed empty_choices_billed null_choices_billed deep_json nan
        choice_error choice_error_null choice_error_stop choice_error_undone
        finish_error finish_abort finish_aborted finish_network_error finish_insufficient_system_resource
        finish_cancelled finish_unknown_error
        cut_stream error_event stream_unfinished stream_empty reset reset_body hang bad_gzip
    """,
    "bad_request": """
        http_400 quotes_prompt envelope_invalid envelope_fields envelope_invalid_type raw_json raw_object
        raw_in_200 tier_unsupported
    """,
    "too_large": "http_413 too_large too_large_413 too_large_organization gzip_bomb huge_body",
    "invalid_response": "http_204",
    "forbidden": "http_403 http_403_html",
    "context_length": "raw_context raw_nested",
    "content_filter": "content_filter",
    "stop": "http_401 http_402 http_404 redirect insufficient_quota google_per_day rate_limit_huge http_500_far",
}
VERDICTS = {kind: verdict for verdict, kinds in _KINDS.items() for kind in kinds.split()}
BETWEEN = 15  # good rows after each bad one: an endpoint that fails often is taken for down
_BEGINNINGS = {
    "usage_": "ok",
    "context_": "context_length",
    "filter_": "content_filter",
    "sse_error_": "again",
    "stream_error_": "again",
    "stream_options_": "again",
}
VERDICTS |= {
    kind: verdict
    for kind in FAULTS
    for beginning, verdict in _BEGINNINGS.items()
    if kind.startswith(beginning) and kind not in VERDICTS
}


def applies(kind: str, *, stream: bool) -> bool:
    """Whether a kind is anything to a plain, or a streamed, answer."""
    if kind == "tier_unsupported":  # no row here asks for a tier
        return False
    return stream or kind not in STREAMED or kind in PLAIN


def ran(base_url: str, rows: list[str], *, stream: bool, **more) -> tuple[list[dict], str | None]:
    """The rows of a run, as its output has them, and why it stopped."""
    with tempfile.TemporaryDirectory(prefix="verdicts-") as folder:
        home = Path(folder)
        (home / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
        summary = batchlab.run(
            input=str(home / "in.jsonl"),
            model="sim",
            prompt="{text}",
            base_url=base_url,
            api_key_env="SIMULATOR_KEY",
            run_dir=str(home / "run"),
            output=str(home / "out.jsonl"),
            progress="none",
            deadline="40s",
            stream=stream,
            **more,
        )
        lines = (home / "out.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], summary.stopped


def found(row: dict, *, hit: int) -> str:
    """The verdict that a row of the output is."""
    if row["status"] == "failed":
        return str(row["error_class"])
    if row["status"] != "ok":
        return str(row["status"])
    if hit and row["attempts"] > 1:
        return "again"
    return "empty" if row["error_class"] == "empty" else "ok"


def wrong_rows(kinds: list[str], *, stream: bool) -> list[str]:
    """The kinds that concern one row, all in one run."""
    kinds = [kind for kind in kinds if VERDICTS[kind] != "stop" and applies(kind, stream=stream)]
    if not kinds:
        return []
    faults = [
        {"kind": kind, "rows": [f"<{kind}>"], "times": 1 if VERDICTS[kind] == "again" else 0}
        for kind in kinds
    ]
    rows = [f"good {n}" for n in range(BETWEEN)]
    for kind in kinds:
        rows += [f"<{kind}>", *(f"good {kind} {n}" for n in range(BETWEEN))]
    try:
        with simulating(faults=faults, hang_s=8.0) as server:
            answered, stopped = ran(
                server.base_url, rows, stream=stream, concurrency=4, timeout=5, max_attempts=3
            )
    except Exception as error:  # noqa: BLE001 - a run that ends so is what is looked for; halves name the kind
        if len(kinds) == 1:
            return [f"{kinds[0]}: the run ended with {type(error).__name__}: {error}"]
        half = len(kinds) // 2
        return [*wrong_rows(kinds[:half], stream=stream), *wrong_rows(kinds[half:], stream=stream)]
    left = sum(row["status"] == "pending" for row in answered)
    wrong = [f"the run stopped ({stopped}) with {left} rows pending"] if stopped or left else []
    for text, row in zip(rows, answered, strict=True):
        kind = text[1:-1] if text.startswith("<") else ""
        got, want = found(row, hit=bool(kind)), VERDICTS.get(kind, "ok")
        # waiting uses up no attempt; what is pending was said already
        if got != "pending" and got != want and not (want == "again" and got == "ok"):
            wrong.append(f"{text.strip('<>')}: {got}, not {want}: {row['error_message']}")
    return wrong


def wrong_stops(kinds: list[str], *, stream: bool) -> list[str]:
    """The kinds that must end a run, each in its own: after two good rows it strikes for ever."""
    wrong = []
    for kind in [kind for kind in kinds if VERDICTS[kind] == "stop"]:
        fault = {"kind": kind, "rows": ["bad"], "times": 0}
        with simulating(faults=[fault]) as server:
            rows = ["good 1", "good 2", *(f"bad {n}" for n in range(4))]
            answered, stopped = ran(server.base_url, rows, stream=stream, concurrency=1)
        states = [row["status"] for row in answered]
        if stopped in (None, "deadline") or states[:2] != ["ok", "ok"] or "pending" not in states:
            wrong.append(f"{kind}: {stopped}, {states}")
    return wrong


def main() -> None:
    """Prints a line a family of faults; exits with 1 when a row ended otherwise."""
    kinds = options(__doc__, only=Option(choices=FAULTS, many=True)).only
    os.environ["SIMULATOR_KEY"] = CANARY
    wrong: list[str] = []
    for stream in (False, True):
        for family, members in FAMILIES.items():
            chosen = [kind for kind in members if not kinds or kind in kinds]
            began_s = time.monotonic()
            found = [*wrong_rows(chosen, stream=stream), *wrong_stops(chosen, stream=stream)]
            how, took = "streamed" if stream else "plain", f"{time.monotonic() - began_s:.0f} s"
            print(f"{family}, {how}: {len(chosen)} kinds, {took}; {len(found)} ended otherwise", flush=True)
            wrong += [f"{how}: {one}" for one in found]
    ended(wrong)


if __name__ == "__main__":
    main()

"""The lines of a batch file's output, for readers of the Batch API and of `vllm run-batch`."""

from __future__ import annotations

import dataclasses
import json

import pyarrow as pa
import pytest
from openai.types.chat import ChatCompletion

from batchlab.looking.export import Target, export_tables
from batchlab.protocol.chat import parse_reply
from batchlab.records import Completion, Failure, Timing
from batchlab.store.parts import with_results

# a reply as OpenAI's API reference shows one, with the parts that other services add
REPLY = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "gpt-4.1-2025-04-14",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello! \U0001f600 \u2028",
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"town":"Ö"}'},
                    }
                ],
                "reasoning_content": "He says hello.",
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "cost": 0.00012,
    },
    "system_fingerprint": "fp_1",
}
TIMING = Timing(started_at=1741569952.25, finished_at=1741569953.5, latency_ms=1250.0)


def answered(row: int, reply: dict, custom_id: str = "a", **more) -> Completion:
    return Completion(
        row_id=row, custom_id=custom_id, request_hash=b"h" * 16, status="ok",
        reply=parse_reply(json.dumps(reply).encode()), attempts=1, timing=TIMING, **more,
    )  # fmt: skip


def failed(row: int, error_class: str, code: int | None, custom_id: str = "b") -> Failure:
    return Failure(row, custom_id, error_class, "what went wrong", error_code=code)


def exported(tmp_path, results, *, errors: bool = False, prefix: str = "", own_ids: bool = True):
    """Lines of the file, of the file of errors, and what `export_tables` said."""
    inputs = pa.table({"custom_id" if prefix else "url": ["/v1/chat/completions"] * len(results)})
    target = Target(
        str(tmp_path / "out.jsonl"), "openai-batch", str(tmp_path / "errors.jsonl") if errors else None,
        prefix=prefix, model="asked", own_ids=own_ids,
    )  # fmt: skip
    told = export_tables(target, lambda: iter([with_results(inputs, results, 0, prefix)]))
    names = ["out.jsonl", "errors.jsonl"] if errors else ["out.jsonl"]
    files = [[json.loads(one) for one in (tmp_path / name).read_bytes().splitlines()] for name in names]
    return (*files, told) if errors else (files[0], [], told)


def test_the_answer_is_the_provider_s_own_as_far_as_results_keep_it(tmp_path):
    [line], _, told = exported(tmp_path, [answered(0, REPLY, request_id="req-1")])

    assert line["custom_id"] == "a"
    assert line["error"] is None
    assert (line["response"]["status_code"], line["response"]["request_id"]) == (200, "req-1")
    assert line["response"]["body"] == REPLY
    assert ChatCompletion.model_validate(line["response"]["body"]).choices[0].message.tool_calls
    assert (told.rows, told.failed, told.left_out) == (1, 0, 0)


def test_a_bare_answer_is_still_a_completion_that_the_sdk_reads(tmp_path):
    bare = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    [line], _, _ = exported(tmp_path, [answered(0, bare)])

    body = ChatCompletion.model_validate(line["response"]["body"])
    assert (body.model, body.usage, body.choices[0].message.content) == ("asked", None, "x")
    assert body.id == line["response"]["request_id"] == line["id"]
    assert "tool_calls" not in line["response"]["body"]["choices"][0]["message"]


@pytest.mark.parametrize(
    ("error_class", "code", "status"),
    [("bad_request", 400, 400), ("rate_limit", 429, 429), ("timeout", None, None), ("invalid_response", 200, None)],
)  # fmt: skip
def test_a_failed_row_never_reads_as_a_success(tmp_path, error_class, code, status):
    [line], _, told = exported(tmp_path, [failed(0, error_class, code)])

    assert line["error"] == {"code": error_class, "message": "what went wrong"}
    assert line["custom_id"] == "b"
    if status is None:
        assert line["response"] is None
    else:
        assert line["response"]["status_code"] == status
        assert line["response"]["body"]["error"]["message"] == "what went wrong"
    assert (told.rows, told.failed) == (1, 1)


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (  # OpenAI's
            {"type": "invalid_request_error", "code": "string_above_max_length", "message": "long", "param": "x"},
            {"type": "invalid_request_error", "code": "string_above_max_length", "message": "long", "param": "x"},
        ),
        (  # vLLM's
            {"type": "BadRequestError", "code": 400, "message": "nope", "param": None},
            {"type": "BadRequestError", "code": 400, "message": "nope", "param": None},
        ),
        (  # one that has a code alone
            {"type": None, "code": "1301", "message": None, "param": None},
            {"type": None, "code": "1301", "message": "what went wrong", "param": None},
        ),
        (None, {"type": "bad_request", "code": "bad_request", "message": "what went wrong", "param": None}),
    ],
)  # fmt: skip
def test_a_refusal_is_the_provider_s_own_where_it_said_one(tmp_path, own, kept):
    row = dataclasses.replace(failed(0, "bad_request", 400), error_raw=own and json.dumps(own))
    [line], _, _ = exported(tmp_path, [row], prefix="p_")

    assert line["response"]["body"] == {"error": kept}
    assert line["error"] == {"code": "bad_request", "message": "what went wrong"}


def test_an_answer_has_its_tier_where_the_provider_named_one(tmp_path):
    flex = answered(0, REPLY)
    flex = dataclasses.replace(flex, reply=dataclasses.replace(flex.reply, service_tier="flex"))
    lines, _, _ = exported(tmp_path, [flex, answered(1, REPLY)])

    assert [line["response"]["body"].get("service_tier", "none") for line in lines] == ["flex", "none"]
    assert ChatCompletion.model_validate(lines[0]["response"]["body"]).service_tier == "flex"


def test_errors_go_to_a_file_of_their_own_when_there_is_one(tmp_path):
    (tmp_path / "errors.jsonl").write_text("of an earlier export")
    lines, errors, told = exported(tmp_path, [failed(0, "bad_request", 400), answered(1, REPLY)], errors=True)

    assert [one["custom_id"] for one in lines] == ["a"]
    assert [one["custom_id"] for one in errors] == ["b"]
    assert (told.rows, told.failed) == (2, 1)
    assert exported(tmp_path, [answered(0, REPLY)], errors=True)[1] == []


def test_rows_without_a_result_have_no_line_and_are_counted(tmp_path):
    lines, _, told = exported(tmp_path, [answered(0, REPLY), None, None])

    assert len(lines) == 1
    assert (told.rows, told.left_out) == (1, 2)


def test_a_line_that_could_not_be_read_has_no_id_and_a_row_s_number_is_one(tmp_path):
    unread = failed(0, "bad_input", None, custom_id="0")

    assert exported(tmp_path, [unread])[0][0]["custom_id"] is None
    assert exported(tmp_path, [unread], own_ids=False)[0][0]["custom_id"] == "0"


def test_ids_of_lines_differ_and_stay_the_same_in_the_next_export(tmp_path):
    results = [answered(0, REPLY), answered(1, REPLY, "c"), failed(2, "timeout", None)]
    ids = [line["id"] for line in exported(tmp_path, results)[0]]

    assert len(set(ids)) == 3
    assert ids == [line["id"] for line in exported(tmp_path, results)[0]]


def test_a_prefix_of_the_result_columns_changes_no_line(tmp_path):
    assert exported(tmp_path, [answered(0, REPLY)]) == exported(tmp_path, [answered(0, REPLY)], prefix="out_")


def test_a_number_past_64_bits_in_a_provider_s_usage_is_written_whole(tmp_path):
    reply = {**REPLY, "usage": {**REPLY["usage"], "id": 2**70}}

    assert exported(tmp_path, [answered(0, reply)])[0][0]["response"]["body"]["usage"]["id"] == 2**70


def test_an_export_that_fails_half_way_leaves_the_old_files(tmp_path):
    exported(tmp_path, [answered(0, REPLY)], errors=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    table = with_results(pa.table({"url": ["x"]}), [failed(0, "timeout", None)], 0, "")

    def tables():
        yield table
        raise OSError(5, "the disk is gone")

    with pytest.raises(OSError, match="gone"):
        export_tables(
            Target(str(tmp_path / "out.jsonl"), "openai-batch", str(tmp_path / "errors.jsonl")), tables
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_error_inside_a_200_keeps_the_provider_s_own_words(tmp_path):
    """There is no response to show it in: a reader takes a status of 200 for an answer."""
    own = {"type": "invalid_request_error", "code": "bad_value", "message": "no", "param": "messages"}
    inside = dataclasses.replace(failed(0, "bad_request", 200), error_raw=json.dumps(own))

    (said, silent), *_ = exported(tmp_path, [inside, failed(1, "timeout", None)])

    assert (said["response"], said["error"]["code"], said["error"]["provider"]) == (None, "bad_request", own)
    assert silent["error"] == {"code": "timeout", "message": "what went wrong"}

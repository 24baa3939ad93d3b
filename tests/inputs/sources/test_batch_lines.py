"""Lines of a batch file: what is sent for them, and what is refused before anything is."""

from __future__ import annotations

import json

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.inputs.plan import plan_input
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from

MESSAGES = [{"role": "user", "content": "hi"}]


def line(custom_id="a", **more) -> dict:
    body = {"model": "m", "messages": MESSAGES}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def planned(tmp_path, lines, **job):
    path = tmp_path / "requests.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    made = job_from({"input": {"path": str(path), **job.pop("input", {})}, **job})
    return plan_input(made, open_source(str(path)))


def said(result) -> list[str]:
    return [str(problem).partition("/requests.jsonl")[2] for problem in result.problems]


BODIES = [
    '{"messages":[{"content":"hi","role":"user"}],"model":"m"}',
    '{"model":"m","messages":[{"role":"user","content":null}],"seed":null,"stop":[]}',
    '{"model":"m","messages":[],"seed":9007199254740993,"a":18446744073709551615,"b":-9223372036854775808}',
    '{"model":"m","messages":[],"temperature":0.1,"top_p":1.0,"x":1e-7,"y":-0.0,"z":1.7976931348623157e+308}',
    '{"model":"m","messages":[],"max_tokens":5,"max_completion_tokens":6,"stream":false,"n":1,"é\u2028":"\U0001f600"}',
]


@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_sent_as_it_was_written(tmp_path, body):
    path = tmp_path / "r.jsonl"
    path.write_text(
        f'{{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {body}}}\n', "utf-8"
    )
    source = open_source(str(path))
    result = plan_input(job_from({"input": {"path": str(path)}}), source)
    [row] = source.rows(result.plan.shards[0], result.plan)

    assert result.problems == []
    request = result.ready_builder.build(row)
    assert orjson.dumps(request.body).decode() == body
    assert request.as_written
    assert source.table(result.plan.shards[0], result.plan)["body"].to_pylist() == [body]


def test_a_body_of_a_parquet_struct_has_only_what_its_row_has(tmp_path):
    rows = [
        line("a", body={"model": "m", "messages": [{"role": "user", "content": "x", "name": "n"}]}),
        line("b", body={"model": "m", "messages": [{"role": "user", "content": "y"}], "seed": 1}),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    source = open_source(str(tmp_path / "r.parquet"))
    job = job_from({"input": {"path": str(tmp_path / "r.parquet")}, "request": {"model": "m"}})
    result = plan_input(job, source)

    made = [result.ready_builder.build(row) for row in source.rows(result.plan.shards[0], result.plan)]

    assert [request.body for request in made] == [
        {"messages": [{"content": "x", "name": "n", "role": "user"}], "model": "m"},
        {"messages": [{"content": "y", "role": "user"}], "model": "m", "seed": 1},
    ]
    assert source.table(result.plan.shards[0], result.plan).column_names == ["method", "url", "body"]


def test_the_model_is_that_of_the_body_and_of_the_job_only_where_a_body_names_none(tmp_path):
    lines = [
        line("a"),
        line("b", body={"messages": MESSAGES}),
        line("c", body={"model": "x", "messages": []}),
    ]
    result = planned(tmp_path, lines, request={"model": "m"})

    made = [result.ready_builder.build(row) for row in open_source(str(tmp_path / "requests.jsonl")).rows(
        result.plan.shards[0], result.plan)]  # fmt: skip
    assert [request.model for request in made] == ["m", "m", "x"]
    assert made[1].body == {"messages": MESSAGES, "model": "m"}
    assert result.notes == [
        "the model m is for bodies that name no model: lines that name another are sent as written (1; line 3: x)"
    ]
    assert result.plan.models == ("m", "x")


def test_the_mean_cap_of_the_lines_is_what_an_estimate_uses(tmp_path):
    capped = {"model": "m", "messages": []}
    result = planned(tmp_path, [line(str(cap), body={**capped, "max_tokens": cap}) for cap in (10, 30)])

    assert result.max_tokens == 20
    assert planned(tmp_path, [line("a", body={**capped, "max_tokens": 9}), line("b")]).max_tokens is None


def without(name: str) -> dict:
    return {key: value for key, value in line().items() if key != name}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([line("a"), "", line("b"), "", "", line("a")], ": lines 1 and 6 have the same custom_id. Ids must be unique."),
        ([line("a"), line("b", url="/v1/rerank")], ':2: url is "/v1/rerank"; only /v1/chat/completions, /v1/completions and /v1/embeddings can be sent.'),
        ([line(7)], ":1: custom_id is 7; a line of a batch file has a text there."),
        ([line("a"), without("custom_id")], ":2: custom_id is missing; a line of a batch file has a text there."),
        ([line("a", method="GET")], ':1: method is "GET"; a line of a batch file has "POST".'),
        ([line("a"), line("b", url=None)], ":2: url is missing; only /v1/chat/completions, /v1/completions and /v1/embeddings can be sent."),
        ([line("a", url="/v1/completions")], ":1: body has no prompt."),
        ([line("a", url="/v1/embeddings")], ":1: body has no input."),
        ([line("a", url="/v1/completions", body={"model": "m", "prompt": ["x", "y"]})], ":1: body has 2 prompts, and a row keeps one answer."),
        ([without("method")], ": no 'method'; a line of a batch file has custom_id, method, url, body."),
        ([line("a", body=[1])], ":1: body is not a JSON object."),
        ([line("a", body="{")], ":1: body is not a JSON object."),
        ([line("a", body={"model": "m"})], ":1: body has no messages."),
        ([line("a", body={"messages": []})], ":1: body names no model; pass {request.model=MODEL}."),
        ([line("a", body={"model": "m", "messages": [], "seed": 2**70})], ":1: the request cannot be written as JSON: Integer exceeds 64-bit range."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line_is_one_line_that_names_it(tmp_path, lines, problem):
    assert said(planned(tmp_path, lines)) == [problem]


def test_ten_thousand_lines_for_another_endpoint_are_one_problem(tmp_path):
    result = planned(tmp_path, [line(str(number), url="/v1/responses") for number in range(10_000)])

    only = "only /v1/chat/completions, /v1/completions and /v1/embeddings can be sent"
    assert said(result) == [f':1: url is "/v1/responses"; {only} (9,999 more lines like it).']
    assert result.problem_count == 1


def test_every_pair_of_equal_ids_is_named_up_to_twenty(tmp_path):
    result = planned(tmp_path, [line(str(number % 3)) for number in range(90)])

    assert said(result)[0] == ": lines 1 and 4 have the same custom_id. Ids must be unique."
    assert len(said(result)) == 20


def test_a_malformed_line_moves_no_line_number(tmp_path):
    assert said(planned(tmp_path, ["{", line("a"), line("a")])) == [
        ": lines 2 and 3 have the same custom_id. Ids must be unique."
    ]


@pytest.mark.parametrize(
    ("request_", "named"), [({"system": "S"}, "system"), ({"max_tokens": 5, "seed": 1}, "max_tokens, seed")]
)
def test_what_the_job_would_put_beside_a_body_is_refused_not_dropped(tmp_path, request_, named):
    problems = said(planned(tmp_path, [line()], request=request_))

    [problem] = problems
    assert problem.startswith(f": lines of a batch file are sent as written, and the job sets {named}. Leave")


def test_the_columns_that_come_out_again_have_no_second_custom_id(tmp_path):
    plan = planned(tmp_path, [line(more=1)]).plan

    assert plan.columns == ("custom_id", "method", "url", "body", "more")
    assert plan.schema.names == ["method", "url", "body", "more"]
    assert planned(tmp_path, [line()], output={"prefix": "out_"}).plan.schema.names == list(plan.columns[:4])


@pytest.mark.parametrize(
    ("request_", "more"), [({"prompt": "{url}"}, []), ({}, ["prompt"]), ({}, ["messages"])]
)
def test_a_template_and_columns_of_prompts_win_over_a_batch_line(request_, more):
    job = job_from({"input": {"path": "x.jsonl"}, "request": {"model": "m", **request_}})

    assert not RequestBuilder(job, [*line(), *more]).batch
    assert RequestBuilder(job_from({"input": {"path": "x.jsonl"}}), list(line())).batch


def test_other_rows_without_a_model_are_refused_when_their_columns_are_known(tmp_path):
    assert said(planned(tmp_path, [{"prompt": "a"}])) == [
        ": no model; pass {request.model=MODEL} or set [request] model."
    ]

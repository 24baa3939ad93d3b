"""From rows to requests, and every problem found before anything is paid."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.errors import UsageError
from batchlab.inputs.plan import plan_input
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.templates import RowProblem, compile_template, load_j2
from batchlab.job.file import job_from
from batchlab.records import Row


def template(text: str, *columns: str, **options):
    return compile_template(text, columns, where="prompt", **options)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Hi {name}!", {"name": "Ann"}, "Hi Ann!"),
        ("{a}{b}", {"a": "{b}", "b": "x"}, "{b}x"),
        ('{"json": {"a": 1}} {name}', {"name": 1}, '{"json": {"a": 1}} 1'),
        ("{{name}} is {name}", {"name": True}, "{name} is true"),
        ("{first name}", {"first name": 1.5}, "1.5"),
        ("{tags}", {"tags": ["a", {"b": None}]}, '["a",{"b":null}]'),
        ("a { b } {} {", {}, "a { b } {} {"),
    ],
)
def test_a_template_is_filled_in_one_pass(text, values, expected):
    assert template(text, *values).render(values) == expected


@given(st.text(), st.text(max_size=20))
def test_a_value_is_data_and_never_expanded_again(value, other):
    made = template("<{a}|{b}>", "a", "b")

    assert made.render({"a": value, "b": other}) == f"<{value}|{other}>"


def test_an_unknown_name_is_an_error_with_the_nearest_column():
    with pytest.raises(UsageError, match=r"no column 'txt'; did you mean \{text\}\?.*write \{\{txt\}\}"):
        template("{txt}", "text", "id")


def test_a_null_is_the_row_s_problem_unless_a_text_stands_for_it():
    with pytest.raises(RowProblem, match="input.null_as"):
        template("{a}", "a").render({"a": None})
    assert template("{a}", "a", null_as="-").render({"a": None}) == "-"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ text.__init__.__globals__ }}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{{ 'a' * 10**7 }}",
        "{{ nobody }}",
        "{{ 1 // 0 }}",
        "{% include 'x' %}",
        "{{ text.nothing.more }}",
    ],
)
def test_a_j2_template_can_neither_escape_nor_run_away(tmp_path, text):
    (tmp_path / "t.j2").write_text(text)

    with pytest.raises(RowProblem):
        load_j2(tmp_path / "t.j2").render({"text": "x"})


def test_a_j2_template_that_is_none_names_its_line(tmp_path):
    (tmp_path / "t.j2").write_text("line one\n{% if %}")

    with pytest.raises(UsageError, match=r"t.j2:2"):
        load_j2(tmp_path / "t.j2")


def builder(columns, *, row_params=None, **request) -> RequestBuilder:
    data = {
        "input": {"path": "x.jsonl", "row_params": row_params},
        "request": {"model": "m", **request},
    }
    data["input"] = {key: value for key, value in data["input"].items() if value is not None}
    return RequestBuilder(job_from(data), columns)


def test_a_body_has_the_model_the_messages_and_the_parameters_as_written():
    request = builder(["text"], prompt="Say {text}", system="You are {text}.", max_tokens=9, seed=1).build(
        Row(3, {"text": "hi"})
    )

    assert request.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "You are hi."}, {"role": "user", "content": "Say hi"}],
        "max_tokens": 9,
        "seed": 1,
    }
    assert (request.row_id, request.custom_id, request.max_tokens) == (3, "3", 9)


def test_messages_of_a_column_lose_their_absent_fields_and_get_the_system_message():
    messages = [{"role": "user", "content": "hi", "name": None}]
    for value in (messages, json.dumps(messages)):
        request = builder(["messages"], system="S").build(Row(0, {"messages": value}))
        assert request.body["messages"] == [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "hi"},
        ]


def test_parameters_of_a_row_win_over_the_job_s():
    made = builder(["prompt", "p"], row_params="p", temperature=0.5)

    assert (
        made.build(Row(0, {"prompt": "x", "p": '{"temperature": 1, "stop": ["a"]}'})).body["temperature"] == 1
    )
    assert made.build(Row(0, {"prompt": "x", "p": {"temperature": None}})).body["temperature"] == 0.5
    assert made.build(Row(0, {"prompt": "x", "p": None})).body["temperature"] == 0.5
    with pytest.raises(RowProblem):
        made.build(Row(0, {"prompt": "x", "p": "not json"}))


def test_an_openai_batch_line_is_passed_through():
    body = {"model": "own", "messages": [{"role": "user", "content": "hi"}], "top_k": 3}
    request = builder(["custom_id", "method", "url", "body"]).build(
        Row(5, {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})
    )

    assert (request.custom_id, request.body) == ("a", body)


def test_the_hash_tells_requests_apart_and_nothing_else():
    one = builder(["text"], prompt="{text}", temperature=0).build(Row(0, {"text": "a"}))
    same = builder(["text", "more"], prompt="{text}", temperature=0).build(Row(9, {"text": "a", "more": 1}))
    other = builder(["text"], prompt="{text}", temperature=1).build(Row(0, {"text": "a"}))

    assert one.request_hash == same.request_hash != other.request_hash
    assert len(one.request_hash) == 16


def planned(tmp_path, rows, **job):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {
        "input": {"path": str(tmp_path / "x.jsonl"), **job.pop("input", {})},
        "request": {"model": "m", "prompt": "{text}", **job.pop("request", {})},
        **job,
    }
    made = job_from(data)
    return plan_input(made, open_source(made.input.path))


def test_a_good_input_has_a_plan_and_a_builder(tmp_path):
    result = planned(tmp_path, [{"text": "abcd"}, {"text": "e"}])

    assert (result.plan.rows, result.problems, result.prompt_bytes) == (2, [], 5)
    assert result.ready_builder


def test_all_problems_come_at_once_with_their_rows_the_first_20_and_a_count(tmp_path):
    result = planned(tmp_path, [{"text": None if number % 2 else "ok"} for number in range(100)])

    assert result.problem_count == 50
    assert len(result.problems) == 20
    assert str(result.problems[0]).endswith(
        "x.jsonl:2: column 'text' is null; pass {input.null_as=TEXT} to allow it."
    )


def test_an_unknown_template_name_is_told_once_not_for_every_row(tmp_path):
    result = planned(tmp_path, [{"text": "a"}] * 5, request={"prompt": "{txt}"})

    assert result.problem_count == 1
    assert "did you mean {text}" in str(result.problems[0])


def test_a_key_that_comes_late_in_the_file_is_a_column_all_the_same(tmp_path):
    result = planned(
        tmp_path,
        [{"text": "a"}, {"text": "b", "late": "x"}],
        request={"prompt": "{text} {late}"},
        input={"null_as": ""},
    )

    assert result.problems == []


@pytest.mark.parametrize(
    ("rows", "job", "said"),
    [
        ([], {}, "has no rows"),
        ([{"text": "a", "status": 1, "model": 2}], {}, "status, model. Pass {output.prefix}"),
        ([{"text": "a"}], {"input": {"id": "nr"}}, "no column 'nr'"),
        ([{"text": "a"}], {"input": {"row_params": "p"}}, "no column 'p'"),
        (
            [{"text": "a", "id": 7}, {"text": "b", "id": 8}, {"text": "c", "id": 7}],
            {"input": {"id": "id"}},
            "rows 1 and 3 have the same id",
        ),
    ],
)
def test_what_else_is_wrong_with_an_input(tmp_path, rows, job, said):
    result = planned(tmp_path, rows, **job)

    assert any(said in str(problem) for problem in result.problems), result.problems


def test_an_input_without_a_prompt_says_what_it_has(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"question": "a"}\n')
    job = job_from({"input": {"path": str(tmp_path / "x.jsonl")}, "request": {"model": "m"}})

    result = plan_input(job, open_source(job.input.path))

    assert "found: question. Pass {request.prompt}" in str(result.problems[0])

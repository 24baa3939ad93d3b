"""A prompt that uses no column is refused before anything is sent, with what was probably meant."""

from __future__ import annotations

import json

import pytest

import batchlab as package
from batchlab.errors import UsageError
from batchlab.inputs.column_names import likely_id, likely_text
from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from

ROWS = [{"id": n, "title": f"T{n}", "text": f"text {n}", "image": "https://a/b.png"} for n in range(3)]


def problems(tmp_path, rows=ROWS, input_=None, **request):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = job_from(
        {
            "input": {"path": str(path), **(input_ or {})},
            "endpoint": {"base_url": "simulator"},
            "request": {"model": "m", **request},
        }
    )
    return [str(problem) for problem in plan_input(job, open_source(str(path))).problems]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Summarize in one line", "as {text}; there are: id, title, text, image."),
        ("Summarize {{text}}", "{{text}} stands for these very braces; the column is {text}"),
        ("Summarize {{ title }}", "{{ title }} stands for these very braces; the column is {title}"),
        ("@prompt.txt", "named by {request.prompt_file=prompt.txt}"),
        ("Sum: {row.text}", "It says {row.text}; here the column is {text}"),
        ("Sum: {row['text']}", "here the column is {text}"),
        ("{title.upper()}", "here the column is {title}"),
        ("Sum: { text }", "It says { text }; the column is {text}."),
        ("Sum: $text", "It says $text; the column is {text}."),
        ("Sum: <text>", "It says <text>; the column is {text}."),
        ("Sum: [[text]]", "It says [[text]]; the column is {text}."),
        ("Sum: %s", "It says %s; the column is {text}."),
        ("Sum: %(title)s", "It says %(title)s; the column is {title}."),
        ("text", "It says text; the column is {text}."),
        ('Answer as {"text": 1}', "Put a column into it, as {text}"),
    ],
)
def test_the_likely_cause_is_named(tmp_path, prompt, said):
    (problem,) = problems(tmp_path, prompt=prompt)

    assert "all 3 rows would ask the same" in problem
    assert said in problem
    assert "{request.same_prompt}" in problem


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("Sum:\n{text}\n", "It says {text}; in a Jinja2 template the column is {{ text }}."),
        ("Summarize", "as {{ text }}"),
    ],
)
def test_a_jinja_file_has_its_own_braces(tmp_path, template, said):
    (tmp_path / "p.j2").write_text(template)
    (problem,) = problems(tmp_path, prompt_file=str(tmp_path / "p.j2"))

    assert problem.startswith(str(tmp_path / "p.j2"))
    assert said in problem


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": "x", "same_prompt": True},
        {"prompt": "x", "system": "You know {title}."},
        {"prompt": "x", "image": "image"},
        {"prompt": "x", "input_": {"row_params": "params"}},
        {"prompt": "x", "input_": {"model": "title"}},
        {"prompt": "x", "input_": {"limit": 1}},
        {"prompt_column": "text", "task": "embeddings"},
        {"prompt_column": "text", "task": "completions"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "{text}"}]},
    ],
    ids=str,
)
def test_it_is_a_good_prompt_where_something_else_differs(tmp_path, more):
    rows = [{**row, "params": {"seed": number}} for number, row in enumerate(ROWS)]

    assert problems(tmp_path, rows, **more) == []


def test_messages_and_texts_that_only_look_like_columns_are_refused_too(tmp_path):
    (problem,) = problems(tmp_path, messages=[{"role": "user", "content": "Sum: {{text}}"}])

    assert problem.startswith("messages[0]: uses no column")


def test_it_is_said_in_the_words_of_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="pass same_prompt=True"):
        package.run(ROWS, prompt="Summarize", model="m", base_url="simulator", progress="none")
    assert "same_prompt=True" in package.plan(ROWS, prompt="Sum", model="m", base_url="simulator").problems[0]


@pytest.mark.parametrize(
    ("columns", "likely"),
    [
        (("id", "Body", "x"), "Body"),
        (("id", "review_text", "title"), "title"),
        (("id", "the_text"), "the_text"),
        (("a", "b"), None),
    ],
)
def test_the_column_that_holds_the_text(columns, likely):
    assert likely_text(columns) == likely


def test_the_column_that_tells_rows_apart():
    assert likely_id(("text", "ID")) == "ID"
    assert likely_id(("text", "review_id", "x_id")) == "review_id"
    assert likely_id(("identity", "text")) is None

"""Runs of every kind: old ones, prefixes, embeddings, completions, batch files, images, several choices, tools."""

from __future__ import annotations

import base64
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.looking.opening import open_run
from batchlab.looking.rows.asked import Asked
from batchlab.looking.show import Wanted, shown_rows
from batchlab.store.view import RunView
from tests.conftest import simulating
from tests.inputs.test_media import png
from tests.looking.browse.runs import ids, made, page
from tests.provider import chat_reply, providing
from tests.remote.conftest import memory  # noqa: F401 - a fixture
from tests.store.old_runs.build import INPUTS, write_inputs
from tests.store.test_old_runs import ARCHIVES, _not_moved

TEXTS = [{"n": n, "text": f"The {n}th remark."} for n in range(12)]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def test_runs_of_earlier_versions_show_what_show_shows(archive, tmp_path, monkeypatch, browse):
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    for name, path in INPUTS.items():
        _not_moved(tmp_path / "runs" / name / "run.json", tmp_path / path)
        run = RunView.open(tmp_path / "runs" / name)
        browser = browse(run)
        shown = {row.row_id: row for row in shown_rows(run, Wanted(ranges=[(0, None)]), Asked(run))}

        found = page(browser)

        assert ids(found) == sorted(shown)
        assert found.problems == ()
        for line in found.lines:
            row = shown[line.row_id]
            assert (line.custom_id, line.status) == (row.custom_id, row.status), (name, line)
            assert (line.texts.asked.text if line.texts.asked else "") == (
                row.asked[-1][1] if row.asked else ""
            )
            assert (line.texts.answer.text if line.texts.answer else "")[:200] == " ".join(
                row.answer.split()
            )[:200]
            detail = browser.row(line.row_id).json()
            assert [one["text"] for one in detail["asked"]] == [text for _, text in row.asked], name
            assert (detail["answer"] or {}).get("text") == row.results["completion"]
            json.dumps(detail)
        assert ids(page(browser, q="The 3th remark")) == [3]


def test_a_prefix_is_of_names_on_disk_only(tmp_path, browse):
    rows = [{"text": f"t{n}", "status": n, "completion": "mine"} for n in range(12)]
    with simulating() as server:
        run = made(tmp_path, server.base_url, rows, output={"prefix": "out_"})
    browser = browse(run)

    assert ids(page(browser, where="status>9")) == [10, 11]
    assert ids(page(browser, where="out_status=ok", sort="-row", first="2")) == [11, 10]
    assert ids(page(browser, q="mine")) == []  # the row's own column is in no prompt
    detail = browser.row(3).json()
    assert detail["status"] == "ok"
    assert detail["inputs"] == {"text": "t3", "status": 3, "completion": "mine"}


def test_embeddings_are_shown_by_their_first_numbers(tmp_path, browse):
    with simulating(dimensions=32) as server:
        run = made(tmp_path, server.base_url, TEXTS, request={"task": "embeddings", "system": None})
    browser = browse(run)

    line, detail = page(browser).lines[4], browser.row(4).json()

    assert line.texts.answer.text.startswith("32 dimensions: ")
    assert line.texts.asked.text == "Say it shorter: The 4th remark."
    assert (detail["vectors"]["count"], detail["vectors"]["dimensions"]) == (1, 32)
    assert len(detail["vectors"]["first"]) == 6
    assert detail["asked"][0]["role"] == "input"


def test_text_completions_are_shown(tmp_path, browse):
    with simulating() as server:
        run = made(tmp_path, server.base_url, TEXTS, request={"task": "completions", "system": None})
    detail = browse(run).row(4).json()

    assert [(one["role"], one["text"]) for one in detail["asked"]] == [
        ("prompt", "Say it shorter: The 4th remark.")
    ]
    assert detail["answer"]["text"]


def batch_line(number: int) -> dict:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f'say "{number}"\tnow'},
    ]
    body = {"model": "m", "messages": messages, "max_tokens": 7}
    return {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_lines_of_a_batch_file_have_their_ids_and_what_they_share_is_told_by_holding_them_together(
    tmp_path, browse
):
    plain = {"request": {"prompt": None, "system": None, "model": None}}
    with simulating() as server:
        run = made(tmp_path, server.base_url, map(batch_line, range(25)), **plain)
        stopped = made(
            tmp_path,
            server.base_url,
            map(batch_line, range(25)),
            "stopped",
            limits={"max_tokens_total": 1},
            **plain,
        )
    browser = browse(run)

    found = page(browser)
    assert [line.custom_id for line in found.lines] == [f"id-{n}" for n in range(25)]
    assert ids(page(browser, q='"7"\tnow')) == [7]
    assert ids(page(browser, where="custom_id=id-9")) == [9]
    detail = browser.row(7).json()
    assert [one["text"] for one in detail["shared"]["messages"]] == ["Be brief."]
    assert [one["text"] for one in detail["asked"]] == ['say "7"\tnow']
    assert detail["shared"]["params"] == {"model": "m", "max_tokens": 7}

    waiting = page(browse(stopped), status="pending")
    assert waiting.lines
    assert all(line.custom_id == f"id-{line.row_id}" for line in waiting.lines)
    shown = shown_rows(stopped, Wanted(statuses=frozenset({"pending"})), Asked(stopped))
    assert [row.custom_id for row in shown] == [line.custom_id for line in waiting.lines]
    assert ids(page(browse(stopped), q='"24"\tnow')) == [24]


def test_whole_conversations_in_a_column_are_shown_and_searched(tmp_path, browse):
    def messages(n: int) -> list[dict]:
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"n": 1}'}}
        return [
            {"role": "user", "content": f"first {n}"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": f"found {n}"},
            {"role": "user", "content": [{"type": "text", "text": f"then {n}?"}]},
        ]

    rows = [{"messages": messages(n)} for n in range(12)]
    with providing(lambda body: (200, chat_reply("yes"))) as provider:
        run = made(tmp_path, provider.base_url, rows, request={"prompt": None, "system": None})
    browser = browse(run)

    assert ids(page(browser, q="found 11")) == [11]
    assert ids(page(browser, q="THEN 3?")) == [3]
    detail = browser.row(3).json()
    everything = sorted([*detail["asked"], *detail["shared"]["messages"]], key=lambda one: one["place"])
    assert [one["text"] for one in everything] == ["first 3", "", "found 3", "then 3?"]
    assert everything[1]["tool_calls"][0]["function"]["name"] == "look"
    assert everything[3]["parts"] == [{"type": "text", "text": "then 3?"}]
    assert [one["role"] for one in detail["shared"]["messages"]] == ["assistant"]


def test_images_are_data_or_links_and_never_fetched(tmp_path, browse):
    images = [
        png(),
        "https://example.org/cat.png",
        "data:image/png;base64," + base64.b64encode(png()).decode(),
    ]
    table = pa.table(
        {"text": ["a", "b", "c"], "image": pa.array([images[0], images[1].encode(), images[2].encode()])}
    )
    table = table.set_column(
        1,
        "image",
        pa.array(
            [
                {"bytes": png(), "path": None},
                {"bytes": None, "path": images[1]},
                {"bytes": None, "path": images[2]},
            ]
        ),
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    with providing(lambda body: (200, chat_reply("a cat"))) as provider:
        run = made(
            tmp_path,
            provider.base_url,
            tmp_path / "rows.parquet",
            request={"image": ["image"], "prompt": "{text}?"},
        )
        sent = [body["messages"][-1]["content"][1]["image_url"]["url"] for body in provider.bodies]
    browser = browse(run)

    assert [line.texts.asked.text for line in page(browser).lines] == ["a?", "b?", "c?"]
    told = [browser.row(row).json() for row in range(3)]
    shown = [one["asked"][0]["parts"][1] for one in told]
    assert {shown[0]["data"], shown[1]["url"], shown[2]["data"]} == set(sent)
    assert told[0]["inputs"]["image"]["bytes"] == {"bytes": len(png()), "media": "image/png"}


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("javascript:alert(1)", "alt"),
        ("data:text/html;base64,PHNjcmlwdD4=", "alt"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "alt"),
        ("data:image/png;base64,AAAA", "data"),
        ('data:image/png;base64,AAAA" onerror="alert(1)', "alt"),
        ("https://example.org/x.png", "url"),
        ("/api/act", "alt"),
    ],
)
def test_an_image_of_a_hostile_message_is_no_address_of_ours(tmp_path, browse, url, kind):
    part = {"type": "image_url", "image_url": {"url": url}}
    rows = [{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]}]
    with providing(lambda body: (200, chat_reply("yes"))) as provider:
        run = made(tmp_path, provider.base_url, rows, request={"prompt": None, "system": None})

    [message] = browse(run).row(0).json()["asked"]

    shown = message["parts"][1]
    assert shown["type"] == "image"
    assert shown[kind] == url[:80] if kind == "alt" else shown[kind] == url
    assert kind != "alt" or (shown["data"] is None and "url" not in shown)


def test_several_choices_reasoning_and_tool_calls_are_shown_and_searched(tmp_path, browse):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"place": "Zürich"}'}}

    def answer(body: dict) -> tuple[int, dict]:
        row = body["messages"][-1]["content"].rpartition(" ")[2]
        message = {
            "role": "assistant",
            "content": None if row == "2" else f"# first {row}",
            "reasoning_content": f"hm *{row}*",
        }
        if row == "2":
            message["tool_calls"] = [call]
        other = {"role": "assistant", "content": f'second "{row}"'}
        choices = [
            {"index": 0, "message": message, "finish_reason": "stop"},
            {"index": 1, "message": other, "finish_reason": "length"},
        ]
        return 200, {**chat_reply("x"), "choices": choices[:1] if row == "2" else choices}

    rows = [{"text": f"row {n}"} for n in range(3)]
    with providing(answer) as provider:
        run = made(tmp_path, provider.base_url, rows, request={"params": {"n": 2}})
    browser = browse(run)

    detail = browser.row(1).json()
    assert detail["answer"]["tree"] == ["div", {}, ["h1", {}, "first 1"]]
    assert detail["reasoning"]["tree"] == ["div", {}, ["p", {}, "hm ", ["em", {}, "1"]]]
    assert [(one["text"], one["finish_reason"]) for one in detail["choices"]] == [
        ("# first 1", "stop"),
        ('second "1"', "length"),
    ]
    calls = browser.row(2).json()["tool_calls"]
    assert calls[0]["function"]["arguments_json"] == {"place": "Zürich"}
    assert ids(page(browser, q='second "0"')) == [0]
    assert ids(page(browser, q="zürich")) == [2]
    found = page(browser, q="hm *1").lines
    assert [line.row_id for line in found] == [1]
    assert found[0].texts.answer.hits


@pytest.mark.proof  # it makes a run with faults
def test_answers_to_a_schema_are_shown_as_json_and_found_by_their_columns(tmp_path, browse):
    schema = {
        "type": "object",
        "properties": {"mood": {"type": "string"}},
        "required": ["mood"],
        "additionalProperties": False,
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))

    def answer(body: dict) -> tuple[int, dict]:
        row = int(body["messages"][-1]["content"].rpartition(" ")[2])
        return 200, chat_reply(f'```json\n{{"mood": "m{row}"}}\n```' if row else "no JSON")

    rows = [{"text": f"row {n}"} for n in range(12)]
    with providing(answer) as provider:
        run = made(
            tmp_path,
            provider.base_url,
            rows,
            request={"schema": str(tmp_path / "schema.json"), "schema_corrections": 0},
            output={"expand": True},
        )
    browser = browse(run)

    assert ids(page(browser, where="mood=m7")) == [7]
    assert ids(page(browser, status="invalid")) == [0]
    detail = browser.row(7).json()
    assert detail["answer"]["json"] == {"mood": "m7"}
    assert "response_format" in {**detail["params"], **detail["shared"]["params"]}


def test_a_run_at_a_url_is_read_where_it_is(memory, tmp_path, browse, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    with simulating() as server:
        made_here = {"run_dir": "basics://data/runs/x", "shard_rows": 5}
        rows = tmp_path / "in.jsonl"
        rows.write_text("".join(json.dumps(one) + "\n" for one in TEXTS))
        from batchlab.job.file import job_from
        from batchlab.runner.execute import execute
        from tests.looking.browse.runs import QUIET

        execute(
            job_from(
                {
                    "input": {"path": str(rows)},
                    "endpoint": {"base_url": server.base_url, "api_key_env": "SIMULATOR_KEY"},
                    "request": {"model": "sim", "prompt": "{text}"},
                    "output": made_here,
                }
            ),
            QUIET,
        )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = open_run("basics://data/runs/x")
    assert run.url
    browser = browse(run)

    assert ids(page(browser)) == list(range(12))
    assert ids(page(browser, q="The 9th")) == [9]
    assert browser.row(7).json()["asked"][0]["text"] == "The 7th remark."
    before = os.listdir(Path.cwd())
    browser.refresh(open_run("basics://data/runs/x"))
    assert ids(page(browser)) == list(range(12))
    assert os.listdir(Path.cwd()) == before

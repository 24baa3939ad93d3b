"""What goes into a message and everything that comes back, through the real command."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.provider import Provider, chat_reply, providing

SHAPES = ROOT / "sample_data/shapes.parquet"
TOOL = {"type": "function", "function": {"name": "sort", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing(lambda body: (200, chat_reply("fine"))) as started:
        yield started


def at(base_url: str, *more: str | Path) -> list[str]:
    common = ["-m", "m", "--base-url", base_url, "--api-key-env", "SIMULATOR_KEY", "--progress", "none"]
    return ["run", *map(str, more), *common]


def rows_of(run: Path) -> list[dict]:
    return pa.concat_tables(
        [pq.read_table(path) for path in sorted((run / "completions").glob("*.parquet"))],
        promote_options="permissive",
    ).to_pylist()


def write_rows(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


JOB = """
[request]
prompt = "{text}"
seed = 7
stop = ["END", "\\n"]
logit_bias = { "50256" = -100 }
parallel_tool_calls = false
tool_choice = { type = "function", function = { name = "sort" } }
chat_template_kwargs = { enable_thinking = false, deep = { er = [1, 2.5] } }

[[request.tools]]
type = "function"
function = { name = "sort", strict = true, parameters = { type = "object", properties = { topic = { enum = ["a", "b"] } } } }

[[request.tools]]
type = "function"
function = { name = "other" }
"""
SENT = {
    "seed": 7,
    "stop": ["END", "\n"],
    "logit_bias": {"50256": -100},
    "parallel_tool_calls": False,
    "tool_choice": {"type": "function", "function": {"name": "sort"}},
    "chat_template_kwargs": {"enable_thinking": False, "deep": {"er": [1, 2.5]}},
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "sort",
                "strict": True,
                "parameters": {"type": "object", "properties": {"topic": {"enum": ["a", "b"]}}},
            },
        },
        {"type": "function", "function": {"name": "other"}},
    ],
}
FLAGS = {
    "seed=8": {"seed": 8},
    "stop=END": {"stop": "END"},
    'stop=["a","b"]': {"stop": ["a", "b"]},
    "n=2": {"n": 2},
    "logprobs=true": {"logprobs": True},
    "top_logprobs=3": {"top_logprobs": 3},
    "min_p=0.05": {"min_p": 0.05},
    'response_format={"type":"json_object"}': {"response_format": {"type": "json_object"}},
    "user=null": {"user": None},
    "tools=" + json.dumps([TOOL]): {"tools": [TOOL]},
    "tool_choice=required": {"tool_choice": "required"},
}


def test_whatever_the_job_says_of_a_request_arrives_on_the_wire(here, provider, tmp_path):
    write_rows(tmp_path / "rows.jsonl", {"text": "hi"})
    (tmp_path / "job.toml").write_text(JOB)

    assert here(*at(provider.base_url, "job.toml", "-i", "rows.jsonl")).code == 0
    flags = [word for flag in FLAGS for word in ("--param", flag)]
    assert here(*at(provider.base_url, "rows.jsonl", "-p", "{text}", "--run-dir", "f", *flags)).code == 0

    messages = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    expected: dict = {**messages}
    for sent in FLAGS.values():
        expected |= sent
    assert provider.bodies == [messages | SENT, expected]


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_all_choices_log_probabilities_and_tool_calls_are_kept(here, simulator, tmp_path, stream):
    server = simulator()
    rows = write_rows(tmp_path / "rows.jsonl", *({"text": f"row {n}"} for n in range(3)))
    asked = ("-p", "{text}", "--max-tokens", "6", stream, "--price-in", "1", "--price-out", "1")

    several = ("--param", "n=3", "--param", "logprobs=true", "--param", "top_logprobs=2")
    assert here(*at(server.base_url, rows, *asked, *several, "--run-dir", "n", "-o", "n.parquet")).code == 0
    ledger = server.ledger()
    tools = ("--param", f"tools={json.dumps([TOOL])}", "--param", "tool_choice=required")
    assert here(*at(server.base_url, rows, *asked, *tools, "--run-dir", "t")).code == 0

    for row in rows_of(tmp_path / "n"):
        choices = json.loads(row["choices"])
        assert [choice["index"] for choice in choices] == [0, 1, 2]
        assert choices[0]["message"]["content"] == row["completion"]
        assert len({choice["message"]["content"] for choice in choices}) == 3
        assert json.loads(row["logprobs"]) == choices[0]["logprobs"]
        assert [len(one["top_logprobs"]) for one in choices[0]["logprobs"]["content"]] == [2] * 6
        assert row["completion_tokens"] == 18
        assert row["cost_usd"] == pytest.approx((row["prompt_tokens"] + 18) / 1e6)
    assert (
        sum(row["completion_tokens"] for row in rows_of(tmp_path / "n")) == ledger["completion_tokens"] == 54
    )
    for row in rows_of(tmp_path / "t"):
        assert json.loads(row["tool_calls"])[0]["function"] == {"name": "sort", "arguments": "{}"}
        assert (row["completion"], row["choices"], row["logprobs"], row["status"]) == (
            "" if stream == "--stream" else None,
            None,
            None,
            "ok",
        )
    assert here("verify", "n").code == 0
    counted = duckdb.sql(f"SELECT count(json_extract(choices, '$[2].message')) FROM '{tmp_path}/n.parquet'")
    assert counted.fetchall() == [(3,)]


def test_a_batch_file_with_several_choices_gets_them_all_back(here, simulator, tmp_path):
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 4,
        "n": 2,
        "logprobs": True,
    }
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    single = {**line, "custom_id": "b", "body": {**body, "n": 1}}
    write_rows(tmp_path / "in.jsonl", line, single)

    done = here(*at(simulator().base_url, "-i", "in.jsonl", "-o", "out.jsonl"))

    assert done.code == 0, done.err
    two, one = (
        json.loads(text)["response"]["body"] for text in (tmp_path / "out.jsonl").read_text().splitlines()
    )
    assert [choice["index"] for choice in two["choices"]] == [0, 1]
    assert len(one["choices"]) == 1
    for choice in (*two["choices"], *one["choices"]):
        assert len(choice["logprobs"]["content"]) == 4


def test_a_cost_cap_counts_every_choice_before_it_is_sent(here, simulator, tmp_path):
    """With one choice reserved for of eight, requests in flight together would pass the cap."""
    server = simulator(latency_median_s=0.05, latency_sigma=0.0, tokens_median=500.0)
    rows = write_rows(tmp_path / "rows.jsonl", *({"text": f"row {n}"} for n in range(60)))
    price = ("--price-in", "0", "--price-out", "1000", "--max-tokens", "50", "--param", "n=8")

    done = here(*at(server.base_url, rows, "-p", "{text}", *price, "--max-cost", "6"))

    assert done.code == 3
    spent = server.ledger()["completion_tokens"] / 1000
    assert 6 - 0.4 < spent <= 6


@pytest.fixture
def images(tmp_path) -> list[bytes]:
    """The sample's images, in the directory `photos`."""
    found = [row["bytes"] for row in pq.read_table(SHAPES)["image"].to_pylist()]
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(found):
        (tmp_path / f"photos/{number}.png").write_bytes(image)
    return found


def sent_urls(provider: Provider) -> set[str]:
    return {
        part["image_url"]["url"]
        for body in provider.bodies
        for part in body["messages"][-1]["content"]
        if part["type"] == "image_url"
    }


def test_images_of_a_column_are_sent_and_no_file_of_the_run_holds_their_pixels(
    here, provider, images, tmp_path
):
    values = ["0.png", str(tmp_path / "photos/1.png"), ["2.png", "https://x.example/3.png"]]
    rows = write_rows(tmp_path / "rows.jsonl", *({"q": "What?", "image": value} for value in values))
    words = at(
        provider.base_url, rows, "-p", "{q}", "--image-column", "image", "--allow-files-under", "photos"
    )

    done = here(*words, "--image-detail", "low", "--max-image-bytes", "20000")

    assert done.code == 0, done.err
    encoded = [base64.b64encode(image).decode() for image in images]
    assert sent_urls(provider) == {
        *(f"data:image/png;base64,{one}" for one in encoded[:3]),
        "https://x.example/3.png",
    }
    assert {
        part["image_url"]["detail"]
        for body in provider.bodies
        for part in body["messages"][-1]["content"][1:]
    } == {"low"}
    for path in (tmp_path / "runs/rows").rglob("*"):
        held = path.read_bytes() if path.is_file() else b""
        assert not any(
            one[30:80].encode() in held or image[20:60] in held
            for one, image in zip(encoded, images, strict=True)
        )


def test_bytes_of_parquet_come_out_again_as_the_input_s_own_column_only(here, provider, images, tmp_path):
    words = at(provider.base_url, SHAPES, "-p", "{question}", "--image-column", "image", "--run-dir", "r")

    assert here(*words).code == 0
    assert len(sent_urls(provider)) == 6
    assert [row["image"]["bytes"] for row in rows_of(tmp_path / "r")] == images
    assert not any(b"\x89PNG" in path.read_bytes() for path in (tmp_path / "r").glob("*.json"))


def test_bad_images_fail_their_rows_only_and_are_said_before_the_start(here, provider, images, tmp_path):
    (tmp_path / "photos/text.png").write_text("nothing")
    (tmp_path / "photos/link.png").symlink_to("/etc/passwd")
    with (tmp_path / "photos/huge.png").open("wb") as file:
        file.truncate(2 * 1024**3)
    names = ["0.png", "gone.png", "text.png", "link.png", "huge.png", "../rows.jsonl", "1.png"]
    rows = write_rows(tmp_path / "rows.jsonl", *({"image": name} for name in names))
    words = at(
        provider.base_url, rows, "-p", "What?", "--image-column", "image", "--allow-files-under", "photos"
    )

    plan = here("plan", *words[1:-2])
    assert plan.code == 0
    assert "5 malformed rows will be recorded as failed" in plan.out
    assert "to send: 2 requests" in plan.out
    assert here("plan", *words[1:-2], "--strict").code == 2
    assert here(*words, "--strict").code == 2
    assert not provider.bodies
    done = here(*words)

    assert done.code == 1
    for said in (
        "rows.jsonl:2: column 'image': gone.png: cannot be read: No such file or directory",
        "rows.jsonl:3: column 'image': text.png: not an image; an image is a PNG, JPEG, GIF or WebP",
        "rows.jsonl:4: column 'image': link.png: is outside of allow_files_under",
        "rows.jsonl:5: column 'image': huge.png: is 2,147,483,648 bytes; the most is 20,971,520",
        "rows.jsonl:6: column 'image': ../rows.jsonl: is outside of allow_files_under",
        "5 malformed rows will be recorded as failed",
    ):
        assert said in done.err
    found = rows_of(tmp_path / "runs/rows")
    assert [row["status"] for row in found] == ["ok", *["failed"] * 5, "ok"]
    assert {row["error_class"] for row in found[1:-1]} == {"bad_input"}
    assert len(provider.bodies) == 2
    assert here("verify", "runs/rows").code == 0


def test_files_are_off_by_default_and_nothing_is_sent(here, provider, images, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", {"image": "photos/0.png"})

    done = here(*at(provider.base_url, rows, "-p", "What?", "--image-column", "image"))

    assert done.code == 2
    assert (
        "rows.jsonl:1: column 'image': photos/0.png names a file, and files named by rows are not read"
        in done.err
    )
    assert not provider.bodies


def test_a_resume_sees_files_that_changed_or_came_and_asks_only_for_those(here, provider, images, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", *({"image": f"{n}.png"} for n in (0, 1, 2, 9)))
    words = at(
        provider.base_url, rows, "-p", "What?", "--image-column", "image", "--allow-files-under", "photos"
    )
    assert here(*words).code == 1
    assert here(*words).code == 1
    assert len(provider.bodies) == 3

    (tmp_path / "photos/1.png").write_bytes(images[5])
    (tmp_path / "photos/9.png").write_bytes(images[4])
    done = here(*words)

    assert done.code == 0, done.err
    assert "2 of 4 rows are answered and kept; 2 to send" in done.err
    assert len(provider.bodies) == 5
    assert [row["status"] for row in rows_of(tmp_path / "runs/rows")] == ["ok"] * 4


def test_a_bomb_and_a_cut_image_fail_their_rows_when_images_are_scaled_down(here, provider, images, tmp_path):
    from tests.inputs.test_media import BOMB, png

    for name, data in (
        ("bomb", BOMB),
        ("cut", png(600, 600)[:-40]),
        ("large", png(600, 300)),
        ("text", b"x"),
    ):
        (tmp_path / f"photos/{name}.png").write_bytes(data)
    rows = write_rows(
        tmp_path / "rows.jsonl", *({"i": f"{name}.png"} for name in ("bomb", "cut", "large", "text"))
    )
    words = at(provider.base_url, rows, "-p", "What?", "--image-column", "i", "--allow-files-under", "photos")

    done = here(*words, "--image-max-side", "100", "-o", "out.jsonl")

    assert done.code == 1
    assert "rows.jsonl:1: column 'i': bomb.png: has more than 89,478,485 pixels" in done.err
    failed = [row["error_message"] for row in rows_of(tmp_path / "runs/rows") if row["status"] == "failed"]
    assert len(failed) == 3
    assert any("cut.png: cannot be decoded" in message for message in failed)
    (url,) = sent_urls(provider)
    assert len(url) < 2_000


def test_sounds_are_sent_as_input_audio(here, provider, tmp_path):
    wav = b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
    pq.write_table(pa.table({"sound": [wav, b"ID3" + bytes(9)]}), tmp_path / "rows.parquet")
    words = at(
        provider.base_url,
        "rows.parquet",
        "-p",
        "What is said?",
        "--audio-column",
        "sound",
        "--max-audio-bytes",
        "100",
    )

    assert here(*words).code == 0
    sounds = sorted(body["messages"][0]["content"][1]["input_audio"]["format"] for body in provider.bodies)
    assert sounds == ["mp3", "wav"]


def test_a_conversation_of_the_job_with_a_history_of_the_row(here, provider, tmp_path):
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
    rows = write_rows(
        tmp_path / "rows.jsonl",
        {"q": "one", "past": turns},
        {"q": "two", "past": None},
        {"q": "three", "past": [{"role": "robot", "content": "x"}]},
        {"q": "four", "past": '[{"role": "user", "content": "\\ud83d"}]'},
    )
    (tmp_path / "job.toml").write_text(
        '[[request.messages]]\nrole = "system"\ncontent = "Be brief."\n'
        '[[request.messages]]\nrole = "user"\ncontent = "{q}?"\n'
    )

    done = here(*at(provider.base_url, "job.toml", "-i", rows, "--history-column", "past", "-c", "1"))

    assert done.code == 1
    assert "rows.jsonl:3: column 'past': no role 'robot'; one of system, developer, user" in done.err
    assert "rows.jsonl:4: column 'past': a message has half a surrogate pair" in done.err
    system = {"role": "system", "content": "Be brief."}
    assert [body["messages"] for body in provider.bodies] == [
        [system, *turns, {"role": "user", "content": "one?"}],
        [system, {"role": "user", "content": "two?"}],
    ]
    both = here(*at(provider.base_url, "job.toml", "-i", rows, "-p", "{q}"))
    assert both.code == 2
    assert "request.prompt: [[request.messages]] are the whole conversation; keep one of the two." in both.err


@pytest.mark.parametrize(("name", "rows"), [("vision", 6), ("conversation", 30)])
def test_the_example_jobs_run(here, tmp_path, name, rows):
    for folder in ("jobs", "sample_data"):
        (tmp_path / folder).symlink_to(ROOT / folder)

    done = here("run", f"jobs/{name}.toml", "--progress", "none")

    assert done.code == 0, done.err
    found = rows_of(tmp_path / f"runs/{name}")
    assert len(found) == rows
    if name == "conversation":
        assert {len(json.loads(row["choices"])) for row in found} == {3}
    else:
        assert all(row["prompt_tokens"] > 765 for row in found)

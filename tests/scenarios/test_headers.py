"""Headers of the user's own, and proxies of the environment."""

from __future__ import annotations

import json

import pytest

import batchlab as api
from batchlab.errors import UsageError
from batchlab.job.file import job_from
from batchlab.job.headers import header_lines
from batchlab.job.key import find_headers, find_key
from tests.provider import chat_reply, providing

HIDDEN = "hush-hush-4711-hush"


@pytest.fixture
def asked(monkeypatch):
    """The headers of each request, and a server that repeats a secret if it got one."""
    from http.server import BaseHTTPRequestHandler

    seen: list[dict[str, str]] = []
    plain = BaseHTTPRequestHandler.parse_request

    def parse(self) -> bool:
        done = plain(self)
        if done and self.command == "POST":
            seen.append({name.lower(): value for name, value in self.headers.items()})
        return done

    monkeypatch.setattr(BaseHTTPRequestHandler, "parse_request", parse)

    def answer(body: dict) -> tuple[int, dict]:
        text = body["messages"][-1]["content"]
        if text == "refuse":
            return 400, {"error": {"message": f"{HIDDEN} is not welcome"}}
        return 200, chat_reply(f"you sent {seen[-1].get('x-gateway-key')}, blue team")

    with providing(answer) as server:
        yield seen, server.base_url


@pytest.mark.parametrize("processes", ["1", "2"])
def test_headers_are_sent_with_each_request_and_a_secret_one_is_kept_nowhere(
    batchlab, asked, tmp_path, processes
):
    seen, url = asked
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "refuse"}\n{"prompt": "c"}\n')

    done = batchlab(
        "run", "rows.jsonl", "-m", "m", "--base-url", url, "--api-key-env", "SIMULATOR_KEY", "--run-dir", "run",
        "--header", "x-tenant: blue team", "--header", "x-gateway-key=env:HOOK", "--shard-rows", "1",
        "--header", "x-auth: Bearer env:HOOK", "--processes", processes, "--log-file", "log.jsonl",
        "-o", "out.jsonl", HOOK=HIDDEN,
    )  # fmt: skip

    assert done.code == 1, done.err
    for one in seen:
        assert (one["x-tenant"], one["x-gateway-key"], one["x-auth"]) == (
            "blue team",
            HIDDEN,
            f"Bearer {HIDDEN}",
        )
        assert one["authorization"].startswith("Bearer ")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["completion"] == "you sent ****, blue team"
    assert "****" in rows[1]["error_message"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert HIDDEN.encode() not in written
    assert HIDDEN not in done.err + done.out
    assert b"env:HOOK" in (tmp_path / "run/run.json").read_bytes()


def test_a_job_file_has_them_as_a_table_and_python_as_a_dict(here, asked, tmp_path):
    seen, url = asked
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "job.toml").write_text(
        f'[input]\npath = "rows.jsonl"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "{url}"\n'
        'api_key_env = "SIMULATOR_KEY"\nheaders = { x-tenant = "blue team" }\n'
    )
    assert here("run", "job.toml", "--progress", "none", "--run-dir", "a").code == 0
    api.run(
        ["a"], model="m", base_url=url, api_key_env="SIMULATOR_KEY", headers={"X-Tenant": "blue"}, quiet=True
    )

    assert [one["x-tenant"] for one in seen] == ["blue team", "blue"]


@pytest.mark.parametrize(
    "line",
    [
        f"x-api-key: {HIDDEN}",
        f"Authorization: Bearer {HIDDEN}",
        f"cookie={HIDDEN}",
        f"ocp-apim-subscription-key: {HIDDEN}",
        f"x-what: sk-{HIDDEN}",
        f"content-type: {HIDDEN}",
        f"bad name: {HIDDEN}",
        f"x-a: {HIDDEN}\nx-b: c",
        f"x-a: ü{HIDDEN}",
        HIDDEN,
    ],
)
def test_a_secret_in_the_open_and_what_is_no_header_are_refused_without_being_repeated(here, line):
    done = here("run", "rows.jsonl", "-m", "m", "--base-url", "http://127.0.0.1:9/v1", "--header", line)

    assert done.code == 2
    assert HIDDEN not in done.err
    assert "endpoint.headers" in done.err or "--header" in done.err


def test_what_is_written_becomes_one_line_each():
    assert header_lines({"X-A": "b", "c": " d "}) == ("X-A: b", "c: d")
    assert header_lines("a=b=c") == ("a: b=c",)
    assert header_lines(["a: b:c", "idempotency=1"]) == ("a: b:c", "idempotency: 1")
    with pytest.raises(ValueError, match="twice"):
        header_lines(["A: 1", "a: 2"])


def endpoint(**settings):
    data = {"input": {"path": "a.jsonl"}, "request": {"model": "m"}, "endpoint": settings}
    return job_from(data).endpoint[0]


def test_a_header_that_tells_who_asks_takes_the_place_of_a_key():
    one = endpoint(base_url="https://gateway.example.com/v1", headers={"Authorization": "Bearer env:MINE"})

    assert find_key(one, {}) is None
    [header] = find_headers(one, {"MINE": HIDDEN})
    assert header.text == f"Bearer {HIDDEN}"
    assert HIDDEN not in repr(header)


@pytest.mark.parametrize(
    ("url", "environ", "said"),
    [
        ("https://gateway.example.com/v1", {}, "MINE is not set"),
        ("https://gateway.example.com/v1", {"MINE": "a\nb"}, "no header can carry"),
        ("http://gateway.example.com/v1", {"MINE": HIDDEN}, "unencrypted"),
    ],
)
def test_a_secret_header_is_looked_for_before_anything_is_sent(url, environ, said):
    with pytest.raises(UsageError, match=said):
        find_headers(endpoint(base_url=url, headers=["x-token: env:MINE"]), environ)
    with pytest.raises(UsageError, match=r"belongs to api\.openai\.com"):
        find_headers(endpoint(base_url=url, headers=["x-token: env:OPENAI_API_KEY"]), {"OPENAI_API_KEY": "a"})


@pytest.mark.parametrize(
    ("variable", "url", "words", "said"),
    [
        ("HTTPS_PROXY", "https://api.nowhere.invalid/v1", (), True),
        ("HTTPS_PROXY", "https://api.nowhere.invalid/v1", ("--trust-env",), False),
        ("HTTPS_PROXY", "http://127.0.0.1:9/v1", (), False),
        ("HTTP_PROXY", "http://127.0.0.1:9/v1", (), False),
    ],
)
def test_a_proxy_that_is_set_and_not_used_is_told_of(here, monkeypatch, tmp_path, variable, url, words, said):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, "http://user:hush@127.0.0.1:9")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n')

    done = here("run", "rows.jsonl", "-m", "m", "--base-url", url, "--api-key-env", "SIMULATOR_KEY", "--max-outage",
                "1s", "--max-attempts", "1", "--progress", "none", *words)  # fmt: skip

    assert ("and is not used; with --trust-env" in done.err) == said
    assert "hush" not in done.err

"""Copies of a row's request, run as a person would run them: what arrives is what was sent."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest

from batchlab.job.file import job_from
from batchlab.looking.browse.copies import copy_of
from batchlab.records import ChatRequest
from tests.conftest import CANARY, simulating
from tests.looking.browse.runs import HOSTILE, made
from tests.provider import chat_reply, providing

SHELLS = [shell for shell in ("bash", "dash", "zsh", "sh") if shutil.which(shell)]
curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")


def ran(words: list[str], text: str, folder, **env: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **env}
    done = subprocess.run(
        words, input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def kept(tmp_path, browse):
    """A run whose endpoint keeps what it is sent: a browser, and that endpoint."""
    rows = [{"text": text} for text in ("plain", HOSTILE, "é" * 5, "'" * 9, "x" * 200_000)]
    request = {"temperature": 0.25, "params": {"stop": ["!", "\n"], "seed": 2**40, "user": None}}
    with providing(lambda body: (200, chat_reply("yes"))) as provider:
        run = made(tmp_path, provider.base_url, rows, request=request, limits={"concurrency": 1})
        yield browse(run), provider


@curl
@pytest.mark.parametrize("shell", SHELLS)
def test_curl_sends_what_the_run_has_sent(kept, tmp_path, shell):
    browser, provider = kept
    sent = provider.bodies[:]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for row, body in enumerate(sent):
        text = browser.row(row).json()["curl"]
        assert text.isascii()
        assert CANARY not in text

        said = ran([shell, "-s"], text, folder, SIMULATOR_KEY="key of mine")

        assert json.loads(said)["choices"][0]["message"]["content"] == "yes"
        assert provider.bodies[-1] == body
    assert len(provider.bodies) == 2 * len(sent)
    assert list(folder.iterdir()) == []


def test_python_sends_what_the_run_has_sent(kept, tmp_path):
    browser, provider = kept
    sent = provider.bodies[:]
    for row, body in enumerate(sent):
        text = browser.row(row).json()["python"]
        assert CANARY not in text

        said = ran([sys.executable, "-I", "-"], text, tmp_path, SIMULATOR_KEY="key of mine")

        assert json.loads(said)["choices"][0]["message"]["content"] == "yes"
        assert provider.bodies[-1] == body


@curl
def test_both_are_answered_by_the_simulator_with_the_key_from_its_variable(tmp_path, browse):
    with simulating() as server:
        run = made(tmp_path, server.base_url, [{"text": HOSTILE}])
        told = browse(run).row(0).json()
        answers = [
            json.loads(ran([words[0], *words[1:]], told[name], tmp_path, SIMULATOR_KEY=CANARY))
            for name, words in (("curl", ["sh", "-s"]), ("python", [sys.executable, "-"]))
        ]
        ledger = server.ledger()

    assert [answer["choices"][0]["message"]["content"] for answer in answers] == [told["answer"]["text"]] * 2
    assert ledger["billed"] == 3


REQUEST = ChatRequest(
    0, "0", {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}, b"", 2
)


def copied(
    request: ChatRequest = REQUEST, *, answered_by: str | None = None, lane: str | None = "live", **endpoint
):
    job = job_from({"input": {"path": "x"}, "request": {"model": "m", "prompt": "hi"}, "endpoint": endpoint})
    found = copy_of(job, request, answered_by=answered_by, lane=lane)
    assert found is not None
    return found


def test_the_request_is_spelt_as_its_service_wants_it():
    one = copied(preset="openai", model="gpt-other")

    assert one.url == "https://api.openai.com/v1/chat/completions"
    assert one.body["max_completion_tokens"] == 5
    assert one.body["model"] == "gpt-other"
    assert ("Authorization", "Bearer ", "OPENAI_API_KEY") in one.headers
    assert copied(preset="openai", lane="flex").body["service_tier"] == "flex"
    assert copied(dataclasses.replace(REQUEST, as_written=True), preset="openai").body["max_tokens"] == 5


@pytest.mark.parametrize(
    ("endpoint", "headers", "said"),
    [
        ({"base_url": "http://127.0.0.1:8000/v1"}, [], ""),
        (
            {"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "MINE"},
            [("Authorization", "Bearer ", "MINE")],
            "",
        ),
        (
            {"base_url": "https://a.example/v1", "api_key_file": "/home/me/.ssh/id_rsa"},
            [("Authorization", "Bearer ", "API_KEY")],
            "set API_KEY",
        ),
        (
            {"base_url": "https://evil.example/v1", "api_key_env": "OPENAI_API_KEY"},
            [],
            "key of another service",
        ),
        ({"base_url": "http://far.example/v1", "api_key_env": "MINE"}, [], "unencrypted"),
        (
            {
                "base_url": "https://a.example/v1",
                "api_key_env": "MINE",
                "headers": ["x-tenant: blue", "x-token: env:T", "authorization: Basic env:B"],
            },
            [("authorization", "Basic ", "B"), ("x-tenant", "blue", ""), ("x-token", "", "T")],
            "",
        ),
        (
            {"base_url": "https://evil.example/v1", "headers": ["authorization: Bearer env:OPENAI_API_KEY"]},
            [],
            "key of another service",
        ),
    ],
)
def test_a_key_is_a_variables_and_goes_where_it_belongs(endpoint, headers, said):
    one = copied(**endpoint)

    assert sorted(one.headers) == sorted([("Content-Type", "application/json", ""), *headers])
    assert said in " ".join(one.notes)
    assert "id_rsa" not in one.curl() + one.python()


def test_an_endpoint_that_batchlab_had_started_is_named_by_a_variable():
    one = copied(base_url="simulator")

    assert '"$BATCHLAB_BASE_URL/chat/completions"' in one.curl()
    assert "os.environ['BATCHLAB_BASE_URL'] + '/chat/completions'" in one.python()
    assert "batchlab simulate" in one.curl().splitlines()[0]


def test_an_address_keeps_its_query_and_loses_its_password():
    """No job file may have one; a run of somebody else's may."""
    job = job_from({"input": {"path": "x"}, "request": {"model": "m", "prompt": "hi"}})
    address = "https://me:secret@a.example/base?api-version=1"
    endpoint = dataclasses.replace(job.endpoint[0], base_url=address, api_key_env="MINE")

    one = copy_of(dataclasses.replace(job, endpoint=(endpoint,)), REQUEST, answered_by=None, lane=None)

    assert one is not None
    assert one.url == "https://a.example/base/chat/completions?api-version=1"


@pytest.mark.parametrize(
    "address", ["-o/etc/passwd", "file:///etc/passwd", "", "https:///x", "gopher://a.example/"]
)
def test_an_address_that_is_none_is_left_to_a_variable(address):
    job = job_from({"input": {"path": "x"}, "request": {"model": "m", "prompt": "hi"}})
    endpoint = dataclasses.replace(job.endpoint[0], base_url=address)

    one = copy_of(dataclasses.replace(job, endpoint=(endpoint,)), REQUEST, answered_by=None, lane=None)

    assert one is not None
    assert one.url is None
    assert "passwd" not in one.curl() + one.python()


@curl
@pytest.mark.skipif("bash" not in SHELLS, reason="no bash here")
def test_an_interactive_shell_expands_nothing_of_it(tmp_path):
    with providing(lambda body: (200, chat_reply("yes"))) as provider:
        body = {
            **REQUEST.body,
            "messages": [{"role": "user", "content": "!! !$ $(touch owned) `touch owned`\nJSON\n!x"}],
        }
        one = copied(dataclasses.replace(REQUEST, body=body), base_url=provider.base_url)

        ran(["bash", "--norc", "-i"], one.curl(), tmp_path)

        assert provider.bodies == [body]
    assert not (tmp_path / "owned").exists()


def test_a_request_with_very_large_images_is_not_copied():
    job = job_from({"input": {"path": "x"}, "request": {"model": "m", "prompt": "hi"}})
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * (5 << 20)}]}

    assert copy_of(job, dataclasses.replace(REQUEST, body=body), answered_by=None, lane=None) is None

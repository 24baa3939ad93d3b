"""The official SDKs of OpenAI, for Python and for Node, and of Anthropic, as clients of the simulator.

    python -m tests.proofs.simulator.sdks

The Node SDK is fetched by `npm install openai` into a temporary directory; without node and npm that
half is left out, and said to be. Prints a line for each thing that was tried, and ends with 1 if one failed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest

from tests.conftest import simulating
from tests.proofs.arguments import ended, options

SCRIPT = Path(__file__).with_name("sdks.mjs")
MODEL = "maker/model-1"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OPTIONS = {
    "api_key": "simulator",
    "models": [MODEL],
    "hang_s": 3.0,
    "batch": {"seconds": 0.5},
    "faults": [
        {"kind": "rate_limit_ms", "rows": ["<limit>"], "times": 2},
        {"kind": "tools_usual", "rows": ["<two tools>"], "times": 0},
        {"kind": "stream_error_envelope", "rows": ["<breaks>"], "times": 0},
        {"kind": "stream_held", "rows": ["<held>"], "times": 0},
    ],
}


def _asked(text: str) -> dict:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


def python_lines(base_url: str) -> list[str]:
    """What the Python SDK did, a line each; raises where it failed."""
    said = [f"python openai {openai.__version__}"]
    with openai.OpenAI(base_url=base_url, api_key="simulator", max_retries=2) as client:
        chat = client.chat.completions
        plain = chat.create(**_asked("Why does ice float?"), max_tokens=20)
        assert plain.choices[0].message.content
        assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
        said.append("plain")
        chunks = list(
            chat.create(
                **_asked("Why does ice float?"),
                max_tokens=20,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
        assert text == plain.choices[0].message.content
        assert chunks[-1].usage == plain.usage
        said.append("stream, the same text and usage")
        with chat.stream(**_asked("<two tools>")) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["weather", "clock"]
        said.append("streamed tool calls, put together by the SDK")
        called = chat.create(**_asked("Oslo?"), tools=[TOOL], tool_choice="required").choices[0]
        assert called.message.tool_calls[0].function.name == "weather"
        said.append("a demanded tool")
        assert chat.create(**_asked("Cheap?"), service_tier="flex").service_tier == "flex"
        said.append("service tier")
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "simulator"
        said.append("models.list, models.retrieve")
        _refused(client)
        said.append("errors: 400, 401, 404")
        assert chat.create(**_asked("<limit>")).choices
        said.append("two 429 with retry-after-ms, waited out")
        with pytest.raises(openai.APIError, match="upstream failed"):
            list(chat.create(**_asked("<breaks>"), stream=True))
        said.append("an error in mid-stream is raised")
        assert list(chat.create(**_asked("<held>"), stream=True))[-1].choices[0].finish_reason == "stop"
        said.append("a stream that is held open ends at [DONE]")
        assert client.embeddings.create(model=MODEL, input=["a", "b"], dimensions=8).data[1].index == 1
        assert client.completions.create(model=MODEL, prompt="Once", max_tokens=5).choices[0].text
        said.append("embeddings, completions")
        said += _batches(client)
    return said


def _batches(client: openai.OpenAI) -> list[str]:
    """Files and batches."""
    lines = [
        {
            "custom_id": f"row-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": _asked(f"Why {n}?"),
        }
        for n in range(20)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    how = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"run": "sdk"}}
    batch = client.batches.create(input_file_id=file.id, **how)
    second = client.batches.cancel(client.batches.create(input_file_id=file.id, **how).id)
    assert second.status == "cancelling"
    for _ in range(100):
        if (batch := client.batches.retrieve(batch.id)).status == "completed":
            break
        time.sleep(0.1)
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert {one["custom_id"] for one in answers} == {line["custom_id"] for line in lines}
    assert [one.id for one in client.batches.list(limit=1)] == [second.id, batch.id]
    assert client.files.delete(file.id).deleted
    return ["files, batches: created, cancelled, polled, listed, downloaded"]


def anthropic_lines(base_url: str) -> list[str]:
    """What Anthropic's SDK did, a line each; one line that says why it was left out, without it."""
    try:
        import anthropic
    except ImportError:
        return ["anthropic: left out, it is not installed"]
    root = "{0.scheme}://{0.netloc}".format(urlsplit(base_url))
    said = [f"python anthropic {anthropic.__version__}"]
    asked = {**_asked("Why does ice float?"), "max_tokens": 20}
    with anthropic.Anthropic(base_url=root, api_key="simulator", max_retries=0) as client:
        assert client.messages.create(**asked).content[0].text
        said.append("a message")
        batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": asked}])
        for _ in range(100):
            if (batch := client.messages.batches.retrieve(batch.id)).processing_status == "ended":
                break
            time.sleep(0.1)
        results = list(client.messages.batches.results(batch.id))
        assert [(one.custom_id, one.result.type) for one in results] == [("a", "succeeded")]
        assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"
        said.append("message batches: created, polled, read, deleted")
    return said


def _refused(client: openai.OpenAI) -> None:
    for wrong, kind in (
        (lambda: client.chat.completions.create(**_asked("x"), temperature=9), openai.BadRequestError),
        (lambda: client.models.retrieve("other"), openai.NotFoundError),
        (lambda: client.with_options(api_key="wrong").models.list(), openai.AuthenticationError),
    ):
        with pytest.raises(kind) as caught:
            wrong()
        assert isinstance(caught.value.code, str)


def node_lines(base_url: str) -> list[str]:
    """What the Node SDK did, a line each; one line that says why it was left out, without node and npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return ["node: left out, there is no node or npm"]
    with tempfile.TemporaryDirectory(prefix="sdk-") as folder:
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "openai"]
        if subprocess.run(install, cwd=folder, capture_output=True, timeout=300).returncode:
            return ["node: left out, `npm install openai` failed"]
        shutil.copy(SCRIPT, folder)
        done = subprocess.run(
            ["node", SCRIPT.name, base_url, MODEL], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


def main() -> None:
    """Prints what worked; exits with 1 when something did not."""
    options(__doc__)
    wrong = []
    with simulating(**OPTIONS) as server:
        for lines in (python_lines, anthropic_lines, node_lines):
            try:
                print("\n  ".join(lines(server.base_url)))
            except (AssertionError, openai.OpenAIError, pytest.fail.Exception) as error:
                wrong.append(f"{lines.__name__}: {error}")
    ended(wrong)


if __name__ == "__main__":
    main()

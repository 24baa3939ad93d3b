"""A batch service after the public documentation of OpenAI and Anthropic, apart from our simulator: what both
of ours took for granted must not be taken for granted here, too.

A test changes what it wants to be otherwise: `answers` are asked first at each call, `lines` may rewrite a
results file, and `told` a batch's state.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.serving import Handler, serving


@dataclass(frozen=True)
class Asked:
    """A call: `count` is how often its method and path were called before."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    count: int


@dataclass
class Said:
    """An answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def refused(status: int, message: str = "no", code: str | None = None) -> Said:
    return Said(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})


def chat_line(line: dict) -> dict:
    """A good result of a line."""
    text = line["body"]["messages"][-1]["content"]
    choice = {"index": 0, "message": {"role": "assistant", "content": f"re {text}"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = {"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    return {"id": "r", "custom_id": line["custom_id"], "response": response, "error": None}


def message_line(item: dict) -> dict:
    """The same of Anthropic."""
    text = item["params"]["messages"][-1]["content"]
    usage = {"input_tokens": 3, "output_tokens": 2}
    message = {
        "id": "msg_1",
        "model": "m",
        "content": [{"type": "text", "text": f"re {text}"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    return {"custom_id": item["custom_id"], "result": {"type": "succeeded", "message": message}}


class BatchProvider:
    """A service, and what a test sees of it.

    Attributes:
        lines: from the lines of a batch to its file of results.
        told: may change the state that is told of a batch.
        ends: whether batches end by themselves.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.base_url = f"{host}/v1"
        self.calls: list[Asked] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.answers: list[Callable[[Asked], Said | None]] = []
        self.lines: Callable[[list[dict]], bytes] = self.plain
        self.told: Callable[[dict], dict] = lambda state: state
        self.ends = True
        self._number = itertools.count(1)
        self._lock = threading.Lock()

    @staticmethod
    def plain(results: list[dict]) -> bytes:
        return b"".join(json.dumps(one).encode() + b"\n" for one in results)

    def on(self, method: str, path: str, answer: Callable[[Asked], Said | None]) -> None:
        """Answers calls whose path matches by itself, where it has an answer."""
        self.answers.append(
            lambda asked: answer(asked) if asked.method == method and re.search(path, asked.path) else None
        )

    def called(self, method: str, path: str) -> list[Asked]:
        return [one for one in self.calls if one.method == method and re.search(path, one.path)]

    def ordered(self) -> list[int]:
        """Lines of each batch."""
        return [len(one["lines"]) for one in self.batches.values()]

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Said:
        with self._lock:
            asked = Asked(method, path, headers, body, len(self.called(method, re.escape(path) + "$")))
            self.calls.append(asked)
            for answer in self.answers:
                if (said := answer(asked)) is not None:
                    return said
            return self._usual(asked)

    def _usual(self, asked: Asked) -> Said:
        match asked.method, asked.path.removeprefix("/v1/").split("?")[0].split("/"):
            case "POST", ["files"]:
                name = f"file-{next(self._number)}"
                self.files[name] = asked.body.split(b"\r\n\r\n")[-1].rpartition(b"\r\n--")[0]
                return Said(body={"id": name, "object": "file"})
            case "POST", ["batches"]:
                return self.create(json.loads(asked.body))
            case "POST", ["messages", "batches"]:
                return self.create(json.loads(asked.body))
            case "GET", ["batches"] | ["messages", "batches"]:
                found = [self._state(one) for one in reversed(self.batches.values())]
                return Said(body={"data": found, "has_more": False})
            case "POST", [*_, name, "cancel"] if name in self.batches:
                self.batches[name]["cancelled"] = True
                return Said(body=self._state(self.batches[name]))
            case "GET", ["messages", "batches", name, "results"]:
                return Said(body=self.files[f"file-out-{name}"])
            case "GET", ["files", name, "content"] if name in self.files:
                return Said(body=self.files[name])
            case "GET", [*_, name] if name in self.batches:
                return Said(body=self._state(self.batches[name]))
        return refused(404, f"no {asked.path}")

    def create(self, order: dict) -> Said:
        name = f"batch_{next(self._number)}"
        lines = order.get("requests")
        if lines is None:
            lines = [json.loads(line) for line in self.files[order["input_file_id"]].splitlines()]
        self.batches[name] = {"id": name, "lines": lines, "order": order, "cancelled": False}
        return Said(body=self._state(self.batches[name]))

    def written_again(self) -> None:
        """All files of results are as they should be."""
        for name, batch in self.batches.items():
            self.files[f"file-out-{name}"] = self.plain(self._results(batch))

    @staticmethod
    def _results(batch: dict) -> list[dict]:
        of = message_line if "requests" in batch["order"] else chat_line
        return [of(one) for one in ([] if batch["cancelled"] else batch["lines"])]

    def _state(self, batch: dict) -> dict:
        name, cancelled = batch["id"], batch["cancelled"]
        has_ended = self.ends or cancelled
        out = f"file-out-{name}"
        if has_ended and out not in self.files:
            self.files[out] = self.lines(self._results(batch))
        state: dict[str, Any] = {"id": name}
        if "requests" in batch["order"]:
            count = len(batch["lines"])
            state |= {
                "processing_status": "ended" if has_ended else "in_progress",
                "request_counts": {"processing": 0, "succeeded": count},
                "results_url": f"{self.base_url}/messages/batches/{name}/results" if has_ended else None,
            }
        else:
            word = "cancelled" if cancelled else "completed" if has_ended else "in_progress"
            state |= {
                "status": word,
                "output_file_id": out if has_ended else None,
                "input_file_id": batch["order"]["input_file_id"],
                "request_counts": {"total": len(batch["lines"]), "completed": 0, "failed": 0},
                "metadata": batch["order"].get("metadata"),
            }
        return self.told(state)


@contextmanager
def providing_batches(host: str = "127.0.0.1") -> Iterator[BatchProvider]:
    """Serves one on loopback; `host` is how it is called, which is another origin under another name."""

    class Calls(Handler):
        def do_POST(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            said = provider.answer(self.command, self.path, dict(self.headers), self.body())
            self.say(said.status, said.content(), said.headers)

    with serving(Calls) as port:
        provider = BatchProvider(f"http://{host}:{port}")
        yield provider

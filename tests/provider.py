"""An endpoint that keeps the bytes it is sent, and answers as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.serving import Handler, serving

Answer = Callable[[dict], tuple[int, dict]]


def chat_reply(content: str, **more: object) -> dict:
    """A chat completion of three tokens and two."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"choices": [choice], "usage": usage, **more}


class Provider:
    """What a test sees of it: its address, and the bodies in the order in which they came."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.raw_bodies: list[bytes] = []

    @property
    def bodies(self) -> list[dict]:
        return [json.loads(body) for body in self.raw_bodies]


@contextmanager
def providing(answer: Answer) -> Iterator[Provider]:
    """Serves `/v1/…` on loopback; `answer` gives the status and the reply to a body."""

    class Calls(Handler):
        def do_POST(self) -> None:
            data = self.body()
            provider.raw_bodies.append(data)
            status, reply = answer(json.loads(data))
            told = {"Content-Type": "application/json", "x-request-id": f"req-{len(provider.raw_bodies)}"}
            self.say(status, json.dumps(reply).encode(), told)

    with serving(Calls) as port:
        provider = Provider(f"http://127.0.0.1:{port}/v1")
        yield provider

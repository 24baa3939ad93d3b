"""Lines of a batch file, `{custom_id, method, url, body}`: what OpenAI's Batch API and `vllm run-batch` read.

A body is sent as it was written, down to the order of its keys. The one thing that is ever put
in is the job's model, where a body names none.
Sources: OpenAI API reference (batch, request input object); vLLM, `entrypoints/openai/run_batch.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from batchlab.costs.tokens import BYTES_PER_TOKEN
from batchlab.inputs.conversations import message_bytes, without_absent
from batchlab.inputs.templates import RowProblem
from batchlab.job import TASK_PATHS
from batchlab.protocol.embeddings import input_count
from batchlab.result_columns import VECTOR_COLUMNS

COLUMNS = ("custom_id", "method", "url", "body")
BODY = "body"
MODELS_KEPT = 100  # different models of a file that are remembered, for prices

# What a line's url asks of an endpoint. Azure's batch files leave out the version.
TASKS = {f"{version}/{path}": task for version in ("/v1", "") for task, path in TASK_PATHS.items()}
# what a body must have, and of which types
_ASKED: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "chat": ("messages", list),
    "completions": ("prompt", (str, list)),
    "embeddings": ("input", (str, list)),
}


class OtherTask(RowProblem):
    """A line asks for what is not served; told once for a file, not for each of its lines."""


def is_batch_line(names: Collection[str]) -> bool:
    """Whether an object or table with these names is a line of a batch file."""
    return all(name in names for name in COLUMNS)


def task_of(values: Mapping[str, Any]) -> str:
    """What a line asks of the endpoint; one of TASKS. Raises RowProblem when it is none of them."""
    method, url = values.get("method"), values.get("url")
    if not isinstance(method, str) or method.upper() != "POST":
        raise RowProblem(f'method is {_shown(method)}; a line of a batch file has "POST"')
    task = TASKS.get(url) if isinstance(url, str) else None
    if task is None:
        *others, last = (f"/v1/{path}" for path in TASK_PATHS.values())
        raise OtherTask(f"url is {_shown(url)}; only {', '.join(others)} and {last} can be sent")
    return task


def custom_id_of(values: Mapping[str, Any]) -> str:
    """The id of a line. Raises RowProblem unless it is text, as an answer could not be told by it."""
    custom_id = values.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise RowProblem(f"custom_id is {_shown(custom_id)}; a line of a batch file has a text there")
    return custom_id


def body_of(values: Mapping[str, Any], *, task: str, model: str, sparse: bool) -> dict[str, Any]:
    """What is sent for a line.

    Args:
        task: what `task_of` says.
        model: for a body that names none.
        sparse: objects come from Arrow structs, in which a key that is absent reads as null.

    Raises:
        RowProblem: the body is no request.
    """
    body = values.get(BODY)
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            raise RowProblem("body is not a JSON object") from None
    elif sparse:
        body = without_absent(body)
    if not isinstance(body, dict):
        raise RowProblem("body is not a JSON object")
    name, types = _ASKED[task]
    asked = body.get(name)
    if not isinstance(asked, types):
        raise RowProblem(f"body has no {name}")
    if task == "completions" and input_count(asked) > 1:
        raise RowProblem(f"body has {input_count(asked):,} prompts, and a row keeps one answer")
    if "model" not in body:
        if not model:
            raise RowProblem("body names no model; pass {request.model=MODEL}")
        body = {**body, "model": model}
    return body


def asked_bytes(task: str, body: Mapping[str, Any], media_tokens: int) -> int:
    """UTF-8 bytes of what a body asks about, for token estimates; see `message_bytes`."""
    asked = body[_ASKED[task][0]]
    return message_bytes(asked, media_tokens) if task == "chat" else _text_bytes(asked)


def asked_texts(task: str, body: Mapping[str, Any]) -> list[str]:
    """The texts of what a body asks about: messages, a prompt, or what is to be embedded."""
    asked = body.get(_ASKED[task][0])
    if task == "chat":
        parts = [part for message in asked or () for part in _parts(message)]
        asked = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return [one for one in (asked if isinstance(asked, list) else [asked]) if isinstance(one, str)]


def media_count(task: str, body: Mapping[str, Any]) -> int:
    """Images and sounds in the messages of a body."""
    if task != "chat":
        return 0
    parts = [part for message in body.get("messages") or () for part in _parts(message)]
    return sum(isinstance(part, dict) and not isinstance(part.get("text"), str) for part in parts)


def _parts(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else [content]


def _text_bytes(asked: Any) -> int:
    """Those of a text, of several, or of tokens, which count as 4 each."""
    if isinstance(asked, list):
        return sum(_text_bytes(one) for one in asked)
    return len(asked.encode("utf-8", "replace")) if isinstance(asked, str) else BYTES_PER_TOKEN


class LineNotes:
    """What is worth telling of a batch file before it is sent, though nothing is wrong with it.

    Attributes:
        models: each model that bodies name, with its first line and its number of lines.
        vectors: the result columns that the lines which ask for embeddings need.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.models: dict[str, tuple[int, int]] = {}
        self._most_inputs = 0

    @property
    def vectors(self) -> tuple[str, ...]:
        return VECTOR_COLUMNS[: min(self._most_inputs, 2)]

    def see(self, task: str, body: Mapping[str, Any], number: int) -> None:
        """Takes in what line `number` asks for."""
        if task == "embeddings":
            self._most_inputs = max(self._most_inputs, input_count(body["input"]))
        model = str(body.get("model"))
        first, count = self.models.get(model, (number, 0))
        if count or len(self.models) < MODELS_KEPT:
            self.models[model] = first, count + 1

    def lines(self) -> list[str]:
        """For a person."""
        lines = []
        others = {name: seen for name, seen in self.models.items() if name != self._model}
        if self._model and others:
            name, (first, _) = next(iter(others.items()))
            count = sum(count for _, count in others.values())
            lines.append(
                f"the model {self._model} is for bodies that name no model: lines that name another are "
                f"sent as written ({count:,}; line {first}: {name})"
            )
        return lines


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "missing" if value is None else text if len(text) <= 60 else f"{text[:59]}…"

"""Lines of a batch file, `{custom_id, method, url, body}`: what OpenAI's Batch API and `vllm run-batch` read.

A body is sent as it was written, down to the order of its keys. The one thing that is ever put
in is the job's model, where a body names none.
Sources: OpenAI API reference (batch, request input object); vLLM, `entrypoints/openai/run_batch.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from batchlab.inputs.conversations import without_absent
from batchlab.inputs.templates import RowProblem

COLUMNS = ("custom_id", "method", "url", "body")
BODY = "body"
MODELS_KEPT = 100  # different models of a file that are remembered, for prices

# What a line's url asks of an endpoint. The one place that knows: what else can be asked is added here.
TASKS = {
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",  # as Azure's batch files have it
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
        raise OtherTask(f"url is {_shown(url)}; only {next(iter(TASKS))} can be sent")
    return task


def custom_id_of(values: Mapping[str, Any]) -> str:
    """The id of a line. Raises RowProblem unless it is text, as an answer could not be told by it."""
    custom_id = values.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise RowProblem(f"custom_id is {_shown(custom_id)}; a line of a batch file has a text there")
    return custom_id


def body_of(values: Mapping[str, Any], *, model: str, sparse: bool) -> dict[str, Any]:
    """What is sent for a line.

    Args:
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
    if not isinstance(body.get("messages"), list):
        raise RowProblem("body has no messages")
    if "model" not in body:
        if not model:
            raise RowProblem("body names no model; pass -m MODEL")
        body = {**body, "model": model}
    return body


class LineNotes:
    """What is worth telling of a batch file before it is sent, though nothing is wrong with it.

    Attributes:
        models: each model that bodies name, with its first line and its number of lines.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.models: dict[str, tuple[int, int]] = {}

    def see(self, body: Mapping[str, Any], number: int) -> None:
        """Takes in the body of line `number`."""
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
                f"-m {self._model} is for bodies that name no model: lines that name another are "
                f"sent as written ({count:,}; line {first}: {name})"
            )
        return lines


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return "missing" if value is None else text if len(text) <= 60 else f"{text[:59]}…"

"""Results as the Batch API and `vllm run-batch` write them: `{id, custom_id, response, error}` a line.

Where the two differ, a line suits readers of both. An answer has `error` null. A row that an
endpoint refused has that status and `{"error": {...}}` in `response`, as OpenAI has it, and `error`
set too, as vLLM has it; one that never got an HTTP error (a timeout, a connection) has `response`
null. What is in `response` is the provider's: its own type, code, message and param, where it named
any. The `error` beside it is ours, as for rows that no provider answered: its code is the
`error_class`, the same word for the same trouble at every service. Failed rows go to the same file, as
vLLM does, or to a second one, as OpenAI does.
Sources: OpenAI API reference (batch, request output object; the objects of each kind of answer); vLLM,
`entrypoints/openai/run_batch.py`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from batchlab.arrow import pa
from batchlab.finite import json_and_nulls
from batchlab.inputs.sources.batch_lines import TASKS
from batchlab.looking.export.staging import StagedFile
from batchlab.result_columns import VECTOR_COLUMNS

if TYPE_CHECKING:
    import numpy as np

_COLUMNS = (
    "row_id",
    "custom_id",
    "status",
    "completion",
    "reasoning",
    "refusal",
    "tool_calls",
    "choices",
    "logprobs",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "usage_raw",
    "error_class",
    "error_code",
    "error_message",
    "error_raw",
    "service_tier",
    "model",
    "response_id",
    "request_id",
    "system_fingerprint",
    "started_at",
    "request_hash",
)


class BatchFile:
    """One line a row that has a final result.

    Args:
        errors: where the lines of failed rows go; beside the others when None.
        prefix: of the result columns.
        model: for an answer whose provider named none.
        own_ids: rows are lines of a batch file: one that could not be read has no id.
        task: what all rows asked for; None when each says so itself, as lines of a batch file.

    Attributes:
        failed: lines of failed rows.
        left_out: rows without a final result, which the format has no line for.
    """

    def __init__(
        self,
        path: Path,
        *,
        errors: Path | None = None,
        prefix: str = "",
        model: str = "",
        own_ids: bool,
        task: str | None = "chat",
    ) -> None:
        self._task = task
        self._prefix = prefix
        self._model = model
        self._own_ids = own_ids
        self._staged = [StagedFile(path)]
        self._file = self._errors = self._open()
        if errors is not None:
            self._staged.append(StagedFile(errors))
            self._errors = self._open()
        self.failed = 0
        self.left_out = 0

    def _open(self) -> BinaryIO:
        return self._staged[-1].tmp.open("wb")

    def write(self, table: pa.Table) -> None:
        """See `export.Writer.write`."""
        mine = table.select([self._prefix + name for name in _COLUMNS]).rename_columns(list(_COLUMNS))
        vectors = row_vectors(table, self._prefix)
        asked = _asked(table) if self._task is None else repeat((self._task, False))
        for row, found, (task, encoded) in zip(mine.to_pylist(), vectors, asked, strict=False):
            match row["status"]:
                case "pending":
                    self.left_out += 1
                case "failed":
                    self.failed += 1
                    self._errors.write(_dumps(self._failed_line(row)) + b"\n")
                case _:
                    self._file.write(_dumps(self._answered_line(row, task, found, encoded)) + b"\n")

    def commit(self) -> None:
        """See `export.Writer.commit`."""
        self._close()
        for staged in self._staged:
            staged.commit()

    def discard(self) -> None:
        """See `export.Writer.discard`."""
        self._close()
        for staged in self._staged:
            staged.discard()

    def _close(self) -> None:
        self._file.close()
        self._errors.close()

    def _answered_line(
        self, row: Mapping[str, Any], task: str, vectors: Sequence[np.ndarray], encoded: bool
    ) -> dict[str, Any]:
        line_id = _line_id(row)
        if task == "embeddings":
            body = embeddings_of(row, vectors, model=self._model, encoded=encoded)
        elif task == "completions":
            body = text_completion_of(row, line_id=line_id, model=self._model)
        else:
            body = completion_of(row, line_id=line_id, model=self._model)
        return {
            "id": line_id,
            "custom_id": row["custom_id"],
            "response": {
                "status_code": 200,
                "request_id": row["request_id"] or line_id,
                "body": body,
            },
            "error": None,
        }

    def _failed_line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        line_id, code = _line_id(row), row["error_code"]
        kind, message = row["error_class"], row["error_message"]
        response = None
        # a broken answer with status 200 is no success, and readers take a status of 200 for one
        if code is not None and code >= 300:
            response = {
                "status_code": code,
                "request_id": row["request_id"] or line_id,
                "body": {"error": error_of(row)},
            }
        error = {"code": kind, "message": message}
        if response is None and row["error_raw"] is not None:
            error["provider"] = error_of(row)  # what a 200 said all the same
        unread = self._own_ids and kind == "bad_input"
        return {
            "id": line_id,
            "custom_id": None if unread else row["custom_id"],
            "response": response,
            "error": error,
        }


def error_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The error object of a refused row: the provider's own words, and ours where it had none."""
    own = json.loads(row["error_raw"]) if row["error_raw"] is not None else None
    if own is None:
        kind = row["error_class"]
        return {"message": row["error_message"], "type": kind, "param": None, "code": kind}
    return {
        "message": own.get("message") or row["error_message"],
        **{name: own.get(name) for name in ("type", "param", "code")},
    }


def completion_of(row: Mapping[str, Any], *, line_id: str, model: str) -> dict[str, Any]:
    """The `chat.completion` object of an answered row, of what its columns keep.

    `created` is when the request was sent, in Unix seconds. `usage` is the provider's own object,
    `service_tier` the tier as served, and not there when it named none.

    Args:
        line_id: stands in for an id that the provider did not send; `model` for the model.
    """
    return {
        "id": row["response_id"] or line_id,
        "object": "chat.completion",
        "created": int(row["started_at"].timestamp()) if row["started_at"] is not None else 0,
        "model": row["model"] or model,
        "choices": json.loads(row["choices"]) if row["choices"] is not None else [_choice(row)],
        "usage": _usage(row),
        "system_fingerprint": row["system_fingerprint"],
        **({"service_tier": row["service_tier"]} if row["service_tier"] is not None else {}),
    }


def _choice(row: Mapping[str, Any]) -> dict[str, Any]:
    """The only choice of an answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": row["completion"],
        "refusal": row["refusal"],
    }
    if row["tool_calls"] is not None:
        message["tool_calls"] = json.loads(row["tool_calls"])
    if row["reasoning"] is not None:
        message["reasoning_content"] = row["reasoning"]
    logprobs = json.loads(row["logprobs"]) if row["logprobs"] is not None else None
    return {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": row["finish_reason"]}


def text_completion_of(row: Mapping[str, Any], *, line_id: str, model: str) -> dict[str, Any]:
    """The `text_completion` object of an answered row; see `completion_of`."""
    chat = completion_of(row, line_id=line_id, model=model)
    choices = [_text_choice(index, choice) for index, choice in enumerate(chat["choices"])]
    return {**chat, "object": "text_completion", "choices": choices}


def _text_choice(index: int, choice: Mapping[str, Any]) -> dict[str, Any]:
    """A choice with its text where a text completion has it; streamed ones are kept as a chat's."""
    text = choice.get("text") or (choice.get("message") or {}).get("content") or ""
    kept = {"index": choice.get("index", index), "text": text, "logprobs": choice.get("logprobs")}
    return {**kept, "finish_reason": choice.get("finish_reason")}


def embeddings_of(
    row: Mapping[str, Any], vectors: Sequence[np.ndarray], *, model: str, encoded: bool
) -> dict[str, Any]:
    """The `list` object of an answered row's embeddings, each number as short as its float32 allows.

    Args:
        encoded: as base64 of little-endian float32, which is what the row asked for.
    """
    usage = _usage(row)
    if usage is not None:
        usage.pop("completion_tokens", None)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoded else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": row["model"] or model, "usage": usage}


def row_vectors(table: pa.Table, prefix: str) -> list[list[np.ndarray]]:
    """The embeddings of each row, in the order of its texts."""
    one, several = (prefix + name for name in VECTOR_COLUMNS)
    found: list[list[np.ndarray]] = [[] for _ in range(table.num_rows)]
    for name in (one, several):
        if name not in table.column_names or not pa.types.is_list(table.schema.field(name).type):
            continue
        for row, value in enumerate(table[name].to_numpy()):
            if value is not None:
                found[row] = [value] if name == one else list(value)
    return found


def _asked(table: pa.Table) -> Iterator[tuple[str, bool]]:
    """What each line of a batch file asked for, and whether embeddings were to come as base64."""
    for row in table.select(["url", "body"]).to_pylist():
        body = row["body"]
        with contextlib.suppress(ValueError):
            body = orjson.loads(body) if isinstance(body, str) else body
        encoded = isinstance(body, dict) and body.get("encoding_format") == "base64"
        yield TASKS.get(row["url"], "chat"), encoded


def _usage(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row["usage_raw"] is not None:
        usage: dict[str, Any] = json.loads(row["usage_raw"])
        return usage
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return None if row["prompt_tokens"] is None else {name: row[name] for name in names}


def _line_id(row: Mapping[str, Any]) -> str:
    """An id of the line's own, the same in every export of a run."""
    seed = (row["request_hash"] or b"") + row["row_id"].to_bytes(8, "big")
    return f"batch_req_{hashlib.blake2b(seed, digest_size=16).hexdigest()}"


def _dumps(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a provider's usage or tool call with a number past 64 bits
        text, _ = json_and_nulls(line, separators=(",", ":"), default=lambda array: array.tolist())
        return text.encode()

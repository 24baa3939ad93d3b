"""From a row to the request that is sent for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from batchlab.errors import UsageError
from batchlab.inputs.conversations import (
    Conversation,
    history_of,
    message_bytes,
    row_messages,
    with_history,
)
from batchlab.inputs.media import MediaColumns
from batchlab.inputs.request_columns import check_columns, chosen_mode, refuse_parameters
from batchlab.inputs.sources.arrow_files.rows import ArrowRow
from batchlab.inputs.sources.batch_lines import (
    BODY,
    asked_bytes,
    body_of,
    custom_id_of,
    task_of,
)
from batchlab.inputs.sources.batch_lines import COLUMNS as BATCH_COLUMNS
from batchlab.inputs.templates import RowFault, RowProblem, Template, compile_template, load_j2, value_text
from batchlab.job import Job
from batchlab.job.params import param_problems
from batchlab.protocol.schema import AnswerSchema
from batchlab.records import ChatRequest, Row, completion_cap

_TEXT_NAME = {"completions": "prompt", "embeddings": "input"}


class RequestBuilder:
    """Builds a row's ChatRequest; `request_columns.request_mode` says from what.

    Attributes:
        batch: rows are lines of a batch file, whose bodies are sent as written.
        rows_vary: more than the texts of two rows' requests can differ.
        max_tokens: the cap on completion tokens of every request, when rows do not vary.
        media: the columns with images and sounds, if there are any.
        schema: what answers have to fit; None for free text.

    Args:
        columns: the input's columns; with `strict=False` those known so far.
        look_only: images and files are only looked at: requests show what is wrong, and are not to
            be sent.

    Raises:
        UsageError: no prompt can be made from these columns, a template names an unknown one, or the
            schema is none.
    """

    def __init__(
        self, job: Job, columns: Sequence[str], *, strict: bool = True, look_only: bool = False
    ) -> None:
        request = job.request
        self._job = job
        self.schema: AnswerSchema | None = None
        if request.schema is not None:
            self.schema = AnswerSchema(
                request.schema, mode=job.schema_mode, strict=request.schema_strict, where=request.schema_from
            )
        self._schema_bytes = self.schema.prompt_bytes if self.schema is not None else 0
        self._task = request.task
        self._host = b"\0" + job.host.encode()
        self._params = request.params
        self._id = job.input.id
        self._row_params = job.input.row_params
        self._model_column = job.input.model
        self._endpoint_column = job.input.endpoint
        self._hosts = {endpoint.name: b"\0" + endpoint.host.encode() for endpoint in job.endpoint}
        self._null_as = job.input.null_as
        self._history = request.history
        self._media_tokens = request.tokens_per_image
        self.media: MediaColumns | None = None
        if request.image or request.audio:
            self.media = MediaColumns(job, look_only=look_only)
        self._conversation: Conversation | None = None
        if request.messages:
            self._conversation = Conversation(request.messages, columns, null_as=self._null_as, strict=strict)
        self._prompt: Template | None = None
        self._system: Template | None = None
        if request.prompt_file is not None:
            self._prompt = load_j2(Path(request.prompt_file), null_as=self._null_as)
        elif request.prompt is not None:
            self._prompt = compile_template(
                request.prompt, columns, where="prompt", null_as=self._null_as, strict=strict
            )
        # the row's own text, of the template or of the prompt column
        self._render: Callable[[Mapping[str, Any]], str] = (
            self._prompt.render if self._prompt is not None else self._own_prompt
        )
        if request.system is not None:
            self._system = compile_template(
                request.system, columns, where="system", null_as=self._null_as, strict=strict
            )
        self._mode = chosen_mode(job, columns)
        self.batch = self._mode == "batch"
        if self.batch:
            refuse_parameters(job)
        elif self._mode == "messages" and self._history is not None:
            raise UsageError(
                f"{job.input.path}: rows have whole conversations in {request.messages_column!r}; "
                "{request.history} goes with a prompt. Put the history into the messages."
            )
        elif not request.model:
            raise UsageError(
                f"{job.input.path}: no model; pass {{request.model=MODEL}} or set [request] model."
            )
        self.max_tokens = completion_cap(request.params) if request.task != "embeddings" else 0
        self.rows_vary = (
            self._mode in {"messages", "batch"}
            or self._conversation is not None
            or self.media is not None
            or any(
                column is not None
                for column in (
                    self._row_params,
                    self._model_column,
                    self._endpoint_column,
                    self._history,
                )
            )
        )
        try:
            orjson.dumps({"model": request.model, **request.params}, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            self.rows_vary = True  # and each row's problem is this one
        if strict:
            own_file = self._prompt if request.prompt_file is not None else None
            check_columns(job, columns, () if own_file is None else own_file.columns)

    @property
    def uses_columns(self) -> bool:
        """Whether anything of a request comes from its row."""
        by_row = (self._row_params, self._model_column, self._endpoint_column, self._history, self.media)
        if self._mode != "template" or any(part is not None for part in by_row):
            return True
        templates = (self._prompt, self._system, self._conversation)
        return any(template.columns for template in templates if template is not None)

    @property
    def text_columns(self) -> frozenset[str]:
        """The columns that a row's own texts come from."""
        templates = (self._prompt, self._system, self._conversation)
        columns = frozenset[str]().union(*(one.columns for one in templates if one is not None))
        own = {
            "messages": self._job.request.messages_column,
            "prompt": self._job.request.prompt_column,
            "batch": BODY,
        }.get(self._mode)
        return columns.union(name for name in (own, self._history) if name is not None)

    @property
    def templates(self) -> list[Template]:
        """Those of a request's texts."""
        own = [one for one in (self._system, self._prompt) if one is not None]
        return [*own, *(self._conversation.templates if self._conversation is not None else ())]

    @property
    def columns(self) -> frozenset[str]:
        """All columns that `build` looks at."""
        named = (self._id, self._row_params, self._model_column, self._endpoint_column)
        media = self.media.names if self.media is not None else ()
        own = self.text_columns.union(name for name in named if name is not None)
        return own.union(media, BATCH_COLUMNS if self.batch else ())

    def build(self, row: Row) -> ChatRequest:
        """The row's request. Raises RowProblem when the row does not make one."""
        values, task = row.values, self._task
        if self.batch:
            task = task_of(values)
            body = body_of(
                values, task=task, model=self._job.request.model, sparse=isinstance(values, ArrowRow)
            )
            text_bytes = asked_bytes(task, body, self._media_tokens)
            messages = hashed = None
        elif task != "chat":
            text = self._render(values)
            text_bytes = _utf8_bytes(text)
            body = {"model": self._job.request.model, _TEXT_NAME[task]: text, **self._params}
            messages = hashed = None
        else:
            messages, text_bytes = self._messages(values)
            hashed = messages
            if self.media is not None:
                messages, hashed, media_bytes = self.media.added(messages, values)
                text_bytes += media_bytes
            body = {"model": self._job.request.model, "messages": messages, **self._params}
        if self._row_params is not None:
            body = body | self._own_params(values)
        if self._model_column is not None:
            body = body | self._own_model(values)
        if self._row_params is not None or self.batch:
            self._refuse_unsendable(body, values)
        # of an image, its hash is hashed
        told = None if hashed is messages else {**body, "messages": hashed}
        if self.schema is not None:
            body = self.schema.asked_in(body)
            told = self.schema.asked_in(told) if told is not None else None
            text_bytes += self._schema_bytes
        endpoint, host = self._own_endpoint(values)
        custom_id = self.custom_id(row.row_id, values)
        try:
            canonical = orjson.dumps(told or body, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise RowProblem(f"the request cannot be written as JSON: {error}") from error
        return ChatRequest(
            row_id=row.row_id,
            custom_id=custom_id,
            body=body,
            request_hash=hashlib.blake2b(canonical + host, digest_size=16).digest(),
            prompt_bytes=text_bytes,
            max_tokens=completion_cap(body) if task != "embeddings" else 0,
            endpoint=endpoint,
            as_written=self.batch,
            task=task,
        )

    def measured(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """`prompt_bytes` of what `build` would make, and a hash that equal requests share.

        For rows that do not vary: no body is made, and the id is not looked at (see `custom_id`).
        Raises RowProblem as `build` does.
        """
        # not by a shared method: a plan of a million rows spends a third of its time here
        prompt = self._render(values)
        try:
            size = len(prompt if prompt.isascii() else prompt.encode()) + self._schema_bytes
        except UnicodeEncodeError:
            size = _utf8_bytes(prompt)  # which says what is wrong
        if self._system is None:
            return size, hash(prompt)
        system = self._system.render(values)
        return size + _utf8_bytes(system), hash((system, prompt))

    def prompt_bytes(self, row: Row) -> int:
        """`prompt_bytes` of what `build` would make. Raises RowProblem as it does."""
        return self.build(row).prompt_bytes if self.rows_vary else self.measured(row.values)[0]

    def custom_id(self, row_id: int, values: Mapping[str, Any]) -> str:
        """The row's id. Raises RowProblem when its column is null."""
        if self._id is None:
            return custom_id_of(values) if self.batch else str(row_id)
        value = values.get(self._id)
        if value is None:
            raise RowProblem(f"column {self._id!r}, the id, is null")
        return value_text(value)

    def _messages(self, values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        if self._mode == "messages":
            return self._own_messages(values)
        if self._conversation is not None:
            return self._told(self._conversation.messages(values), values)
        prompt = self._render(values)
        user: dict[str, Any] = {"role": "user", "content": prompt}
        if self._history is not None:
            first = [] if self._system is None else [_system(self._system.render(values))]
            return self._told([*first, user], values)
        if self._system is None:
            return [user], _utf8_bytes(prompt)
        system = self._system.render(values)
        return [{"role": "system", "content": system}, user], _utf8_bytes(prompt) + _utf8_bytes(system)

    def _own_prompt(self, values: Mapping[str, Any]) -> str:
        """What the prompt column says."""
        value = values.get(self._job.request.prompt_column)
        if value is None:
            value = self._null_as
        if value is None:
            raise RowProblem(
                f"column {self._job.request.prompt_column!r} is null; pass {{input.null_as=TEXT}} to allow it"
            )
        return value_text(value)

    def _told(
        self, messages: list[dict[str, Any]], values: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], int]:
        """The messages with the row's history among them, if it has one."""
        if self._history is not None:
            history = history_of(
                values.get(self._history), self._history, sparse=isinstance(values, ArrowRow)
            )
            messages = with_history(messages, history)
        return messages, message_bytes(messages, self._media_tokens)

    def _own_messages(self, values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        name = self._job.request.messages_column
        messages = row_messages(values.get(name), name, sparse=isinstance(values, ArrowRow))
        if self._system is not None and not any(message["role"] == "system" for message in messages):
            messages.insert(0, _system(self._system.render(values)))
        return messages, message_bytes(messages, self._media_tokens)

    def _own_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        assert self._row_params is not None
        value = values.get(self._row_params)
        return {} if value is None or value == "" else _json_object(value, self._row_params)

    def _own_model(self, values: Mapping[str, Any]) -> dict[str, Any]:
        assert self._model_column is not None
        value = values.get(self._model_column)
        return {} if value is None or value == "" else {"model": value_text(value)}

    def _refuse_unsendable(self, body: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Raises RowFault when the row's own parameters are none that its endpoint takes."""
        job = self._job
        bound = values.get(self._endpoint_column) if self._endpoint_column is not None else None
        endpoints = [one for one in job.endpoint if one.name == bound] if bound else job.endpoint
        problems = param_problems(body, endpoints, check=job.request.check_params)
        if problems:
            raise RowFault("; ".join(f"{name}: {problem}" for name, problem in problems))

    def _own_endpoint(self, values: Mapping[str, Any]) -> tuple[str | None, bytes]:
        """The endpoint a row is bound to, and the host that makes its request different from others."""
        value = values.get(self._endpoint_column) if self._endpoint_column is not None else None
        if value is None or value == "":
            return None, self._host
        name = value_text(value)
        if name not in self._hosts:
            raise RowProblem(
                f"column {self._endpoint_column!r}: no endpoint {name!r}; known: {', '.join(self._hosts)}"
            )
        return name, self._hosts[name]


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def _utf8_bytes(text: str) -> int:
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise RowProblem("the prompt has half a surrogate pair, which UTF-8 cannot carry") from error


def _json_object(value: Any, column: str) -> dict[str, Any]:
    """A column's JSON object, given as text or as a struct (whose absent fields read as null)."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowProblem(f"column {column!r} is not a JSON object") from None
    if not isinstance(value, dict):
        raise RowProblem(f"column {column!r} is not a JSON object")
    return {key: item for key, item in value.items() if item is not None}

"""The JSON Schema that a job's answers have to fit: how it is asked for, and how an answer is held
against it.

`jsonschema-rs` validates: 2.3 µs for a small answer where `jsonschema` takes 132 µs, patterns with a
limit on backtracking, and an offline mode in which no `$ref` reads a file or an address.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchlab.errors import UsageError
from batchlab.protocol.json_answer import Found, after_reasoning, json_problem, json_values
from batchlab.protocol.redact import printable
from batchlab.protocol.strict_schema import strict_problem
from batchlab.records import Parsed

MAX_ERRORS = 3  # that the model is shown: more only make the next prompt longer
MAX_ERROR_CHARS = 300
MAX_SHOWN_CHARS = 8_000  # of an answer that is shown to the model again

INSTRUCTION = """\
Answer with one JSON value that is valid against this JSON Schema, and with nothing else: no code fence, \
no explanation.

JSON Schema:
"""
# The order comes last and is short: a model of 135M that had answered in prose then gave JSON for 2 of 6
# reviews, and for none after a sentence about the schema, which it repeated.
CORRECTION = """\
{errors}

Write only the JSON."""


@dataclass(frozen=True, slots=True)
class Check:
    """An answer held against the schema.

    Attributes:
        text: the valid value as compact JSON; None when there is none.
        notes: what was put up with to read it, such as `fenced`.
        errors: the first things wrong with it, each with its place in the value.
        begun: no JSON value was found, but the answer may hold the beginning of one.
    """

    text: str | None
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    begun: bool = False

    def parsed(self, corrections: int) -> Parsed:
        """As the row's result holds it."""
        problem = printable("; ".join(self.errors)) if self.errors else None
        return Parsed(self.text, ", ".join(self.notes) or None, corrections, problem)


class AnswerSchema:
    """One job's schema.

    Args:
        mode: `json_schema` and `json_object` are sent as `response_format`; with `json_object` and
            `prompt` the schema stands in the system message.
        strict: whether the provider is told to enforce it; None where the schema allows that.
        where: how the user named the schema, for messages.

    Raises:
        UsageError: it is no valid JSON Schema; one line with the place in it.
    """

    def __init__(
        self, schema: Mapping[str, Any], *, mode: str, strict: bool | None = None, where: str = "schema"
    ) -> None:
        self._validator = _validator(schema, where)
        self._where = where
        self._mode = mode
        self._text = orjson.dumps(schema).decode()
        self._opening = _opening(schema)
        self._instruction = INSTRUCTION + self._text
        self._not_strict = strict_problem(schema)
        self._strict = self._not_strict is None if strict is None else strict
        self._format: dict[str, Any] = {"type": "json_object"}
        if mode == "json_schema":
            named: dict[str, Any] = {"name": _name(schema), "schema": dict(schema)}
            if self._strict:
                named["strict"] = True
            self._format = {"type": "json_schema", "json_schema": named}

    @property
    def prompt_bytes(self) -> int:
        """What it adds to each prompt: providers count a `response_format` schema, too."""
        return len(self._instruction.encode())

    def described(self) -> str:
        """How it is asked for, for a person."""
        if self._mode != "json_schema":
            also = "as response_format json_object and " if self._mode == "json_object" else ""
            return f"schema: {self._where}, {also}in the system message"
        sort = "strict" if self._strict else f"not strict ({self._not_strict or 'as asked'})"
        return f"schema: {self._where}, as response_format json_schema, {sort}"

    @property
    def remedy(self) -> str:
        """What to try when no answer fits."""
        other = "" if self._mode == "prompt" else " or set schema_mode prompt"
        return f"look at them, then change the prompt or the schema{other}"

    def asked_in(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's body that asks for such an answer; a `response_format` of its own wins."""
        asked = dict(body)
        if self._mode != "prompt":
            asked.setdefault("response_format", self._format)
        if self._mode != "json_schema":
            asked["messages"] = self._with_instruction(asked["messages"])
        return asked

    def _with_instruction(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the schema at the end of the system message: the same beginning for every
        row, which a provider can cache."""
        instruction = self._instruction
        first = messages[0] if messages else {}
        if first.get("role") in {"system", "developer"} and isinstance(first.get("content"), str):
            return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *messages[1:]]
        return [{"role": "system", "content": instruction}, *messages]

    def check(self, answer: str) -> Check:
        """The first JSON value in the answer that fits, else what is wrong with the first one."""
        first: Check | None = None
        for found in json_values(answer, self._opening):
            errors = self._errors(found)
            if not errors:
                return Check(found.text, found.notes)
            first = first or Check(None, found.notes, errors)
        if first is not None:
            return first
        begun = any(character in answer for character in self._opening)
        return Check(None, (), (json_problem(answer)[:MAX_ERROR_CHARS],), begun)

    def _errors(self, found: Found) -> tuple[str, ...]:
        try:
            errors = itertools.islice(self._validator.iter_errors(found.value), MAX_ERRORS)
            return tuple(f"{_place(error.instance_path)}: {_cut(error.message)}" for error in errors)
        except ValueError as error:  # the library's own limit on depth
            return (f"$: {_cut(str(error))}",)

    def correction(self, answer: str, errors: tuple[str, ...]) -> list[dict[str, str]]:
        """The messages that follow an answer which does not fit: the answer, and what is wrong with it.

        The schema is among them where the prompt does not have it: an endpoint that ignores
        `response_format` has never shown it to its model.
        """
        said = CORRECTION.format(errors="\n".join(f"- {error}" for error in errors))
        if self._mode == "json_schema":
            said += f"\n\nJSON Schema:\n{self._text}"
        shown = after_reasoning(answer)[0][:MAX_SHOWN_CHARS]
        # several providers refuse an assistant's message without content
        turns = [{"role": "assistant", "content": shown}] if shown else []
        return [*turns, {"role": "user", "content": said}]


def resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """The schema that a local `$ref` (`#/$defs/Name`) stands for; itself when it is none.

    A `$ref` with keywords beside it, to another place, or in a circle is left as it is.
    """
    for _ in range(32):
        if not isinstance(schema, Mapping) or set(schema) - {"title", "description", "$defs"} != {"$ref"}:
            return schema
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        if target is None:
            return schema
        schema = target
    return schema


def top_properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a schema whose top level is an object; {} when it is none."""
    top = resolved(schema, schema)
    is_object = isinstance(top, Mapping) and top.get("type") == "object"
    return dict(top.get("properties", {})) if is_object else {}


def _validator(schema: Mapping[str, Any], where: str) -> Any:
    import jsonschema_rs  # only a job with a schema pays for it: 50 ms

    try:
        return jsonschema_rs.validator_for(dict(schema), validate_formats=True, offline=True)
    except jsonschema_rs.ValidationError as error:
        message = error.message
        if error.instance_path and error.instance_path[-1] == "type":
            message = f"{_cut(repr(error.instance), 80)} is no JSON type"
        place = _place(error.instance_path)
        raise UsageError(f"{where}: not a valid JSON Schema: {place}: {_cut(message)}.") from None
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError) as error:
        raise UsageError(f"{where}: not a valid JSON Schema: {_cut(str(error))}.") from None


def _opening(schema: Mapping[str, Any]) -> str:
    """With what characters a value of the schema's top level begins, among prose."""
    top = resolved(schema, schema)
    kind = top.get("type") if isinstance(top, Mapping) else None
    kinds = {kind} if isinstance(kind, str) else set(kind or ("object", "array"))
    return ("{" if "object" in kinds else "") + ("[" if "array" in kinds else "")


def _name(schema: Mapping[str, Any]) -> str:
    """A name as OpenAI takes it: letters, digits, `_` and `-`, at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title", "")))[:64].strip("_") or "answer"


def _place(path: list[str | int]) -> str:
    """`$.topics[1]`"""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[:200]


def _cut(text: str, most: int = MAX_ERROR_CHARS) -> str:
    text = printable(text, most)
    return text.rstrip(".")

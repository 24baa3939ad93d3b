"""The lines of a batch's input: what one asks for, and for which a service refuses the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.endpoints.simulator.batches.dialects import Dialect
from batchlab.endpoints.simulator.batches.files import Lines
from batchlab.endpoints.simulator.batches.jobs import Batch, LineProblem

MAX_EMBEDDING_INPUTS = 50_000
MAX_CUSTOM_ID = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its own name and the request."""

    custom_id: str
    body: dict[str, Any]
    method: str | None = None
    url: str | None = None


def read_line(raw: bytes, model: str | None, dialect: Dialect) -> Line:
    """A line that was found valid; the batch's model where lines name none."""
    data = json.loads(raw)
    body = data.get("body", data.get("params"))
    if not dialect.model_in_lines and model is not None:
        body = {"model": model, **body}
    return Line(data["custom_id"], body, data.get("method"), data.get("url"))


def refused_lines(
    batch: Batch, lines: Lines, dialect: Dialect, *, models: Sequence[str], most: int
) -> Iterator[None]:
    """Looks at every line, a step each, and notes in the batch what is wrong, and what it has waiting.

    The codes are OpenAI's, as they stand in `errors.data` of batches that people asked about.
    """
    seen: set[int] = set()
    inputs = 0
    for number, raw in lines.scan():
        yield
        problem, line = _line_problem(number, raw, batch, dialect, models)
        if line is not None:
            name = hash(line.custom_id)
            if name in seen:
                said = (
                    f"The custom_id '{line.custom_id}' for this request is a duplicate of another request. "
                    "The custom_id parameter must be unique for each request in a batch."
                )
                problem = LineProblem("duplicate_custom_id", said, number, "custom_id")
            seen.add(name)
            inputs += _inputs(batch, line)
            if problem is None and batch.kind.problem(line.body) is None:
                batch.enqueued += batch.kind.asked(line.body)[1]
        if problem is not None:
            batch.problems.append(problem)
    if not len(lines):
        batch.problems.append(LineProblem("empty_file", "The file is empty: a batch needs a request."))
    if len(lines) > most:
        said = f"The batch has {len(lines)} requests; the most is {most}."
        batch.problems.append(LineProblem("too_many_tasks", said))
    if inputs > MAX_EMBEDDING_INPUTS:
        said = f"The batch has {inputs} embedding inputs; the most is {MAX_EMBEDDING_INPUTS}."
        batch.problems.append(LineProblem("too_many_embedding_inputs", said))


def _line_problem(
    number: int, raw: bytes, batch: Batch, dialect: Dialect, models: Sequence[str]
) -> tuple[LineProblem | None, Line | None]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        said = "This line is not parseable as valid JSON."
        return LineProblem("invalid_json_line", said, number), None
    if not isinstance(data, dict) or not isinstance(data.get("custom_id"), str):
        said = "Missing required parameter: 'custom_id'."
        return LineProblem("missing_required_parameter", said, number, "custom_id"), None
    if len(data["custom_id"]) > MAX_CUSTOM_ID:
        said = f"'custom_id' is longer than {MAX_CUSTOM_ID} characters."
        return LineProblem("invalid_custom_id", said, number, "custom_id"), None
    if not isinstance(data.get("body", data.get("params")), dict):
        said = "Missing required parameter: 'body'."
        return LineProblem("missing_required_parameter", said, number, "body"), None
    line = read_line(raw, batch.model, dialect)
    if line.method not in (None, "POST"):
        return LineProblem("invalid_method", "The method must be POST.", number, "method"), line
    if line.url is not None and not line.url.endswith("/" + batch.kind.path):
        said = "The URL provided for this request does not match the batch endpoint."
        return LineProblem("invalid_url", said, number, "url"), line
    return _model_problem(number, line, batch, dialect, models), line


def _model_problem(
    number: int, line: Line, batch: Batch, dialect: Dialect, models: Sequence[str]
) -> LineProblem | None:
    model = line.body.get("model")
    if models and model not in models and not dialect.inline:
        return LineProblem("model_not_found", f"The model '{model}' does not exist.", number, "body.model")
    if not dialect.model_in_lines or dialect.inline:
        return None
    if batch.model is None:
        batch.model = model
    if model != batch.model:
        said = f"The model '{model}' is another than '{batch.model}': a batch has one model."
        return LineProblem("mismatched_model", said, number, "body.model")
    return None


def _inputs(batch: Batch, line: Line) -> int:
    if batch.kind.path != "embeddings":
        return 0
    given = line.body.get("input")
    return len(given) if isinstance(given, list) else 1

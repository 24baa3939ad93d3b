"""What the columns of an input make of a job's requests; or why they make none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from batchlab.errors import UsageError
from batchlab.inputs.column_names import example_column
from batchlab.inputs.sources.batch_lines import COLUMNS as BATCH_COLUMNS
from batchlab.inputs.sources.batch_lines import is_batch_line
from batchlab.job import Job, RequestJob


def request_mode(request: RequestJob, columns: Sequence[str]) -> str | None:
    """What makes a row of these columns a request: `template`, `messages`, `prompt` or `batch` (a line
    of a batch file); None when nothing does."""
    if request.prompt_file is not None or request.prompt is not None or request.messages:
        return "template"
    if request.messages_column in columns and request.task == "chat":
        return "messages"
    if request.prompt_column in columns:
        return "prompt"
    return "batch" if is_batch_line(columns) else None


def chosen_mode(job: Job, columns: Sequence[str]) -> str:
    """What makes a row of these columns a request, by `request_mode`. Raises UsageError: nothing does."""
    request = job.request
    mode = request_mode(request, columns)
    if mode is not None:
        return mode
    missing = [name for name in BATCH_COLUMNS if name not in columns]
    if 0 < len(missing) < len(BATCH_COLUMNS) and "body" in columns:
        raise UsageError(
            f"{job.input.path}: no {missing[0]!r}; a line of a batch file has {', '.join(BATCH_COLUMNS)}."
        )
    wanted = f"{request.prompt_column!r}"
    wanted += f" or {request.messages_column!r}" if request.task == "chat" else ""
    raise UsageError(
        f"{job.input.shown_as}: no {wanted} column; "
        f"found: {', '.join(columns) or 'none'}. Pass {{request.prompt}} with a template such as "
        f"'{{{example_column(columns)}}}'."
    )


def refuse_parameters(job: Job) -> None:
    """Raises UsageError for what a job would put in beside the lines of a batch file.

    Their bodies are sent as written, and nothing is dropped unsaid.
    """
    request = job.request
    own = ("system", "history", "image", "audio", "schema")
    given = [*(name for name in own if getattr(request, name) not in (None, [])), *request.params]
    if request.task != "chat":
        given.insert(0, "task")
    if given:
        raise UsageError(
            f"{job.input.path}: lines of a batch file are sent as written, and the job sets "
            f"{', '.join(given)}. Leave that out, or write it into each body."
        )


def check_columns(job: Job, columns: Sequence[str], used: Collection[str]) -> None:
    """Raises UsageError when a column is not there that the job names.

    Args:
        used: the columns that its file with a prompt has, if there is one.
    """
    named = {
        "{input.id}": job.input.id,
        "{input.row_params}": job.input.row_params,
        "{input.model}": job.input.model,
        "{input.endpoint}": job.input.endpoint,
        "{request.history}": job.request.history,
    }
    several = {"{request.image}": job.request.image, "{request.audio}": job.request.audio}
    pairs = [*named.items(), *((option, name) for option, names in several.items() for name in names)]
    for option, name in pairs:
        if name is not None and name not in columns:
            raise UsageError(
                f"{job.input.shown_as}: {option}: no column {name!r}; found: {', '.join(columns)}."
            )
    if missing := sorted(set(used) - set(columns)):
        raise UsageError(f"{job.request.prompt_file}: no column {missing[0]!r}; found: {', '.join(columns)}.")

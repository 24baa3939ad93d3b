"""A prompt that uses no column: every row would ask the same, and be paid for it. What was meant?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.inputs.column_names import example_column
from batchlab.inputs.requests import RequestBuilder
from batchlab.job import Job

_SHOWN_CHARS = 60  # of the prompt
_FILE = re.compile(r"@\s*(\S+)")


def same_prompt_problems(
    job: Job, builder: RequestBuilder, rows: int, columns: Sequence[str]
) -> list[UsageError]:
    """Why the input is refused when all its requests would be the same; empty when they are not.

    A prompt without a column is a good one where an image, a turn, a parameter or the model differs by row,
    for a single row, or when the job says that it is meant.
    """
    if rows < 2 or job.request.same_prompt or builder.uses_columns:
        return []
    where, text = next(_texts(job), ("prompt", ""))
    shown = " ".join(text.split())
    shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"
    return [
        UsageError(
            f"{where}: uses no column, so that all {rows:,} rows would ask the same: {shown!r}. "
            f"{_cause(job, columns)} To ask the same of every row, pass {{request.same_prompt}}."
        )
    ]


def _texts(job: Job) -> Iterator[tuple[str, str]]:
    """What the job's templates say, each with its name in messages."""
    request = job.request
    if request.prompt_file is not None:
        yield request.prompt_file, Path(request.prompt_file).read_text(encoding="utf-8")
    elif request.prompt is not None:
        yield "prompt", request.prompt
    for number, message in enumerate(request.messages):
        yield f"messages[{number}]", message["content"]
    if request.system is not None:
        yield "system", request.system


def _cause(job: Job, columns: Sequence[str]) -> str:
    """What the writer of the templates may have meant, and how it is written."""
    for _, text in _texts(job):
        if named := _FILE.fullmatch(text.strip()):
            return (
                f"A prompt in a file is named by {{request.prompt_file={named.group(1)}}}, a Jinja2 template "
                f"with columns as {{{{ {example_column(columns)} }}}}."
            )
        if found := _written_otherwise(text, columns):
            written, column = found
            return _remedy(job, written, column)
    if job.request.prompt_file is not None:
        return (
            f"Put a column into it, as {{{{ {example_column(columns)} }}}}; there are: {', '.join(columns)}."
        )
    return f"Put a column into it, as {{{example_column(columns)}}}; there are: {', '.join(columns)}."


def _remedy(job: Job, written: str, column: str) -> str:
    if job.request.prompt_file is not None:
        return f"It says {written}; in a Jinja2 template the column is {{{{ {column} }}}}."
    if written.startswith("{{"):
        return f"{written} stands for these very braces; the column is {{{column}}}, in single ones."
    if written.startswith("{") and re.search(r"[^\w\s{}]", written.replace(column, "")):
        return (
            f"It says {written}; here the column is {{{column}}}, and nothing more goes between the braces. "
            "For more, {request.prompt_file} names a Jinja2 template, which has "
            f"{{{{ {column} | upper }}}} and loops."
        )
    return f"It says {written}; the column is {{{column}}}."


def _written_otherwise(text: str, columns: Sequence[str]) -> tuple[str, str] | None:
    """A column as other languages have it, and which it is: `{{text}}`, `{row.text}`, `$text`, `%s`, ..."""
    # a longer name first: `text_en` is not `text` with something behind it
    names = "|".join(re.escape(name) for name in sorted(columns, key=len, reverse=True))
    if not names:
        return None
    forms = (
        rf"\{{\{{-?\s*[^{{}}]*?(?<!\w)({names})(?!\w)[^{{}}]*\}}\}}",
        # not an example of JSON, which may have a key of that name
        rf"\{{(?![^{{}}]*[\"']\s*:)[^{{}}]*?(?<!\w)({names})(?!\w)[^{{}}]*\}}",
        rf"\$\{{?({names})(?!\w)\}}?",
        rf"%\(({names})\)[sdr]",
        rf"<({names})>",
        rf"\[\[?\s*({names})\s*\]\]?",
        rf"%({names})%",
        rf":({names})(?!\w)",
        rf"({names})",
    )
    for number, form in enumerate(forms):
        # a prompt that is nothing but a column's name meant the column
        last = number == len(forms) - 1
        found = re.fullmatch(form, text.strip()) if last else re.search(form, text)
        if found is not None:
            return found.group(), found.group(1)
    if found := re.search(r"%s|\{\}", text):
        return found.group(), example_column(columns)
    return None

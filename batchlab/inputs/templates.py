"""Prompt templates: `{column}` substitution, and Jinja2 files for more.

Values are data: what a row holds is never expanded again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from batchlab.errors import UsageError, file_trouble
from batchlab.inputs.sources.column_types import json_text

MAX_RENDERED_CHARS = 4 * 1024 * 1024  # per row; a template can multiply a value without end
_FIELD = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]+)\}")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class RowProblem(ValueError):
    """This row cannot become a request; the run can go on without it."""


class RowFault(RowProblem):
    """What is wrong is the row's alone, like a malformed line: it fails, and the run need not be refused."""


class Template(Protocol):
    """Text with gaps for a row's values."""

    columns: frozenset[str]
    parts: Sequence[str]  # literal, column, literal, …, literal; of Jinja2 its source alone

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for one row. Raises RowProblem."""
        ...


def compile_template(
    text: str, columns: Sequence[str], *, where: str, null_as: str | None = None, strict: bool = True
) -> Template:
    """The template that replaces `{column}` by the row's value, in a single pass.

    `{name}` that is no column is an error, not text: a typo would go into a million paid
    prompts. Other braces, such as `{"json": 1}`, are literal; `{{name}}` gives `{name}`.

    Args:
        where: what to call the template in an error, such as `prompt`.
        null_as: what a null becomes; a RowProblem when None.
        strict: False while the columns are not all known: an unknown name is then the row's problem.

    Raises:
        UsageError: names every unknown column and the nearest known one.
    """
    known = set(columns)
    parts: list[str] = []  # literal, name, literal, name, ..., literal
    literal = ""
    unknown: list[str] = []
    end = 0
    for match in _FIELD.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        escaped, name = match.groups()
        if escaped is not None:
            is_name = escaped in known or _IDENTIFIER.fullmatch(escaped)
            literal += f"{{{escaped}}}" if is_name else match.group()
        elif name in known or (_IDENTIFIER.fullmatch(name) and not strict):
            parts += [literal, name]
            literal = ""
        elif _IDENTIFIER.fullmatch(name):
            unknown.append(name)
        else:
            literal += match.group()
    if unknown:
        raise UsageError("\n".join(_unknown(where, name, columns) for name in dict.fromkeys(unknown)))
    return _FieldTemplate([*parts, literal + text[end:]], null_as)


def _unknown(where: str, name: str, columns: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {{{close[0]}}}?" if close else f"columns: {', '.join(columns)}."
    return f"{where}: there is no column {name!r}; {hint} For the text itself write {{{{{name}}}}}."


class _FieldTemplate:
    def __init__(self, parts: list[str], null_as: str | None) -> None:
        self.parts: Sequence[str] = tuple(parts)
        self._null_as = null_as
        self.columns = frozenset(parts[1::2])
        # the usual template has one gap: no list is copied and joined for it
        self._name: str | None = None
        if len(parts) == 3:
            self._before, self._name, self._after = parts

    def render(self, values: Mapping[str, Any]) -> str:
        if self._name is not None and type(value := values.get(self._name)) is str:
            return f"{self._before}{value}{self._after}"
        parts = list(self.parts)
        for index in range(1, len(parts), 2):
            value = values.get(parts[index])
            if type(value) is str:
                parts[index] = value
            elif value is not None:
                parts[index] = value_text(value)
            elif self._null_as is not None:
                parts[index] = self._null_as
            else:
                raise RowProblem(f"column {parts[index]!r} is null; pass {{input.null_as=TEXT}} to allow it")
        return "".join(parts)


def value_text(value: Any) -> str:
    """A value as it reads in a prompt: text as it is, numbers, true/false and times plainly, lists
    and objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        raise RowProblem("a binary value cannot be put into a prompt")
    if isinstance(value, date | time):
        return value.isoformat()
    return json_text(value) if isinstance(value, list | dict) else str(value)


def load_j2(path: Path, *, null_as: str | None = None) -> Template:
    """The Jinja2 template in a file, sandboxed: no imports, no includes, no attributes of Python.

    Raises:
        UsageError: it cannot be read or is not a template; names the line.
    """
    from jinja2 import StrictUndefined, TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = file_trouble(path, error)
        raise UsageError(f"{path}: cannot read the template: {reason}.") from error
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
    )
    if null_as is not None:
        environment.finalize = partial(_null_replaced, null_as)
    try:
        names = meta.find_undeclared_variables(environment.parse(text))
        template = environment.from_string(text)
    except TemplateSyntaxError as error:
        raise UsageError(f"{path}:{error.lineno}: not a Jinja2 template: {error.message}") from error
    return _JinjaTemplate(template, text, frozenset(names), null_as)


def _null_replaced(null_as: str, value: Any) -> Any:
    return null_as if value is None else value


class _JinjaTemplate:
    def __init__(self, template: Any, source: str, columns: frozenset[str], null_as: str | None) -> None:
        self._template = template
        self.parts: Sequence[str] = (source,)
        self._null_as = null_as
        self.columns = columns

    def render(self, values: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        rendered: list[str] = []
        size = 0
        try:
            # a mapping of Arrow's has more columns than are asked for, which stay where they are
            known = {name: values[name] for name in self.columns if name in values}
            for piece in self._template.generate(known):
                size += len(piece)
                if size > MAX_RENDERED_CHARS:
                    raise RowProblem(f"the template renders to more than {MAX_RENDERED_CHARS:,} characters")
                rendered.append(piece)
        except RowProblem:
            raise
        except (
            TemplateError,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            MemoryError,
        ) as error:
            raise RowProblem(f"template: {str(error) or type(error).__name__}") from error
        return "".join(rendered)

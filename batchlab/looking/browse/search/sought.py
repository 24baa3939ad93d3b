"""What takes reading to decide of a row: conditions on columns that are not held, and a text in any case.

In prompts a text is looked for in what is a row's own: the columns that its texts come from. What a template
says to all rows tells none from another; a text that is partly the one and partly the other is found, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batchlab.arrow import pa, pc
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.arrow_files.rows import is_json
from batchlab.looking.browse.columns import Numbers
from batchlab.looking.browse.query import PLACES
from batchlab.looking.browse.reader import Rows, Wanted
from batchlab.looking.browse.search.frames import Frame, across
from batchlab.looking.rows.conditions import Condition
from batchlab.looking.rows.text_mask import text_mask
from batchlab.result_columns import RESULT_COLUMNS

ANSWERS = ("completion", "reasoning", "refusal", "tool_calls", "choices", "error_message")
_AS_JSON = {"tool_calls", "choices"}  # texts in them are escaped


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for in the rows that are read.

    Attributes:
        conditions: on columns that the index does not hold.
        prompt: columns of the input in which `text` is looked for.
        frames: templates with whose words it may begin or end.
        answers: result columns in which it is.
        is_everywhere: whether what is said to all rows has it.
    """

    prefix: str
    conditions: tuple[Condition, ...] = ()
    text: str = ""
    prompt: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    is_everywhere: bool = False

    def __bool__(self) -> bool:
        return bool(self.text or self.conditions)

    def alternatives(self) -> Iterator[Sought]:
        """The same in parts, each of which reads one long column at most: a row is meant by any of them."""
        if not self.text:
            yield self
            return
        for name in self.prompt:
            yield replace(self, prompt=(name,), answers=(), frames=())
        for names in (self.answers[:1], self.answers[1:]):
            if names:
                yield replace(self, prompt=(), answers=names, frames=())
        for frame in self.frames:
            yield replace(self, prompt=(), answers=(), frames=(frame,))

    @property
    def wanted(self) -> Wanted:
        """The columns that have to be read."""
        names = [one.column for one in self.conditions]
        results = [name for one in names if (name := self._bare(one)) is not None]
        others = [name for name in names if self._bare(name) is None]
        framed = [name for frame in self.frames for name in frame.columns]
        return Wanted(
            tuple(dict.fromkeys([*others, *self.prompt, *framed])),
            tuple(dict.fromkeys([*results, *self.answers])),
        )

    def mask(self, rows: Rows) -> Numbers:
        """Which of some rows are meant."""
        count = len(rows.ids)
        found = np.ones(count, dtype=bool)
        for condition in self.conditions:
            bare = self._bare(condition.column)
            table, name = (rows.others, condition.column) if bare is None else (rows.results, bare)
            column = (
                table[name]
                if name in table.column_names
                else pa.chunked_array([pa.nulls(count, pa.string())])
            )
            made = condition.mask(pa.table({condition.column: column}))
            found &= pc.fill_null(made, False).to_numpy().astype(bool)
        if self.text:
            found &= self._says(rows)
        return found

    def _says(self, rows: Rows) -> Numbers:
        found = np.zeros(len(rows.ids), dtype=bool)
        for table, names in ((rows.others, self.prompt), (rows.results, self.answers)):
            for name in names:
                if name in table.column_names:
                    escaped = (table is rows.results and name in _AS_JSON) or is_json(
                        table.schema.field(name)
                    )
                    found |= text_mask(table[name], spellings(self.text, escaped=escaped))
        for frame in self.frames:
            found |= text_mask(frame.texts(rows.others), [self.text])
        return found

    def _bare(self, column: str) -> str | None:
        name = column.removeprefix(self.prefix) if column.startswith(self.prefix) else ""
        return name if name in RESULT_COLUMNS else None


def sought(
    text: str,
    inside: Sequence[str],
    conditions: Sequence[Condition],
    builder: RequestBuilder | None,
    schema: pa.Schema,
    prefix: str,
) -> Sought:
    """What is looked for in a run whose rows have a schema.

    Args:
        builder: of its requests; without one, a text is looked for in all columns of text.
    """
    inputs = [one.name for one in schema if not _is_result(one.name, prefix)]
    own = inputs if builder is None else [name for name in inputs if name in builder.text_columns]
    in_prompts = bool(text) and PLACES[0] in inside
    templates = builder.templates if builder is not None and in_prompts else []
    frames = [Frame(tuple(one.parts)) for one in templates]
    return Sought(
        prefix,
        tuple(conditions),
        text,
        tuple(own) if in_prompts else (),
        ANSWERS if text and PLACES[1] in inside else (),
        across(frames, text),
        any(frame.says(text) for frame in frames),
    )


def _is_result(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.removeprefix(prefix) in RESULT_COLUMNS


def spellings(text: str, *, escaped: bool) -> list[str]:
    """How a text may stand in a column: also as JSON writes it, where that is what the column holds."""
    if not escaped:
        return [text]
    written = [json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    return list(dict.fromkeys([text, *written]))

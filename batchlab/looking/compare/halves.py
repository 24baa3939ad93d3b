"""The answers of some rows, as they stand beside those of another run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import ODD, UNREADABLE
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.reader import RowReader, Rows, Wanted
from batchlab.looking.rows.asked import Asked
from batchlab.looking.rows.tables import row_at
from batchlab.looking.show import answer_text
from batchlab.result_columns import VECTOR_COLUMNS

TEXT_CHARS, ASKED_CHARS = 20_000, 240
_SHOWN = ("completion", "refusal", "tool_calls", *VECTOR_COLUMNS)
_READ = (*_SHOWN, "error_message", "custom_id", "status", "request_hash")


@dataclass(frozen=True, slots=True)
class Half:
    """One row of one run.

    Attributes:
        text: the answer, its beginning if it is long: then `cut` is how many characters it has.
        asked: the beginning of what was asked; None when it is not known.
    """

    row: int
    custom_id: str
    status: str
    text: str | None
    cut: int | None
    asked: str | None
    error_class: str | None
    error_message: str | None
    latency_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        made = asdict(self)
        for name in ("row", "custom_id", "asked"):
            del made[name]
        return made


class Halves:
    """Reads the rows of one run for pairs."""

    def __init__(self, index: RowIndex) -> None:
        self._index = index
        self._reader = RowReader(index.run, index)
        self._asked = Asked(index.run, media="left out")
        builder, plan = self._asked.builder, index.run.manifest.plan
        inputs = () if builder is None else tuple(name for name in plan.names_out if name in builder.columns)
        self._wanted = Wanted(inputs, _READ)

    def of(self, rows: Sequence[int]) -> dict[int, Half]:
        """Those of some rows; one that cannot be read says so in its `error_message`."""
        made: dict[int, Half] = {}
        for piece, own in self._index.by_piece(rows):
            try:
                for found in self._reader.rows(piece, self._wanted, own):
                    for place, row in enumerate(found.ids):
                        made[row] = self._half(row, found, place)
            except (BatchlabError, OSError, *ODD) as error:
                for row in own:
                    made.setdefault(row, self._with(row, str(row), None, None, str(error)))
        return {row: made.get(row) or self._with(row, str(row), None, None, None) for row in rows}

    def _half(self, row: int, found: Rows, place: int) -> Half:
        results = {name: found.result(name, place) for name in _READ}
        asked = self._asked.of(row, row_at(found.others, place), results).texts
        said = asked[-1][1] if asked else None
        text = answer_text(results) if results["status"] != "failed" else None
        return self._with(row, str(results["custom_id"] or row), text, said, results["error_message"])

    def _with(self, row: int, custom_id: str, text: str | None, asked: str | None, error: str | None) -> Half:
        index = self._index
        is_long = text is not None and len(text) > TEXT_CHARS
        return Half(
            row=row,
            custom_id=custom_id,
            status=index.word("status", row) or UNREADABLE,
            text=text[:TEXT_CHARS] if text is not None else None,
            cut=len(text) if is_long and text is not None else None,
            asked=None if asked is None else asked[:ASKED_CHARS],
            error_class=index.word("error_class", row),
            error_message=error,
            latency_ms=index.number("latency_ms", row),
            prompt_tokens=index.count("prompt_tokens", row),
            completion_tokens=index.count("completion_tokens", row),
            cost_usd=index.number("cost_usd", row),
        )

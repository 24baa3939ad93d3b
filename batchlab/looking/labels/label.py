"""A label, and the file that holds those of a run: a small Parquet that anybody can read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from batchlab.arrow import pa, pq
from batchlab.errors import UsageError
from batchlab.protocol.redact import printable, without_surrogates

PASS, FAIL, UNSURE = "pass", "fail", "unsure"
NAMES = (PASS, FAIL, UNSURE)  # for the keys 1 to 3, where nobody has chosen others
MOST_NAMES = 9
LABEL_CHARS, NOTE_CHARS = 40, 10_000
MOST_BYTES, MOST_LABELS = 64 << 20, 2_000_000  # of a file that is read
FORMAT = 1
_MARK = b"batchlab.labels"
_MICRO = 1_000_000

# a row, the run that it was compared with, "" of a plain label, and the generation whose row it is
Key: TypeAlias = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """Which answer of a row is meant: another attempt's is another one.

    Attributes:
        at: when it came, in µs since 1970; None when nobody knows.
        attempts: requests sent for the row until then.
        request_hash: of what was asked; by it an answer is found again when rows have moved.
    """

    at: int | None
    attempts: int | None
    request_hash: bytes | None = None

    def is_same(self, at: int | None, attempts: int | None) -> bool:
        """Whether the row's answer now is this one. A retry that brought no better one leaves it."""
        return self.at == at if self.at is not None else self.attempts == attempts


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody has said of a row's answer.

    Attributes:
        label: None of a row that has a note alone, or whose label was taken back.
        at: Unix seconds when it was said.
        generation: of the run, whose rows are counted.
        against: the other run's name, of a label that compares the answer with another's; `other` is which
            answer that is.
    """

    row: int
    custom_id: str
    label: str | None
    note: str | None
    at: float
    answer: Answer
    generation: int = 1
    against: str = ""
    other: Answer | None = None

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.row, self.against, self.generation

    @property
    def is_nothing(self) -> bool:
        """Whether it only says that there is none any more: also of a label that came with its row from an
        earlier generation."""
        return self.label is None and self.note is None


def checked_label(text: str) -> str:
    """A label as it is kept. Raises UsageError for one that is none."""
    plain = printable(text, LABEL_CHARS + 1)
    if not plain or len(plain) > LABEL_CHARS:
        raise UsageError(f"label {printable(text, 60)!r}: a label has 1 to {LABEL_CHARS} characters.")
    return plain


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Labels for the keys from 1 on. Raises UsageError."""
    checked = tuple(dict.fromkeys(map(checked_label, names)))
    if not 1 <= len(checked) <= MOST_NAMES:
        raise UsageError(f"labels: there are keys for 1 to {MOST_NAMES} labels, not for {len(checked)}.")
    return checked


def checked_note(text: str | None) -> str | None:
    """A note as it is kept; None for an empty one. Raises UsageError."""
    plain = without_surrogates(text or "").strip()
    if len(plain) > NOTE_CHARS:
        raise UsageError(f"a note has {NOTE_CHARS:,} characters at most, and this one {len(plain):,}.")
    return plain or None


_SCHEMA = {
    "row_id": "int64",
    "custom_id": "string",
    "label": "string",
    "note": "string",
    "labelled_at": "time",
    "answer_at": "time",
    "answer_attempts": "int64",
    "request_hash": "binary",
    "generation": "int64",
    "against": "string",
    "against_at": "time",
    "against_attempts": "int64",
}


def to_bytes(labels: Mapping[Key, Label], names: Sequence[str]) -> bytes:
    """The content of a file of labels."""
    ordered = [labels[key] for key in sorted(labels)]
    lists: dict[str, list[Any]] = {
        "row_id": [one.row for one in ordered],
        "custom_id": [without_surrogates(one.custom_id) for one in ordered],
        "label": [one.label for one in ordered],
        "note": [one.note for one in ordered],
        "labelled_at": [round(one.at * _MICRO) for one in ordered],
        "answer_at": [one.answer.at for one in ordered],
        "answer_attempts": [one.answer.attempts for one in ordered],
        "request_hash": [one.answer.request_hash for one in ordered],
        "generation": [one.generation for one in ordered],
        "against": [one.against or None for one in ordered],
        "against_at": [one.other and one.other.at for one in ordered],
        "against_attempts": [one.other and one.other.attempts for one in ordered],
    }
    schema = pa.schema(
        [pa.field(name, _types()[kind]) for name, kind in _SCHEMA.items()],
        metadata={_MARK: json.dumps({"format": FORMAT, "names": list(names)}).encode()},
    )
    sink = io.BytesIO()
    table = pa.table([pa.array(lists[field.name], field.type) for field in schema], schema=schema)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def of_bytes(content: bytes, where: str) -> tuple[dict[Key, Label], tuple[str, ...] | None]:
    """What a file of labels says, and the names that somebody has chosen; what in it is no label is left out.

    Raises:
        UsageError: it is none.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if file.metadata.num_rows > MOST_LABELS or len(content) > MOST_BYTES:
            raise UsageError(f"{where}: too large for a file of labels.")
        there = [name for name in _SCHEMA if name in file.schema_arrow.names]
        told = json.loads((file.schema_arrow.metadata or {}).get(_MARK, b"{}"))
        table = file.read(columns=there)
        columns = {
            name: table[name].cast(_types()[kind], safe=False).cast(_plain(kind)).to_pylist()
            if name in there
            else [None] * table.num_rows
            for name, kind in _SCHEMA.items()
        }
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(
            f"{where}: no whole file of labels ({printable(reason, 120)}). Move it away to go on without."
        ) from error
    made = {one.key: one for values in zip(*columns.values(), strict=True) if (one := _label(*values))}
    return made, _names(told)


def _label(
    row: int | None,
    custom_id: str | None,
    label: str | None,
    note: str | None,
    at: int | None,
    answer_at: int | None,
    attempts: int | None,
    request_hash: bytes | None,
    generation: int | None,
    against: str | None,
    against_at: int | None,
    against_attempts: int | None,
) -> Label | None:
    if row is None or row < 0:
        return None
    return Label(
        row,
        custom_id or str(row),
        printable(label, LABEL_CHARS) or None if label is not None else None,
        note[:NOTE_CHARS] if note else None,
        (at or 0) / _MICRO,
        Answer(answer_at, attempts, request_hash),
        generation or 1,
        printable(against or "", 200),
        Answer(against_at, against_attempts) if against else None,
    )


def _names(told: Any) -> tuple[str, ...] | None:
    names = told.get("names") if isinstance(told, dict) else None
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        return None
    try:
        return checked_names(names)
    except UsageError:
        return None


def _types() -> dict[str, pa.DataType]:
    return {
        "int64": pa.int64(),
        "string": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "binary": pa.binary(),
    }


def _plain(kind: str) -> pa.DataType:
    return pa.int64() if kind == "time" else _types()[kind]

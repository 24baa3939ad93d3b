"""The result columns that are held of all rows: about 70 bytes a row, as numpy arrays.

Null is code 0 of a word, -1 of a count, NaN of any other number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from batchlab.arrow import pa, pc
from batchlab.looking.rows.conditions import STATUSES

Numbers: TypeAlias = NDArray[Any]

UNREADABLE = "unreadable"  # the status of a row whose part is damaged or gone
ALL_STATUSES = (*STATUSES, UNREADABLE)
MOST_WORD_CHARS = 200
MOST_WORDS = 60_000  # of one column; what a hostile part has beyond reads as null

WORDS = {
    "status": "u1",
    "error_class": "u2",
    "finish_reason": "u2",
    "lane": "u2",
    "endpoint": "u2",
    "model": "u2",
    "service_tier": "u2",
}
COUNTS = {
    "prompt_tokens": "i4",
    "completion_tokens": "i4",
    "total_tokens": "i4",
    "cached_tokens": "i4",
    "reasoning_tokens": "i4",
    "attempts": "i2",
}
MEASURES = {
    "cost_usd": "f8",
    "cost_wasted_usd": "f8",
    "latency_ms": "f4",
    "queue_ms": "f4",
    "ttft_ms": "f4",
    "finished_at": "f8",
}
HELD = {**WORDS, **COUNTS, **MEASURES}
# what values of another kind than they should be raise, in a directory that batchlab has not written
ODD = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError)


def null_of(name: str) -> float:
    """What stands for null in a column."""
    return 0 if name in WORDS else -1 if name in COUNTS else np.nan


@dataclass(slots=True)
class Words:
    """The words of one column, each with its code; code 0 is null."""

    names: list[str | None]
    codes: dict[str, int]

    @classmethod
    def of(cls, known: tuple[str, ...] = ()) -> Words:
        """Those that are there from the start."""
        return cls([None, *known], {word: code for code, word in enumerate(known, 1)})

    def code(self, word: str | None) -> int:
        """The code of a word, which may be new."""
        if word is None:
            return 0
        word = word[:MOST_WORD_CHARS]
        found = self.codes.get(word)
        if found is None:
            if len(self.names) > MOST_WORDS:
                return 0
            found = self.codes[word] = len(self.names)
            self.names.append(word)
        return found


def new_words() -> dict[str, Words]:
    """Before a row is known."""
    return {name: Words.of(ALL_STATUSES if name == "status" else ()) for name in WORDS}


def held_values(name: str, column: pa.ChunkedArray | pa.Array, words: Mapping[str, Words]) -> Numbers:
    """A result column as it is held."""
    if name in WORDS:
        return _codes(name, column, words[name])
    if name in COUNTS:
        kind = np.dtype(COUNTS[name])
        whole = pc.fill_null(column.cast(pa.int64()), -1).to_numpy()
        return np.asarray(np.clip(whole, -1, np.iinfo(kind).max), dtype=kind)
    if name == "finished_at":
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
    measured = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    return np.asarray(measured, dtype=MEASURES[name])


def _codes(name: str, column: pa.ChunkedArray | pa.Array, words: Words) -> Numbers:
    kind = np.dtype(WORDS[name])
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found: list[Any] = []
    for chunk in chunks:
        if not pa.types.is_dictionary(chunk.type):
            chunk = chunk.cast(pa.string()).dictionary_encode()
        own = chunk.dictionary.cast(pa.string()).to_pylist()
        table = np.array([*(words.code(word) for word in own), 0], dtype=kind)  # the last one is null's
        places = pc.fill_null(chunk.indices.cast(pa.int32()), len(own)).to_numpy(zero_copy_only=False)
        found.append(table[places])
    return np.concatenate(found) if found else np.zeros(0, dtype=kind)


def arrow_column(name: str, values: Numbers, words: Mapping[str, Words]) -> pa.Array:
    """A column that is held, as Arrow has it, nulls and all."""
    if name in WORDS:
        codes = pa.array(values.astype("i4") - 1, mask=values == 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(words[name].names[1:], type=pa.string()))
    if name in COUNTS:
        return pa.array(values, mask=values < 0)
    if name == "finished_at":
        missing = np.isnan(values)
        micros = (np.where(missing, 0, values) * 1e6).round().astype("i8")
        return pa.array(micros, mask=missing).cast(pa.timestamp("us", tz="UTC"))
    return pa.array(values, mask=np.isnan(values))

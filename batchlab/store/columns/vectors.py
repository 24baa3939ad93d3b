"""Embeddings between the journal's text and Arrow: float32 all the way, without a Python number each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from batchlab.arrow import pa
from batchlab.protocol.embeddings import ITEM_BYTES, vector_bytes, vector_text
from batchlab.result_columns import VECTOR_COLUMNS

ONE, SEVERAL = VECTOR_COLUMNS


def vector_fields(names: Sequence[str]) -> list[pa.Field]:
    """`embedding` is the vector of a row; `embeddings` are those of a row that asked for several."""
    one = pa.list_(pa.float32())
    return [pa.field(name, one if name == ONE else pa.list_(one)) for name in names]


def vector_columns(vectors: Sequence[Sequence[str] | None], names: Sequence[str]) -> list[pa.Array]:
    """The columns `names` of rows with these vectors, null where a row has none of that kind."""
    singles = [_only(texts) for texts in vectors]
    several = [texts if texts and len(texts) > 1 else None for texts in vectors]
    return [_floats(singles) if name == ONE else _lists_of_floats(several) for name in names]


def vector_texts(
    columns: Sequence[pa.ChunkedArray], names: Sequence[str], rows: int
) -> list[tuple[str, ...] | None]:
    """Each row's vectors as they are kept, from the columns that hold them."""
    found: list[tuple[str, ...] | None] = [None] * rows
    for name, chunked in zip(names, columns, strict=True):
        column = chunked.combine_chunks()
        texts = _texts(column if name == ONE else column.values)
        offsets, valid = column.offsets.to_pylist(), column.is_valid().to_pylist()
        for row, held in enumerate(valid):
            if held and name == ONE:
                found[row] = (texts[row] or "",)
            elif held:
                found[row] = tuple(text or "" for text in texts[offsets[row] : offsets[row + 1]])
    return found


def _only(texts: Sequence[str] | None) -> str | None:
    return texts[0] if texts and len(texts) == 1 else None


def _floats(texts: Sequence[str | None]) -> pa.Array:
    vectors = [None if text is None else vector_bytes(text) for text in texts]
    lengths = [None if one is None else len(one) // ITEM_BYTES for one in vectors]
    buffer = pa.py_buffer(b"".join(filter(None, vectors)))
    values = pa.Array.from_buffers(pa.float32(), buffer.size // ITEM_BYTES, [None, buffer])
    return pa.ListArray.from_arrays(_offsets(lengths), values)


def _lists_of_floats(rows: Sequence[Sequence[str] | None]) -> pa.Array:
    inner = _floats([text for texts in rows for text in texts or ()])
    lengths = [None if texts is None else len(texts) for texts in rows]
    return pa.ListArray.from_arrays(_offsets(lengths), inner)


def _offsets(lengths: Sequence[int | None]) -> pa.Array:
    """Where each list begins, and the end; a null offset makes a null list."""
    ends = list(accumulate((length or 0 for length in lengths), initial=0))
    starts = [None if length is None else end for length, end in zip(lengths, ends, strict=False)]
    return pa.array([*starts, ends[-1]], type=pa.int32())


def _texts(column: pa.Array) -> list[str | None]:
    values = column.values.to_numpy(zero_copy_only=False).astype("<f4", copy=False)
    offsets, valid = column.offsets.to_pylist(), column.is_valid().to_pylist()
    return [
        vector_text(values[offsets[row] : offsets[row + 1]].tobytes()) if held else None
        for row, held in enumerate(valid)
    ]

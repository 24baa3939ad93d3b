"""Which rows of a column have a text, in any case, wherever in a list or a struct it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batchlab.arrow import pa, pc

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_DEPTH = 40  # of lists and structs that are looked into


def text_mask(column: pa.ChunkedArray, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which rows of a column have one of the texts, in any case, wherever in a nested value."""
    import numpy as np

    found = np.zeros(len(column), dtype=bool)
    first = 0
    for chunk in column.chunks:
        for leaf, rows in _texts(chunk):
            for text in texts:
                hits = pc.indices_nonzero(
                    pc.fill_null(pc.match_substring(leaf, text, ignore_case=True), False)
                ).to_numpy()
                if len(hits):
                    found[first + (hits if rows is None else rows[hits])] = True
        first += len(chunk)
    return found


def _texts(
    array: pa.Array, rows: npt.NDArray[np.int64] | None = None, depth: int = 0
) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64] | None]]:
    """The texts in an array, each with the rows that they are of; None for one text a row."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield array, rows
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        yield array.cast(pa.string()), rows
    elif depth >= MOST_DEPTH:
        return
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _texts(field, rows, depth + 1)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        parents = pc.list_parent_indices(array).to_numpy()
        yield from _texts(pc.list_flatten(array), parents if rows is None else rows[parents], depth + 1)
    elif pa.types.is_map(kind):
        yield from _texts(
            array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))),
            rows,
            depth + 1,
        )

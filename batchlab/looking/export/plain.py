"""Values of Arrow columns for a text file: numbers, words, lists and objects.

What Python holds badly or not at all (nanoseconds, years past 9999, zones that this machine does not know)
becomes text by Arrow's own cast, at any depth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from typing import Any

from batchlab.arrow import pa, pc


def plain_columns(table: pa.Table, as_python: Collection[str] = ()) -> list[list[Any]]:
    """The values of each column.

    Args:
        as_python: names of columns whose times are Python's, in microseconds.
    """
    return [
        table[name].to_pylist()
        if name in as_python
        else list(itertools.chain.from_iterable(map(_values, table[name].chunks)))
        for name in table.column_names
    ]


def _values(array: pa.Array) -> list[Any]:
    kind = array.type
    if not _any_type(kind, _is_special):
        return list(array.to_pylist())
    if isinstance(kind, pa.BaseExtensionType):
        return list(array.to_pylist()) if kind.extension_name == "arrow.uuid" else _values(array.storage)
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return _values(pc.run_end_decode(array))
    if pa.types.is_temporal(kind):
        return _times(array)
    if pa.types.is_struct(kind):
        children = [_values(child) for child in array.flatten()]
        names = [field.name for field in kind]
        rows = zip(*children, strict=True)
        return [
            dict(zip(names, row, strict=True)) if held else None
            for row, held in zip(rows, array.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_map(kind):
        pairs = pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))
        return [
            None if one is None else [(pair["key"], pair["value"]) for pair in one]
            for one in _values(array.cast(pairs))
        ]
    items = iter(_values(array.flatten()))
    lengths = pc.list_value_length(array).to_pylist()
    return [None if length is None else list(itertools.islice(items, length)) for length in lengths]


def _times(array: pa.Array) -> list[Any]:
    try:
        return list(array.cast(pa.string()).to_pylist())
    except pa.ArrowException:
        if not pa.types.is_timestamp(array.type):
            return [str(value) for value in array]
        # a zone that nobody here knows: the moment is the same in UTC
        return _times(array.cast(pa.timestamp(array.type.unit, "UTC")))


def _is_special(kind: pa.DataType) -> bool:
    """Whether Arrow's Python value is not one for a text file."""
    return bool(
        isinstance(kind, pa.BaseExtensionType)
        or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind))
        or pa.types.is_dictionary(kind)
        or pa.types.is_run_end_encoded(kind)
    )


def _any_type(kind: pa.DataType, holds: Callable[[pa.DataType], bool]) -> bool:
    """Whether a type, or one inside it, is such a one."""
    if holds(kind):
        return True
    return any(_any_type(kind.field(index).type, holds) for index in range(kind.num_fields))

"""Rows that a program holds, as an Arrow table that can be written to a file and read again.

A pandas frame's values become what the same values are in a JSON Lines file: NaN, None, NA and
NaT are null, a column whose values are of several types is carried as JSON text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from batchlab.arrow import pa, pc
from batchlab.errors import InputError
from batchlab.finite import finite
from batchlab.inputs.sources.arrow_files.rows import python_texts
from batchlab.inputs.sources.arrow_files.schema import fitted, storable
from batchlab.inputs.sources.column_types import (
    JSON_MARK,
    Kind,
    arrow_type,
    column_array,
    json_text,
    too_deep,
    widened,
)
from batchlab.job import ROWS

if TYPE_CHECKING:
    import pandas as pd

INDEX_KEY = b"batchlab.index"  # schema metadata: which columns are the frame's index
DIGEST_ROWS = 1_024

# scalars that Arrow has a type for and JSON has not
_TYPED = (bytes, date, time, timedelta, Decimal)


def frame_table(frame: pd.DataFrame) -> pa.Table:
    """The columns of a pandas frame, and its index when that says more than the position.

    Categories stay dictionaries; a column of objects becomes what its values are, JSON text when
    no type holds them all. Index levels follow the columns, under their names or
    `__index_level_N__`; `INDEX_KEY` in the schema's metadata lists them.

    Raises:
        InputError: two columns of one name, columns in levels, or a value that cannot be written
            without loss; names column and row.
    """
    import pandas as pd

    if frame.columns.nlevels > 1:
        raise InputError(ROWS, "the frame's columns have several levels", "Flatten them first.")
    names = [str(name) for name in frame.columns]
    _check_names(names)
    found = [_column(name, frame.iloc[:, position]) for position, name in enumerate(names)]
    metadata = None
    index = frame.index
    if not (isinstance(index, pd.RangeIndex) and index.equals(pd.RangeIndex(len(frame)))):
        levels = []
        for level, name in enumerate(index.names):
            own = name is not None and str(name) not in names
            levels.append(str(name) if own else f"__index_level_{level}__")
            found.append(_column(levels[-1], index.get_level_values(level).to_series()))
        labels = [None if name is None else str(name) for name in index.names]
        metadata = {INDEX_KEY: json.dumps({"columns": levels, "names": labels}).encode()}
    fields = [field for field, _ in found]
    _check_names([field.name for field in fields])
    return pa.Table.from_arrays([array for _, array in found], schema=pa.schema(fields, metadata=metadata))


def arrow_table(data: Any) -> pa.Table:
    """What is an Arrow table, or says that it is one (`__arrow_c_stream__`), in types that Parquet has.

    Raises:
        InputError: it is none, two columns have one name, or Parquet has no type for one of them.
    """
    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, NotImplementedError) as error:
        if hasattr(data, "__arrow_c_stream__") and "non-struct" not in str(error):  # and no single column
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise InputError(
                ROWS, f"cannot become an Arrow table ({reason})", "Cast that column to text first."
            ) from error
        problem = f"type {type(data).__name__} is no table"
        raise InputError(ROWS, problem, 'A Series becomes one by frame[["column"]].') from error
    _check_names(table.column_names)
    schema = storable(table.schema, ROWS)
    if table.schema.equals(schema):
        return table
    batches = [fitted(batch, schema, {}, ROWS) for batch in table.to_batches()]
    return pa.Table.from_batches(batches, schema=schema)


def table_digest(table: pa.Table) -> bytes:
    """16 bytes that tell a table's names, types and values from others'.

    A dictionary counts as its values do: runs are found again by what batchlab said when it decoded them.
    """
    digest = hashlib.blake2b(digest_size=16)
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        digest.update(f"{field.name}\0{kind}\0".encode())
    digest.update((table.schema.metadata or {}).get(INDEX_KEY, b""))
    for batch in table.to_batches(max_chunksize=DIGEST_ROWS):
        try:
            text = orjson.dumps(batch.to_pylist(), default=str, option=orjson.OPT_NON_STR_KEYS)
        except (ValueError, OverflowError, TypeError, KeyError, NotImplementedError):
            # Python does not hold one of them: a year past 9999, a zone that is not known here
            text = json_text([python_texts(column) for column in batch.columns]).encode()
        digest.update(text)
    return digest.digest()


def index_columns(schema: pa.Schema) -> tuple[list[str], list[str | None]]:
    """Columns that are an index's levels, and the levels' names; none for a plain index."""
    described = (schema.metadata or {}).get(INDEX_KEY)
    if described is None:
        return [], []
    found = json.loads(described)
    return found["columns"], found["names"]


def json_row(row: Any, number: int) -> bytes:
    """One line of a JSON Lines file for a row: a mapping, or a prompt's text.

    Raises:
        InputError: it is neither, or holds a value that JSON has no form for; names the row.
    """
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, Mapping):
        raise InputError(
            ROWS, f"type {type(row).__name__} is no row", "A row is a dict, or a prompt's text.", row=number
        )
    values = {}
    for name, value in row.items():
        plain = _plain_or_refuse(str(name), value, number)
        values[str(name)] = plain
    try:
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE, default=str)
    except TypeError:  # an integer of more than 64 bits, or half of a surrogate pair
        try:
            return (json.dumps(finite(values)[0], ensure_ascii=True, default=str) + "\n").encode()
        except (TypeError, ValueError) as error:
            raise InputError(ROWS, f"cannot be written as JSON: {error}", row=number) from error


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(ROWS, f"two columns are named {name!r}", "Rename one.")


def _column(name: str, series: pd.Series[Any]) -> tuple[pa.Field, pa.Array]:
    """One column in a type that Parquet keeps."""
    if series.dtype != object:
        try:
            array = pa.array(series, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, UnicodeEncodeError):
            pass  # no type of Arrow's; its values may have one
        else:
            array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            if pa.types.is_floating(array.type):
                array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
            kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
            if not isinstance(kind, pa.BaseExtensionType):
                return pa.field(name, array.type), array
    values = [_plain_or_refuse(name, value, row) for row, value in enumerate(series, 1)]
    return _objects(name, values)


def _objects(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    try:
        if any(isinstance(value, _TYPED) for value in values):
            try:
                array = pa.array(values)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                texts = [None if value is None else json_text(value) for value in values]
                return pa.field(name, pa.large_string(), metadata=JSON_MARK), pa.array(texts)
            return pa.field(name, array.type), array
        kind: Kind = "null"
        for value in values:
            kind = widened(kind, value)
        if too_deep(kind):
            kind = "json"
        field = pa.field(name, arrow_type(kind), metadata=JSON_MARK if kind == "json" else None)
        array = column_array(field, values)
        if isinstance(kind, str) or array.to_pylist() == values:
            return field, array
        # objects with different fields: as a struct, each would read as having them all
        field = pa.field(name, pa.large_string(), metadata=JSON_MARK)
        return field, column_array(field, values)
    except UnicodeEncodeError as error:
        raise InputError(ROWS, f"column {name!r} holds text that is not Unicode ({error.reason})") from error


def _plain_or_refuse(column: str, value: Any, row: int) -> Any:
    try:
        return _plain(value)
    except (TypeError, RecursionError) as error:
        raise InputError(
            ROWS,
            f"column {column!r} holds "
            + (f"a value of type {error}" if isinstance(error, TypeError) else "a value inside itself"),
            "Convert the column to text first.",
            row=row,
        ) from None


def _plain(value: Any) -> Any:
    """A value as JSON or Arrow knows it; whatever pandas calls missing is None. Raises TypeError."""
    if value is None or isinstance(value, str | bool | int | bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, UUID):
        return str(value)
    kind = type(value).__name__
    if kind in {"NAType", "NaTType"}:
        return None
    if isinstance(value, _TYPED):
        return value
    if hasattr(value, "tolist") and type(value).__module__ == "numpy":
        return _plain(value.tolist())
    raise TypeError(kind)

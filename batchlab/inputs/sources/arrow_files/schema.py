"""One schema for the files of an input, and their batches brought to it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from batchlab.arrow import pa, pc, pq
from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.recast import recast, without_inner_views

# what Arrow's own readers add, which is about the file and not about the column
_OF_THE_FILE = (b"PARQUET:field_id",)


def cleaned(schema: pa.Schema) -> pa.Schema:
    """A file's schema as its writer meant it."""
    return pa.schema(
        [
            pa.field(str(field.name), field.type, field.nullable, metadata=_without_file(field.metadata))
            for field in schema
        ],
        metadata=_without_file(schema.metadata),
    )


def writable(schema: pa.Schema) -> pa.Schema:
    """The schema in types of which a part can be written."""
    if not any(field.type.num_fields for field in schema):
        return schema
    fields = [field.with_type(without_inner_views(field.type)) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def _without_file(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    kept = {key: value for key, value in (metadata or {}).items() if key not in _OF_THE_FILE}
    return kept or None


def united(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """The schema that holds the rows of all files: columns by name, in the first one's order.

    A column that a file lacks is null there. Types are the widest of a column's.

    Raises:
        InputError: two columns of one name, or types that nothing holds; names file and column.
    """
    fields: dict[str, pa.Field] = {}
    whence: dict[str, str] = {}
    for name, schema in schemas:
        _refuse_twins(name, schema)
        for field in schema:
            known = fields.get(field.name)
            if known is None:
                fields[field.name], whence[field.name] = field, name
            elif not field.equals(known):
                fields[field.name] = _wider(known, field, name, whence[field.name])
    if len(schemas) > 1:
        everywhere = set.intersection(*(set(schema.names) for _, schema in schemas))
        fields = {
            name: field if name in everywhere else field.with_nullable(True) for name, field in fields.items()
        }
    return pa.schema(list(fields.values()), metadata=schemas[0][1].metadata)


def _refuse_twins(name: str, schema: pa.Schema) -> None:
    seen: set[str] = set()
    for column in schema.names:
        if column in seen:
            raise InputError(name, f"two columns are named {column!r}", "Rename one.")
        seen.add(column)


def _wider(known: pa.Field, field: pa.Field, name: str, first: str) -> pa.Field:
    kind = _widest(known.type, field.type)
    if kind is None:
        raise InputError(
            name,
            f"column {field.name!r} is {field.type}, and {known.type} in {first}",
            "Cast one of the two, or name the files that are meant by a glob.",
        )
    return pa.field(field.name, kind, known.nullable or field.nullable, metadata=known.metadata)


def _widest(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both; None when none does without changing what a value is."""
    if one.equals(other):
        return one
    for first, second in ((one, other), (other, one)):
        if pa.types.is_null(first):
            return second
    one, other = _plain(one), _plain(other)
    if one.equals(other):
        return one
    if _is_text(one) != _is_text(other):  # Arrow makes bytes of text and bytes
        return None
    with contextlib.suppress(pa.ArrowException):
        merged = pa.unify_schemas(
            [pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive"
        )
        return merged.field("x").type
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type without the ways in which its values may be stored."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_list_view(kind):
        return pa.list_(kind.value_field)
    return kind


def _with_plain_values(kind: pa.DataType) -> pa.DataType:
    """A dictionary stays one; polars' are of string views."""
    if not pa.types.is_dictionary(kind):
        return _plain(kind)
    return pa.dictionary(kind.index_type, _plain(kind.value_type), ordered=kind.ordered)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def storable(schema: pa.Schema, shown_as: str) -> pa.Schema:
    """The schema in the types that a Parquet file, and so a run's part, gives back: seconds are milliseconds
    there, and runs of a value are values.

    Raises:
        InputError: a column has a type that Parquet does not hold.
    """
    return writable(pa.schema([_storable(field, shown_as) for field in schema], metadata=schema.metadata))


def _storable(field: pa.Field, shown_as: str) -> pa.Field:
    for kind in dict.fromkeys((field.type, _with_plain_values(field.type), _plain(field.type))):
        target = pa.BufferOutputStream()
        with contextlib.suppress(pa.ArrowException, NotImplementedError):
            is_extension = isinstance(kind, pa.BaseExtensionType)
            empty = pa.array([], type=kind.storage_type if is_extension else kind)
            pq.write_table(pa.table({"x": kind.wrap_array(empty) if is_extension else empty}), target)
            return field.with_type(pq.read_schema(pa.BufferReader(target.getvalue())).field("x").type)
    raise InputError(
        shown_as,
        f"column {field.name!r} is {field.type}, which Parquet, and so a run, cannot hold",
        "Cast it to text first, or leave it out.",
    )


def fitted(
    batch: pa.RecordBatch, schema: pa.Schema, keys: Mapping[str, Any], shown_as: str
) -> pa.RecordBatch:
    """A file's batch in the input's schema.

    Args:
        keys: values of columns that the file's folders name.

    Raises:
        InputError: a value does not fit the wider type; names file and column.
    """
    have = set(batch.schema.names)
    columns = []
    for field in schema:
        if field.name in have:
            columns.append(_cast(batch.column(field.name), field, shown_as))
        elif keys.get(field.name) is not None:
            columns.append(pa.array([keys[field.name]] * batch.num_rows, type=field.type))
        else:
            columns.append(pa.nulls(batch.num_rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(array: pa.Array, field: pa.Field, shown_as: str) -> pa.Array:
    if array.type.equals(field.type):
        return array
    try:
        if pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        if pa.types.is_dictionary(array.type):
            plain = array.dictionary.cast(_plain(array.type.value_type))
            ordered = array.type.ordered
            array = pa.DictionaryArray.from_arrays(array.indices, plain, ordered=ordered)
            if pa.types.is_dictionary(field.type):
                indices, values = (
                    array.indices.cast(field.type.index_type),
                    plain.cast(field.type.value_type),
                )
                return pa.DictionaryArray.from_arrays(indices, values, ordered=field.type.ordered)
        if isinstance(field.type, pa.BaseExtensionType) and isinstance(array.type, pa.BaseExtensionType):
            return field.type.wrap_array(array.storage.cast(field.type.storage_type))
        return recast(array, field.type)
    except (pa.ArrowException, NotImplementedError, TypeError) as error:
        raise InputError(
            shown_as,
            f"column {field.name!r} is {array.type}, and cannot become {field.type}, as the run's parts have "
            f"it ({str(error).splitlines()[0]})",
        ) from error


def keys_schema(schema: pa.Schema, keys: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The schema with columns for the keys of folders; a file's own column of that name is it."""
    for name in dict.fromkeys(name for one in keys for name in one):
        if name not in schema.names:
            values = [one.get(name) for one in keys]
            text = any(isinstance(value, str) for value in values)
            schema = schema.append(pa.field(name, pa.string() if text else pa.int64()))
    return schema


def no_text_rows(batch: pa.RecordBatch) -> dict[int, str]:
    """Rows of a batch with text that is no UTF-8, and which column it is in.

    Raises:
        pa.ArrowInvalid: something else is wrong, and nothing in the batch can be trusted.
    """
    batch.validate()
    found: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
            continue
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
        for index in range(len(column)):
            try:
                column.slice(index, 1).validate(full=True)
            except pa.ArrowInvalid:
                found.setdefault(index, f"column {name!r} is not UTF-8 text")
    return found


def without_rows(batch: pa.RecordBatch, rows: Mapping[int, str]) -> pa.RecordBatch:
    """The batch with nulls for those rows."""
    fields = [field.with_nullable(True) for field in batch.schema]
    return pa.RecordBatch.from_arrays(
        [_without(column, sorted(rows)) for column in batch.columns],
        schema=pa.schema(fields, metadata=batch.schema.metadata),
    )


def _without(column: pa.Array, rows: Sequence[int]) -> pa.Array:
    pieces, start = [], 0
    for row in rows:
        pieces += [column.slice(start, row - start), pa.nulls(1, column.type)]
        start = row + 1
    return pa.concat_arrays([*pieces, column.slice(start)])

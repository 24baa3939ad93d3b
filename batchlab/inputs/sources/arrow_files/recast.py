"""Casts that Arrow does not do, or does wrongly."""

from __future__ import annotations

from batchlab.arrow import pa, pc


def recast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The array in another type.

    Arrow's cast of a list view to a list makes offsets that are one too few (pyarrow 24 to 26).

    Raises:
        pa.ArrowException, NotImplementedError: it cannot be had.
    """
    kind = array.type
    if kind.equals(wanted):
        return array
    if not _has_list_view(kind):
        return array.cast(wanted)
    if pa.types.is_struct(kind) and pa.types.is_struct(wanted) and kind.num_fields == wanted.num_fields:
        children = [recast(child, field.type) for child, field in zip(array.flatten(), wanted, strict=True)]
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=array.is_null())
    if _is_list(kind) and _is_list(wanted):
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
        large = pa.types.is_large_list(wanted)
        offsets = pa.concat_arrays([pa.array([0]), pc.cumulative_sum(lengths)])
        return (pa.LargeListArray if large else pa.ListArray).from_arrays(
            offsets.cast(pa.int64() if large else pa.int32()),
            recast(array.flatten(), wanted.value_type),
            type=wanted,
            mask=array.is_null(),
        )
    found = array.cast(wanted)
    found.validate()
    return found


def _has_list_view(kind: pa.DataType) -> bool:
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    return any(_has_list_view(kind.field(index).type) for index in range(kind.num_fields))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def without_inner_views(kind: pa.DataType, *, inside: bool = False) -> pa.DataType:
    """A type in whose structs views of text and bytes are text and bytes: Arrow's Parquet writer cannot write
    some rows of a struct that has views (pyarrow 26: "Slicing not implemented for StringView")."""
    types = pa.types
    if inside and types.is_string_view(kind):
        return pa.large_string()
    if inside and types.is_binary_view(kind):
        return pa.large_binary()

    def changed(field: pa.Field) -> pa.Field:
        return field.with_type(without_inner_views(field.type, inside=inside or types.is_struct(kind)))

    if types.is_struct(kind):
        return pa.struct([changed(field) for field in kind])
    if types.is_map(kind):
        return pa.map_(changed(kind.key_field), changed(kind.item_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(changed(kind.value_field), kind.list_size)
    for is_kind, make in (
        (types.is_list, pa.list_),
        (types.is_large_list, pa.large_list),
        (types.is_list_view, pa.list_view),
        (types.is_large_list_view, pa.large_list_view),
    ):
        if is_kind(kind):
            return make(changed(kind.value_field))
    return kind

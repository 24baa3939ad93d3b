"""Typed values as plain data and back, so that they travel as JSON. Which members there are, their types say."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_hints = cache(get_type_hints)


def plain(value: Any) -> Any:
    """Dataclasses as dicts, and named tuples as lists, however deep."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def typed(kind: type[T], data: Any) -> T:
    """The value of a type that `plain` made into `data`.

    The type's members are scalars, dataclasses, named tuples, mappings from text, or one of these and None.
    """
    value: T = _typed(kind, data)
    return value


def _typed(kind: Any, data: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
        return None if data is None else _typed(kind, data)
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _typed(hints[name], one) for name, one in data.items()})
    if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
        of = get_args(kind)[1]
        return {key: _typed(of, one) for key, one in data.items()}
    if isinstance(kind, type) and issubclass(kind, tuple):
        return kind(*data)
    return data

"""JSON objects as rows: whole numbers of any size, text that UTF-8 can hold, and what is wrong otherwise."""

from __future__ import annotations

import json
from typing import Any

import orjson

from batchlab.finite import is_finite

NOT_JSON = "not JSON"  # how a problem begins that is one of the text's syntax
TOO_LARGE = "holds a number that is larger than any that can be read"  # 1e999, which would be infinite


def parse_line(line: bytes) -> tuple[dict[str, Any], str | None]:
    """A line's object, and what is wrong with it (then the object is empty)."""
    values, problem, _ = read_object(line)
    return values, problem


def read_object(text: bytes) -> tuple[dict[str, Any], str | None, bool]:
    """An object, what is wrong with it (then it is empty), and whether half a surrogate pair was replaced."""
    replaced = False
    try:
        value = orjson.loads(text)
        if type(value) is dict:
            return *exact(value, text), False
    except ValueError:
        try:
            # what orjson refuses but JSON allows, such as an escaped lone surrogate
            found = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
            if not is_finite(found):
                return {}, TOO_LARGE, False
            value = _cleaned(found)
            replaced = value != found
        except UnicodeDecodeError as error:
            return {}, f"not UTF-8 text (byte {error.start + 1})", False
        except ValueError as error:
            return {}, f"{NOT_JSON}: {str(error).split(': line')[0]}", False
        except RecursionError:
            return {}, "nested too deeply", False
    if not isinstance(value, dict):
        return {}, f"expected a JSON object, found {type(value).__name__}", False
    return value, None, replaced


def exact(value: dict[str, Any], line: bytes) -> tuple[dict[str, Any], str | None]:
    """An object as orjson read it from `line`, with whole numbers of any size as they are written."""
    try:
        for item in value.values():
            if type(item) is not str and _is_rounded(item):
                found = json.loads(line)
                return (found, None) if is_finite(found) else ({}, TOO_LARGE)
    except RecursionError:
        return {}, "nested too deeply"
    return value, None


def _is_rounded(value: Any) -> bool:
    """orjson reads whole numbers past 64 bits as floats; ids of that size would lose digits."""
    if type(value) is str:
        return False
    if type(value) is float:
        return not -(2.0**63) < value < 2.0**63
    if type(value) is list:
        return any(_is_rounded(item) for item in value)
    return type(value) is dict and any(_is_rounded(item) for item in value.values())


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _cleaned(value: Any) -> Any:
    """`value` with lone surrogates replaced: UTF-8, and so Arrow, cannot hold them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    return value

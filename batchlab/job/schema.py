"""Where a job's JSON Schema comes from: written in the job, a file, or a model named by its import path."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# `package.module:Model`; a file of that name wins
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# a Pydantic model has the first, its TypeAdapter the second
_SCHEMA_METHODS = ("model_json_schema", "json_schema")


def schema_of(named: Any) -> tuple[dict[str, Any], str]:
    """The JSON Schema that a job names, as plain data, and how it was named, for messages.

    Args:
        named: a mapping; a file's path; `module:Model`, where Model is a Pydantic model, a TypeAdapter
            or a dict; or, from Python, such a model itself.

    Raises:
        ValueError: there is none; one line that begins with the name.
    """
    if isinstance(named, Mapping):
        return _plain(named, "schema"), "schema"
    if isinstance(named, str | Path):
        text = str(named)
        if is_import_path(text) and not Path(text).exists():
            return _of_object(_imported(text), text), text
        return _of_file(text), text
    name = str(getattr(named, "__name__", type(named).__name__))
    return _of_object(named, name), name


def is_import_path(text: str) -> bool:
    """Whether a schema's name may be `module:Model`."""
    return _IMPORT_PATH.fullmatch(text) is not None


def _of_file(path: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        hint = "" if "/" in path or "." in path else "; a model is named as module:Model"
        raise ValueError(f"{path}: cannot be read: {error.strerror}{hint}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:  # JSON, or the encoding
        raise ValueError(f"{path}: not JSON: {error}") from None
    return _plain(data, path)


def _imported(path: str) -> Any:
    module_name, _, names = path.partition(":")
    try:
        with _current_directory_first():
            found: Any = importlib.import_module(module_name)
        for name in names.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code may raise anything
        raise ValueError(f"{path}: cannot be imported: {_said(error)}") from None
    return found


@contextlib.contextmanager
def _current_directory_first() -> Iterator[None]:
    """The user's own modules are found as `python -m` finds them, also by the installed command."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(Path.cwd()))


def _of_object(found: Any, path: str) -> dict[str, Any]:
    if isinstance(found, Mapping):
        return _plain(found, path)
    method = next((getattr(found, name) for name in _SCHEMA_METHODS if hasattr(found, name)), None)
    if not callable(method):
        raise ValueError(f"{path}: neither a Pydantic model nor a dict, but {type(found).__name__}")
    try:
        schema = method()
    except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
        raise ValueError(f"{path}: its {method.__name__}() failed: {_said(error)}") from None
    return _plain(schema, path)


def _plain(schema: Any, where: str) -> dict[str, Any]:
    """The schema as JSON holds it: it goes over the wire and into run.json."""
    if not isinstance(schema, Mapping):
        raise ValueError(f"{where}: a JSON Schema is an object here, not {json_type(schema)}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: cannot be written as JSON: {_said(error)}") from None
    return plain


def json_type(value: Any) -> str:
    """What JSON calls the value, for messages."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "text" if isinstance(value, str) else "an array")


def _said(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__

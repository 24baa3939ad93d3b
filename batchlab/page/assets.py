"""The files of the front end, as they come with the package: read once, and served by their names alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

INDEX = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@cache
def assets() -> Mapping[str, bytes]:
    """Each file by its name."""
    return {
        one.name: one.read_bytes()
        for one in sorted(files("batchlab.page").joinpath("front").iterdir(), key=lambda one: one.name)
        if one.is_file() and _ending(one.name) in _TYPES
    }


def type_of(name: str) -> str:
    """The content type of a file."""
    return _TYPES[_ending(name)]


def _ending(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""

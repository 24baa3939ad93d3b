"""JSON as the page gets it, and errors as one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from batchlab.errors import BatchlabError
from batchlab.finite import strict_json
from batchlab.page.access import HEADERS
from batchlab.page.shelf import NoSuchRun
from batchlab.protocol.redact import printable

SAID_CHARS = 400  # of what is wrong


def json_bytes(value: Any) -> bytes:
    """A value as JSON; null for what is no number, and U+FFFD's escape for half a character."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        return strict_json(value).encode()


def json_answer(value: Any, status: int = 200) -> web.Response:
    """An answer with that value."""
    return web.Response(
        body=json_bytes(value), status=status, content_type="application/json", charset="utf-8"
    )


def trouble(why: str, status: int) -> web.Response:
    """An answer that says in one line what is wrong."""
    return json_answer({"error": printable(why, SAID_CHARS)}, status)


def status_of(error: Exception) -> int:
    """The HTTP status of something that was raised."""
    match error:
        case NoSuchRun():
            return 404
        case BatchlabError():
            return 400
        case _:
            return 500


def words_of(error: Exception) -> str:
    """What was raised, as one line for a person: never a traceback."""
    if isinstance(error, BatchlabError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'the run'}: {error.strerror or type(error).__name__}"
    return f"this cannot be shown ({type(error).__name__}: {printable(str(error), 120)})"


def with_headers(answer: web.StreamResponse, more: Mapping[str, str] = HEADERS) -> web.StreamResponse:
    """The answer, with what each must say to a browser."""
    for name, value in more.items():
        answer.headers[name] = value
    return answer

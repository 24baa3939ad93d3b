"""What of aiohttp's inside the connections and the pooled wire were written for, and whether it is there.

aiohttp promises nothing of these names. They were read in 3.14.5: `client_proto.py`, `connector.py`,
`client_reqrep.py`, `streams.py`. A version that lacks one of them is used by its public interface
alone; see `opening.connector_to`.
"""

from __future__ import annotations

import asyncio
import inspect
from importlib import import_module
from typing import Any

import aiohttp
from yarl import URL

# module, class, what it has; of a method, the names of its parameters after `self` that we pass
_METHODS: tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...] = (
    (
        "aiohttp.client_proto",
        "ResponseHandler",
        {
            "__init__": ("loop",),
            "abort": (),
            "connection_lost": ("exc",),
            "connection_made": ("transport",),
            "data_received": ("data",),
            "eof_received": (),
            "exception": (),
            "force_close": (),
            "is_connected": (),
            "read": (),
            "set_exception": ("exc",),
            "set_response_params": ("read_until_eof",),
        },
    ),
    (
        "aiohttp.connector",
        "TCPConnector",
        {
            "_create_connection": ("req", "traces", "timeout"),
            "_release": ("key", "protocol", "should_close"),
            "close": (),
            "connect": ("req", "traces", "timeout"),
        },
    ),
    ("aiohttp.connector", "Connection", {"close": (), "release": ()}),
    (
        "aiohttp.client_reqrep",
        "ClientRequest",
        {
            "__init__": ("method", "url", "headers", "data", "loop"),
            "write_bytes": ("writer", "conn", "content_length"),
        },
    ),
    (
        "aiohttp.streams",
        "StreamReader",
        {
            "exception": (),
            "is_eof": (),
            "on_eof": ("callback",),
            "read_nowait": (),
            "readany": (),
            "set_exception": ("exc",),
        },
    ),
)
_VALUES = (
    ("aiohttp.client_proto", "ResponseHandler", ("should_close", "transport")),
    ("aiohttp.connector", "Connection", ("protocol",)),
    ("aiohttp.client_reqrep", "ClientRequest", ("connection_key", "url")),
    ("aiohttp.streams", "StreamReader", ("total_raw_bytes",)),
    ("aiohttp.streams", "EMPTY_PAYLOAD", ()),
    ("aiohttp.http_exceptions", "HttpProcessingError", ()),
)


async def lacking() -> list[str]:
    """What is not as it was, by name; empty when all of it is there."""
    missing = []
    for module, name, methods in _METHODS:
        for method, wanted in methods.items():
            if not _takes(_member(module, name, method), wanted):
                missing.append(f"{name}.{method}({', '.join(wanted)})")
    for module, name, values in _VALUES:
        missing += [f"{name}.{value}" for value in values if _member(module, name, value) is None]
        if not values and _member(module, name) is None:
            missing.append(name)
    return missing + (await _lacking_inside() if not missing else [])


async def _lacking_inside() -> list[str]:
    """The same of what only instances have."""
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector()
    handler: Any = import_module("aiohttp.client_proto").ResponseHandler(loop)
    inside = (
        ("TCPConnector._factory", hasattr(connector, "_factory")),
        ("ResponseHandler._buffer", hasattr(handler, "_buffer")),
        ("ResponseHandler._parser", hasattr(handler, "_parser")),
        ("ResponseHandler._payload", hasattr(handler, "_payload")),
        (
            "ClientRequest.headers",
            hasattr(aiohttp.ClientRequest("POST", URL("http://host/"), data=b"", loop=loop), "headers"),
        ),
    )
    await connector.close()
    return [name for name, is_there in inside if not is_there]


def _member(module: str, *names: str) -> object | None:
    try:
        found: object = import_module(module)
    except ImportError:
        return None
    for name in names:
        found = getattr(found, name, None)
    return found


def _takes(method: Any, wanted: tuple[str, ...]) -> bool:
    """Whether it can be called with `wanted`, and needs nothing beside them and `self`."""
    if not callable(method):
        return False
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):  # compiled: its name is all that can be seen
        return True
    known = {"self", *wanted}
    varied = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    needed = {
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in varied
    }
    return needed <= known and all(name in parameters for name in wanted)

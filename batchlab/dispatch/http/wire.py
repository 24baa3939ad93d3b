"""What a wire is: it POSTs bodies to one address, and brings the responses.

There are two, with the same answers (the transport's tests run over both): `session_wire.SessionWire`,
which can do all that aiohttp can, and `pooled_wire.PooledWire`, which costs less than half of it.
Neither lets a request leave before its record is written, and what comes on an idle connection
answers nobody (`connections`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self

import aiohttp


class UnaskedError(aiohttp.ServerDisconnectedError):
    """A connection spoke or ended out of turn, and was dropped: what it said answers nobody.

    Attributes:
        again: nothing was sent, and the connection had been used before; another will do.
    """

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


def unread(content: aiohttp.StreamReader) -> bytes:
    """What had arrived of a body when its connection broke, and was not read yet.

    aiohttp keeps it in the reader, behind the error; where its name for that is another, there is none.
    """
    return b"".join(getattr(content, "_buffer", ()))[getattr(content, "_buffer_offset", 0) :]


class WireResponse(Protocol):
    """The start of a response; its body is read from `content`."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> aiohttp.StreamReader: ...

    async def gathered(self) -> bytes:
        """What has arrived of the body since the last call; b"" at its end.

        May wait up to `GATHER_S` for more, so that a stream of small pieces costs one wake for several.
        """
        ...

    def release(self) -> Any:
        """Gives the connection back; closes it unless the body was read to its end."""
        ...


class Wire(Protocol):
    """Sends bodies to one address. Used as an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def post(self, body: bytes) -> WireResponse:
        """The response to one POST.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is none. Reading its content may raise them too.
            RunStopped: its record could not be written, so it did not leave.
        """
        ...

"""The connection, the headers and the bytes beneath an answer.

Sources: RFC 9110, section 5.5 (bytes above 127 in a header are opaque), RFC 9112 (framing);
aiohttp 13656 (an answer on an idle connection); nginx and HAProxy, which send 408 there.
"""

from __future__ import annotations

import gzip
from functools import cache

from batchlab.endpoints.simulator.faults.drafts import (
    Asked,
    Change,
    FaultKind,
    answer,
    header,
    sent,
    together,
)
from batchlab.endpoints.simulator.faults.streams import CUT_BODY
from batchlab.endpoints.simulator.wire import End

_TIMEOUT_PAGE = b"<html><body><h1>408 Request Time-out</h1></body></html>\n"
LATE_408 = (
    b"HTTP/1.1 408 Request Time-out\r\nContent-Type: text/html\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_TIMEOUT_PAGE)
) + _TIMEOUT_PAGE
_ZIPPED = {"Content-Encoding": "gzip"}
HANG: Change = together(answer(200, b"", billed=True), sent(silent=True, end=End.DROP, delay_s=300.0))


@cache
def _bomb_bytes() -> bytes:
    return gzip.compress(b" " * (64 << 20), 9)


def _bomb(asked: Asked) -> bytes:
    """Made when it is first asked for: it takes a moment."""
    del asked
    return _bomb_bytes()


def _huge(asked: Asked) -> bytes:
    del asked
    return b'{"x": "' + b"y" * (20 << 20) + b'"}'


CONNECTIONS: dict[str, FaultKind] = {
    "reset": FaultKind(
        "the connection is closed without an answer",
        together(answer(200, b""), sent(silent=True, end=End.DROP)),
    ),
    "reset_body": FaultKind("the body is cut off, charged", CUT_BODY),
    "hang": FaultKind("nothing for five minutes, charged", HANG),
    "bad_gzip": FaultKind(
        "a body that is said to be gzip", answer(200, b"this is not gzip", headers=_ZIPPED)
    ),
    "gzip_bomb": FaultKind("64 MiB in a small gzip", answer(200, _bomb, headers=_ZIPPED)),
    "huge_body": FaultKind("20 MiB of JSON", answer(200, _huge)),
    "request_id_latin": FaultKind("x-request-id that is not UTF-8", header("x-request-id", b"caf\xe9-1")),
    "request_id_control": FaultKind(
        "x-request-id with a tab and DEL", header("x-request-id", b"req\t1\x1b[31m\x7f")
    ),
    "request_id_utf8": FaultKind("x-request-id in UTF-8", header("x-request-id", "réq-日本-1".encode())),
    "answer_twice": FaultKind("the same answer once more on the idle connection", sent(late=True)),
    "late_408": FaultKind("408 on the idle connection (nginx, HAProxy)", sent(late=LATE_408)),
}

"""Where the first answer in some bytes ends, for when a parser has refused what follows it.

A parser that meets no HTTP behind an answer throws away the answer, too: what was asked and paid for.
This is looked at only then. It reads no more of HTTP than where things end, and is as lenient with line
ends as aiohttp's parser is.
"""

from __future__ import annotations

import re

_HEAD = re.compile(rb"[\r\n]*HTTP/1\.[01] (\d{3})[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d+)[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding:[^\n]*chunked[ \t]*\r?\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_TRAILERS = re.compile(rb"(?:[^\r\n][^\n]*\n)*\r?\n")
_SWITCHING = 101


def well_framed(data: bytes) -> int:
    """How many bytes are the first answer in `data`, with the interim ones before it.

    Of a chunked answer that is cut or spoilt, its head and its whole chunks; 0 of what has no whole head,
    and of what ends with its connection.
    """
    at = 0
    while (head := _HEAD.match(data, at)) is not None:
        at, status = head.end(), int(head[1])
        if status >= 200:
            return _end_of_body(data, at, head[0], status)
        if status == _SWITCHING:
            break
    return 0


def _end_of_body(data: bytes, at: int, head: bytes, status: int) -> int:
    if status in {204, 304}:
        return at
    if _CHUNKED.search(head):
        return _end_of_chunks(data, at)
    length = _LENGTH.search(head)
    if length is None or len(length[1]) > 15:
        return 0
    end = at + int(length[1])
    return end if end <= len(data) else 0


def _end_of_chunks(data: bytes, at: int) -> int:
    while (chunk := _CHUNK.match(data, at)) is not None:
        size = int(chunk[1], 16)
        if not size:
            trailers = _TRAILERS.match(data, chunk.end())
            return at if trailers is None else trailers.end()
        end = _LINE_END.match(data, chunk.end() + size)
        if end is None:
            break
        at = end.end()
    return at

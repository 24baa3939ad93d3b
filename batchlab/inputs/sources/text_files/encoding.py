"""Text in another encoding than UTF-8, by its mark or by the job, as a stream of UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import Any, BinaryIO, cast

from batchlab.errors import InputError

BLOCK_BYTES = 64 * 1024
# the longer marks first: UTF-32's begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = {"utf-8", "utf-8-sig", "ascii"}
# What cannot be decoded must not read as text: it becomes a byte that UTF-8 does not have, and so its row's
# failure.
_NO_TEXT = "batchlab.no-text"
codecs.register_error(_NO_TEXT, lambda error: ("\udcff", cast("UnicodeDecodeError", error).end))


def encoding_by_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark names, other than UTF-8."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark, as text in a Latin script shows it: every other byte is 0."""
    sample = head[:2_000]
    half = len(sample) // 2
    if half < 4:
        return None
    if sample[1::2].count(0) > half * 0.8 and not sample[::2].count(0):
        return "utf-16-le"
    if sample[::2].count(0) > half * 0.8 and not sample[1::2].count(0):
        return "utf-16-be"
    return None


def known_encoding(name: str, shown_as: str) -> str | None:
    """The codec that a job names; None for UTF-8, which needs none. Raises InputError if there is none."""
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # base64 and rot13 are codecs, and no encodings of text
    except LookupError:
        raise InputError(
            shown_as,
            f"there is no encoding {name!r}",
            "Write {input.encoding=windows-1252}, or {input.encoding=utf-16}.",
        ) from None
    return None if found.name in _UTF8 else found.name


def recoded(raw: BinaryIO, encoding: str) -> BinaryIO:
    """`raw`, which is in `encoding`, as UTF-8."""
    return cast("BinaryIO", io.BufferedReader(_Recoded(raw, encoding), 1 << 18))


class _Recoded(io.RawIOBase):
    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)(errors=_NO_TEXT)
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            block = self._raw.read(BLOCK_BYTES)
            self._ended = not block
            text = self._decoder.decode(block, final=self._ended)
            self._ready = memoryview(text.encode("utf-8", "surrogateescape"))
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

"""Text in another encoding than UTF-8, by its mark or by the job, as a stream of UTF-8."""

from __future__ import annotations

import codecs
import difflib
import io
from encodings import aliases
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
# what editors and spreadsheets call them
_CALLED = {
    **dict.fromkeys(("ansi", "excel", "windows", "win", "western", "westerneuropean", "winlatin1"), "cp1252"),
    **dict.fromkeys(("win1252", "windows1252", "mswin1252"), "cp1252"),
    **dict.fromkeys(("unicode", "ucs2", "unicodetext", "utf16bom"), "utf-16"),
    **dict.fromkeys(("utf8bom", "utf8withbom", "utf8withoutbom", "utf8nobom", "utf8sig"), "utf-8"),
    **dict.fromkeys(("dos", "oem", "msdos"), "cp850"),
    **dict.fromkeys(("mac", "macos"), "mac-roman"),
    **dict.fromkeys(("gb", "chinese", "simplifiedchinese"), "gb18030"),
    **dict.fromkeys(("sjis", "japanese"), "cp932"),
}
# codecs that know no rule for bytes that are no text, or are of program text
_OF_NO_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
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
    except LookupError:
        found = None
    if found is None or not _is_of_text(found.name):
        raise InputError(shown_as, f"there is no encoding {name!r}", _meant(name))
    return None if found.name in _UTF8 else found.name


def _meant(name: str) -> str:
    """What to write for an encoding that is called otherwise here."""
    word = name.lower().replace("-", "_").replace(" ", "_").strip("_")
    known = _CALLED.get(word.replace("_", ""))
    if known is not None:
        return f"What is called so elsewhere is {{input.encoding={known}}}."
    names = {alias: codec for alias, codec in aliases.aliases.items() if _is_of_text(codec)}
    names |= {codec: codec for codec in names.values()}
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if close:
        return f"Did you mean {{input.encoding={names[close[0]].replace('_', '-')}}}?"
    return "Write {input.encoding=cp1252} for a file of Windows or Excel, or {input.encoding=utf-16}."


def _is_of_text(codec: str) -> bool:
    if codec.replace("_", "-") in _OF_NO_FILES:
        return False
    try:
        "".encode(codec)  # base64 and rot13 are codecs, and no encodings of text
    except LookupError:
        return False
    return True


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

"""Compressed files, known by their first bytes, and read to their very end.

A library's own file object may take the end of a cut file for the end of its content (zstandard's
does), or pass over what follows it (bz2's and lzma's do). So the decompressors are fed here: each must
say that its stream ended, another stream may follow, and nothing else.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from batchlab.errors import InputError
from batchlab.inputs.sources.source import InputFile, unreadable

FEED_BYTES = 64 * 1024
FEW_BYTES = 256  # fed first where the output cannot be limited; then as many as give MUCH_BYTES or less
MUCH_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18


class _Stream(Protocol):
    """One compressed stream of a file, which may have several after each other."""

    @property
    def eof(self) -> bool: ...
    @property
    def hungry(self) -> bool: ...
    @property
    def rest(self) -> bytes: ...
    def feed(self, data: bytes, most: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def hungry(self) -> bool:
        return not self._full and not self._inner.unconsumed_tail

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes, most: int) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, most)
        self._full = len(found) == most  # there may be more, though all its input is taken
        return found


class _Blocks:
    """bz2 and xz: a decompressor that keeps what it has not taken yet."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def hungry(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def rest(self) -> bytes:
        return bytes(self._inner.unused_data)

    def feed(self, data: bytes, most: int) -> bytes:
        return bytes(self._inner.decompress(data, most))


class _Zstd:
    hungry = True

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._inner.unused_data)

    def feed(self, data: bytes, most: int) -> bytes:
        del most
        return bytes(self._inner.decompress(data))


@dataclass(frozen=True, slots=True)
class Packing:
    """One way to compress a file.

    Attributes:
        magic: how such a file begins.
        command: unpacks one, where it cannot be read as it is.
        bounded: whether its decompressor gives no more than it is asked for.
    """

    name: str
    ending: str
    magic: bytes
    begin: Callable[[], _Stream]
    command: str
    bounded: bool = True


PACKINGS = (
    Packing("gzip", ".gz", b"\x1f\x8b", _Gzip, "gunzip -k"),
    Packing("zstd", ".zst", b"\x28\xb5\x2f\xfd", _Zstd, "zstd -d", bounded=False),
    Packing("bzip2", ".bz2", b"BZh", lambda: _Blocks(bz2.BZ2Decompressor()), "bunzip2 -k"),
    Packing("xz", ".xz", b"\xfd7zXZ\x00", lambda: _Blocks(lzma.LZMADecompressor()), "unxz -k"),
)
_BZIP2_BLOCKS = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")  # the first, or the end
ENDINGS = {packing.ending: packing for packing in PACKINGS} | {".zstd": PACKINGS[1]}


def packing_of(head: bytes) -> Packing | None:
    """How a file with these first bytes is compressed; None when it is not."""
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return PACKINGS[1]  # pzstd begins with a frame to be skipped
    found = next((packing for packing in PACKINGS if head.startswith(packing.magic)), None)
    if found is not None and found.ending == ".bz2" and head[4:10] not in _BZIP2_BLOCKS:
        return None  # a text may begin like that
    return found


def open_bytes(path: InputFile, shown_as: str, packing: Packing | None) -> BinaryIO:
    """The file's content, unpacked, as a buffered byte stream. Raises InputError, also while it is read."""
    try:
        if packing is None:
            return path.open("rb", buffering=BUFFER_BYTES)
        raw = path.open("rb")
    except OSError as error:
        raise unreadable(shown_as, error) from error
    return cast("BinaryIO", io.BufferedReader(_Unpacked(raw, shown_as, packing), BUFFER_BYTES))


class _Unpacked(io.RawIOBase):
    def __init__(self, raw: BinaryIO, shown_as: str, packing: Packing) -> None:
        self._raw = raw
        self._shown_as = shown_as
        self._packing = packing
        self._feed_bytes = FEED_BYTES if packing.bounded else FEW_BYTES
        self._stream = packing.begin()
        self._streams = 1
        self._began = False  # whether the current stream has given anything
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            found = self._more(max(len(buffer), FEED_BYTES))
            if found is None:
                return 0
            self._ready = memoryview(found)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _more(self, most: int) -> bytes | None:
        """The next content, which may be none; None at the end of the file."""
        data = b""
        if self._stream.eof:
            data = self._stream.rest.lstrip(b"\0")  # streams may be padded to whole blocks
            while not data:
                block = self._raw.read(self._feed_bytes)
                if not block:
                    return None
                data = block.lstrip(b"\0")
            self._stream, self._began = self._packing.begin(), False
            self._streams += 1
        elif self._stream.hungry:
            data = self._raw.read(self._feed_bytes)
            if not data:
                raise InputError(
                    self._shown_as,
                    f"damaged or cut-off {self._packing.name} file (it ends before its content does)",
                    "Copy or download it again.",
                )
        try:
            found = self._stream.feed(data, most)
        except Exception as error:  # whichever library's it is; `_problem` gives back any other
            raise self._problem(error) from error
        self._began = self._began or bool(found)
        if not self._packing.bounded:
            if len(found) > MUCH_BYTES:
                self._feed_bytes = max(16, self._feed_bytes // 4)
            elif len(found) < MUCH_BYTES // 4:
                self._feed_bytes = min(FEED_BYTES, self._feed_bytes * 2)
        return found

    def _problem(self, error: Exception) -> Exception:
        import zstandard

        if not isinstance(error, zlib.error | lzma.LZMAError | zstandard.ZstdError | OSError | EOFError):
            return error
        name = self._packing.name
        if self._streams > 1 and not self._began:
            return InputError(
                self._shown_as,
                f"damaged {name} file: something that is not {name} follows its end",
                f"Unpack it by {self._packing.command}, and look at its last lines.",
            )
        if "too much memory" in str(error):
            return InputError(
                self._shown_as,
                "needs more memory to be unpacked than zstd allows by itself",
                "Unpack it by zstd -d --long=31.",
            )
        return InputError(self._shown_as, f"damaged or cut-off {name} file ({error})")


@contextlib.contextmanager
def read_errors(shown_as: str) -> Iterator[None]:
    """Errors of reading become an InputError."""
    try:
        yield
    except OSError as error:
        raise unreadable(shown_as, error) from error

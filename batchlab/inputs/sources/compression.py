"""Opening input files, compressed or not, and turning their errors into one line."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from batchlab.errors import InputError
from batchlab.inputs.sources.source import InputFile, unreadable
from batchlab.remote.storage import RemoteFile

COMPRESSED = {".gz", ".zst"}


def is_compressed(path: InputFile) -> bool:
    """Whether the file's name says that it is compressed."""
    return path.suffix.lower() in COMPRESSED


def open_bytes(path: InputFile, shown_as: str) -> BinaryIO:
    """The file's content, decompressed, as a buffered byte stream. Raises InputError."""
    try:
        if path.suffix.lower() == ".gz":
            if isinstance(path, RemoteFile):
                return cast("BinaryIO", _closing(path.open()))
            return cast("BinaryIO", gzip.open(path, "rb"))
        if path.suffix.lower() == ".zst":
            import zstandard

            raw = path.open("rb")
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
            return cast("BinaryIO", io.BufferedReader(reader, 1 << 18))
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        raise unreadable(shown_as, error) from error


def _closing(packed: BinaryIO) -> gzip.GzipFile:
    """A GzipFile that closes what it reads from, as it does when it is given a name."""
    file = gzip.GzipFile(fileobj=packed, mode="rb")
    file.myfileobj = cast("Any", packed)
    return file


@contextlib.contextmanager
def read_errors(shown_as: str) -> Iterator[None]:
    """Errors of reading and decompressing become an InputError."""
    import zstandard

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise InputError(shown_as, f"damaged or cut-off compressed file ({error})") from error
    except OSError as error:
        raise unreadable(shown_as, error) from error

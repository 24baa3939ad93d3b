"""A file of text, however it is compressed and encoded, as UTF-8 bytes from any offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from batchlab.errors import InputError
from batchlab.inputs.sources.source import InputFile, file_size
from batchlab.inputs.sources.text_files.compression import Packing, open_bytes, packing_of, read_errors
from batchlab.inputs.sources.text_files.encoding import (
    encoding_by_mark,
    known_encoding,
    recoded,
    unmarked_utf16,
)

HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TextFile:
    """Offsets are those of the UTF-8 text, which are the file's own only where it is plain UTF-8.

    Attributes:
        encoding: of what is compressed or plain in the file; None for UTF-8.
    """

    file: InputFile
    shown_as: str
    packing: Packing | None = None
    encoding: str | None = None

    @classmethod
    def at(cls, file: InputFile, shown_as: str, encoding: str | None = None) -> TextFile:
        """The file as its first bytes show it; `encoding` is the job's word for it. Raises InputError."""
        packing = packing_of(head_of(file, shown_as, None, 16))
        if encoding is None:
            return cls(file, shown_as, packing, encoding_by_mark(head_of(file, shown_as, packing, 4)))
        named = known_encoding(encoding, shown_as)
        if named in ("utf-16", "utf-32"):
            head = head_of(file, shown_as, packing, 4_000)
            if encoding_by_mark(head) is None and (named := unmarked_utf16(head)) is None:
                raise InputError(
                    shown_as,
                    f"has no byte order mark of {encoding.upper()}, and does not look like it",
                    "Name the encoding it was saved in, such as {input.encoding=cp1252}.",
                )
        return cls(file, shown_as, packing, named)

    @property
    def plain(self) -> bool:
        """Whether the file holds the text as it is, so that an offset is a place in it."""
        return self.packing is None and self.encoding is None

    @property
    def total(self) -> int | None:
        """Bytes of the text, where that is known beforehand."""
        return file_size(self.file) if self.plain else None

    def open(self, offset: int = 0) -> BinaryIO:
        """The text from an offset on."""
        file = open_bytes(self.file, self.shown_as, self.packing)
        if self.encoding is not None:
            file = recoded(file, self.encoding)
        with read_errors(self.shown_as):
            if self.plain:
                file.seek(offset)
            else:
                while offset and (block := file.read(min(offset, 1 << 20))):
                    offset -= len(block)
        return file

    def head(self, most: int = HEAD_BYTES) -> bytes:
        """The first bytes of the text."""
        with self.open() as file, read_errors(self.shown_as):
            return file.read(most)

    def described(self) -> str | None:
        """What is worth telling of how it is read."""
        return f"{self.shown_as}: read as {self.encoding.upper()}" if self.encoding else None


def head_of(file: InputFile, shown_as: str, packing: Packing | None, most: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file's content. Raises InputError."""
    with open_bytes(file, shown_as, packing) as opened, read_errors(shown_as):
        return opened.read(most)

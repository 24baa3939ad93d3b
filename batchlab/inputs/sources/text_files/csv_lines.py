"""The lines of a CSV file as the csv module takes them, with where each begins and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from batchlab.counts import counted
from batchlab.errors import InputError
from batchlab.inputs.sources.text_files.file import TextFile
from batchlab.inputs.sources.text_files.no_text import Undecoded

MOST_LINES = 200_000  # of one record, quoted or not
NO_QUOTES = "if quotes are plain text, pass {input.quotes=false}"


@dataclass(slots=True)
class Lines:
    """Decoded lines for the csv module, counting the bytes and lines it has taken.

    Attributes:
        first: number of the first line of the record that is being read.
        no_text: the first of its lines that could not be decoded.
        inner: of its lines, those after the first, while they are few.
    """

    file: BinaryIO
    text: TextFile
    offset: int = 0
    number: int = 0
    seen: Callable[[bytes], None] | None = None
    first: int = field(default=1, init=False)
    no_text: Undecoded | None = field(default=None, init=False)
    inner: list[str] = field(default_factory=list, init=False)

    def __iter__(self) -> Iterator[str]:
        seen = self.seen
        for line in self.file:
            self.offset += len(line)
            self.number += 1
            if seen is not None:
                seen(line)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                self.no_text = self.no_text or Undecoded(self.text, self.number, line, error.start)
                text = line.decode("utf-8", "replace")
            if self.number > self.first:
                self._inside(text)
            elif self.number == 1:
                text = text.removeprefix("\ufeff")
            yield text

    def begin(self, number: int) -> None:
        """The next record begins in the line of this number."""
        self.first = number
        self.no_text = None

    def _inside(self, text: str) -> None:
        """Takes note of a record's second line, and of those that follow."""
        if len(self.inner) == MOST_LINES:
            raise stray(self.text.shown_as, self.first, self.number, "have not ended yet")
        self.inner.append(text)


class Digest:
    """The hash of lines, made of many together.

    Attributes:
        see: takes the next line.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._lines: list[bytes] = []
        self.see = self._lines.append

    def flush(self) -> None:
        """Hashes the lines so far, and lets go of them."""
        self._digest.update(b"".join(self._lines))
        self._lines.clear()

    def hexdigest(self) -> str:
        """Of all lines so far."""
        self.flush()
        return self._digest.hexdigest()


def stray(shown_as: str, first: int, last: int, why: str) -> InputError:
    """A quote that opens a cell which takes many lines for its own."""
    return InputError(
        shown_as,
        f"lines {first} to {last} would be one row of {counted(last - first + 1, 'line')}, because of a "
        f"quote that opens in line {first}: they {why}",
        f'Close the quote, or write it twice (""); {NO_QUOTES}.',
        row=first,
    )

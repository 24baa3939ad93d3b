"""Standard output and error that may go away: what cannot be written ends nothing and changes no exit code.

A terminal that was closed answers EIO, a pipe whose reader left EPIPE, and `>&-` leaves no stream at
all. A run that was paid for goes on in each case; `verify` still ends with what it found.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

_STANDARD = {0: os.O_RDONLY, 1: os.O_WRONLY, 2: os.O_WRONLY}


class _Lasting(io.TextIOWrapper):
    """Text to a descriptor; from the first failure on, to nowhere."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._give_up()
            super().flush()

    gone = False

    def _give_up(self) -> None:
        """Puts the null device in the descriptor's place: what the buffer holds goes there, too."""
        self.gone = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_the_terminal() -> None:
    """Makes this process's standard streams outlive whoever reads them.

    A standard descriptor that is closed is opened on the null device first: else the next file that is
    opened, a journal perhaps, gets its number, and with it whatever a library prints there.
    """
    for number, mode in _STANDARD.items():
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def is_heard(stream: TextIO) -> bool:
    """Whether anybody may still read what is written to `stream`."""
    return not (isinstance(stream, _Lasting) and stream.gone)


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody else's: a test's, an interpreter's with a window of its own
    if stream is not None:
        stream.flush()
    # a console that lacks a sign still shows the rest
    return _Lasting(
        open(number, "wb", closefd=False),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="replace" if number == 1 else "backslashreplace",
        line_buffering=True,
    )

"""Files that rows name: off unless the user allows a directory, and never outside of it.

A path is resolved first, symbolic links and `..` included, and must then lie in the directory. It
is opened component by component without following a link, so that a link which is put there in
between leads nowhere either.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from batchlab.errors import UsageError
from batchlab.inputs.templates import RowFault, RowProblem


class RowFiles:
    """Opens the files that rows name.

    Args:
        root: the one directory they may be in; None when none may be read. Relative paths of rows
            are relative to it.

    Raises:
        UsageError: `root` is no directory.
    """

    def __init__(self, root: str | None) -> None:
        self._root: str | None = None
        self._seen = hashlib.blake2b(digest_size=16)
        self._any = False
        if root is not None:
            if not os.path.isdir(root):  # noqa: PTH112
                raise UsageError(f"{{input.allow_files_under}} {root}: is no directory.")
            self._root = os.path.realpath(root)

    @property
    def fingerprint(self) -> str | None:
        """Tells the files that were opened, by path, size and time, from changed ones; None when none was."""
        return self._seen.hexdigest() if self._any else None

    @contextlib.contextmanager
    def opened(self, name: str, *, most_bytes: int) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        """The file that a row names, open for reading, and what is known of it.

        Raises:
            RowProblem: no file may be read.
            RowFault: this one may not, cannot be, or is larger than `most_bytes`.
        """
        if self._root is None:
            raise RowProblem(
                f"{shown(name)} names a file, and files named by rows are not read; "
                "pass {input.allow_files_under=DIR} to allow those of one directory"
            )
        self._any = True
        try:
            with open(self._descriptor(self._root, name), "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_size > most_bytes:
                    raise RowFault(f"{shown(name)}: is {found.st_size:,} bytes; the most is {most_bytes:,}")
                if found.st_size == 0:
                    raise RowFault(f"{shown(name)}: is empty")
                self._see(name, f"{found.st_size} {found.st_mtime_ns}")
                yield file, found
        except OSError as error:
            self._see(name, "unreadable")
            raise RowFault(f"{shown(name)}: cannot be read: {error.strerror}") from None
        except RowFault as fault:
            self._see(name, str(fault))
            raise

    def _see(self, name: str, what: str) -> None:
        self._seen.update(f"{name}\0{what}\0".encode("utf-8", "surrogatepass"))

    def _descriptor(self, root: str, name: str) -> int:
        """A descriptor of the regular file that a row names. Raises RowFault and OSError."""
        path = unquote(urlsplit(name).path) if name.startswith("file://") else name
        try:
            real = os.path.realpath(os.path.join(root, path))
            inside = os.path.commonpath([root, real]) == root
        except ValueError:  # a NUL, or text that no file name can hold
            raise RowFault(f"{shown(name)}: is no file name") from None
        if not inside:
            raise RowFault(f"{shown(name)}: is outside of allow_files_under")
        descriptor = _open_beneath(root, Path(os.path.relpath(real, root)).parts)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RowFault(f"{shown(name)}: is no regular file")
        return descriptor


def _open_beneath(root: str, components: Sequence[str]) -> int:
    """A descriptor of the file at `components` below `root`, no link followed on the way."""
    if sys.platform == "win32":  # a link could be put in between, and there is no way to forbid it
        raise OSError(errno.ENOTSUP, "files that rows name are not read on Windows")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    directory = os.open(root, flags | os.O_DIRECTORY)
    try:
        for component in components[:-1]:
            deeper = os.open(component, flags | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = deeper
        # a pipe without a writer would hold the run up for ever
        return os.open(components[-1] if components else ".", flags | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)


def shown(text: str) -> str:
    """A row's text for a message: quoted where it is odd, and short."""
    plain = text if text.isprintable() else ascii(text)
    return plain if len(plain) <= 80 else f"{plain[:79]}…"

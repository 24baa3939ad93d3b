"""Output that appears whole or not at all: written beside its place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO, cast

from batchlab.errors import UsageError
from batchlab.store.disk.files import fsync_dir

STANDARD_OUTPUT = "-"
# told of each file that is about to take its place: where it is now, and where it will be
_TOLD: ContextVar[Callable[[Path, Path], None] | None] = ContextVar("told", default=None)


@contextlib.contextmanager
def telling(of: Callable[[Path, Path], None]) -> Iterator[None]:
    """Tells of each file before it takes its place, in the body."""
    token = _TOLD.set(of)
    try:
        yield
    finally:
        _TOLD.reset(token)


class StagedFile:
    """One file in the making: write to `tmp`, then `commit` or `discard`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tmp = _beside(path)
        _make_parent(path)

    def commit(self) -> None:
        """Makes it the file at its place, durably."""
        _fsync(self.tmp)
        if (told := _TOLD.get()) is not None:
            told(self.tmp, self._path)
        self.tmp.replace(self._path)
        fsync_dir(self._path.parent)

    def discard(self) -> None:
        """Leaves what is at its place as it was."""
        self.tmp.unlink(missing_ok=True)


class StandardOutput:
    """Standard output in the place of a `StagedFile`: what is written is gone to whoever reads it."""

    def __init__(self) -> None:
        self.tmp = self

    def open(self, mode: str, *, encoding: str, newline: str) -> TextIO:
        """Opens it as `Path.open` does. Whatever the terminal's encoding, the product is in `encoding`."""
        return cast("TextIO", open(os.dup(sys.stdout.fileno()), mode, encoding=encoding, newline=newline))

    def commit(self) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing can be taken back."""


def staged(path: Path) -> StagedFile | StandardOutput:
    """Where a file that is to be at `path` is written."""
    if str(path) == STANDARD_OUTPUT:
        sys.stdout.flush()
        return StandardOutput()
    return StagedFile(path)


class StagedDirectory:
    """One directory in the making: put files into `tmp`, then `commit` or `discard`.

    A directory that is there already is moved aside first: a crash between the two renames leaves
    both beside each other, each complete, under names that begin with a dot.
    """

    def __init__(self, path: Path) -> None:
        self._path = path = path.resolve()
        self.tmp = _beside(path)
        _make_parent(path)
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir()

    def commit(self) -> None:
        """Makes it the directory at its place, durably."""
        for folder, _, names in os.walk(self.tmp):
            for name in names:
                _fsync(Path(folder, name))
            fsync_dir(Path(folder))
        old = self._path.with_name(f".{self._path.name}.{os.getpid()}.old")
        if self._path.exists():
            self._path.rename(old)
        self.tmp.rename(self._path)
        fsync_dir(self._path.parent)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Leaves what is at its place as it was."""
        shutil.rmtree(self.tmp, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def cannot_write(path: Path | str, error: OSError) -> UsageError:
    """The one line for an output that cannot be made."""
    return UsageError(f"{path}: cannot write the output file: {error.strerror}.")

"""Every file operation that durability rests on, in one place.

Write, then fdatasync, is what makes a record durable; write a temporary file, fsync it,
rename it, fsync the directory is what makes a file appear whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from batchlab.errors import UsageError
from batchlab.run_end import RunStopped, StopReason

DIR_MODE, FILE_MODE = 0o700, 0o600  # prompts and answers are private, whatever the umask
O_BINARY = getattr(os, "O_BINARY", 0)  # Windows would write a line feed as two bytes

# A reader holds a file open for a moment, and Windows does not replace an open file.
REPLACE_TRIES, REPLACE_WAIT_S = 40, 0.05

_SEEK = threading.Lock()  # where a read at an offset takes two calls

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def disk_stop(path: str | Path, error: OSError) -> NoReturn:
    """Raises the RunStopped that an error of the disk ends a run with."""
    what = "no space left" if error.errno in _DISK_FULL else os.strerror(error.errno or errno.EIO)
    raise RunStopped(
        StopReason.DISK, f"{path}: {what}. Free some space, then go on; what had arrived is saved."
    ) from error


@contextlib.contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turns what the disk refuses in the body into the RunStopped that ends a run in order."""
    try:
        yield
    except OSError as error:
        disk_stop(path, error)


def _on_windows() -> bool:
    return sys.platform == "win32"


def fsync_dir(path: Path) -> None:
    """Makes names created, renamed or removed in a directory durable."""
    if _on_windows():
        return  # a directory cannot be opened there; NTFS keeps a journal of names
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_dir(path: Path) -> Path:
    """`path` as a directory only its owner can enter; made with its parents if need be.

    Raises:
        UsageError: it cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=DIR_MODE, exist_ok=True)
        path.chmod(DIR_MODE)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot make the run directory: {os.strerror(error.errno or 0)}."
        ) from error
    return path


def publish(tmp: Path, final: Path) -> None:
    """Makes a written temporary file appear under its final name, whole and durable.

    Raises:
        RunStopped: the disk is full or failing.
    """
    with disk_errors(final):
        _sync(tmp)
        moved(tmp, final)
        fsync_dir(final.parent)


def publish_new(tmp: Path, final: Path) -> bool:
    """The same unless there is a file of that name: a link, unlike a rename, replaces nothing.

    Returns whether it appeared; the temporary file is gone in any case. Raises RunStopped (disk).
    """
    with disk_errors(final):
        _sync(tmp)
        try:
            os.link(tmp, final)
        except FileExistsError:
            return False
        finally:
            tmp.unlink()
        fsync_dir(final.parent)
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | O_BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def moved(source: Path, target: Path) -> None:
    """Renames a file or directory; a file takes the place of another one."""
    if not _on_windows():
        source.rename(target)
        return
    for left in reversed(range(REPLACE_TRIES)):
        try:
            source.replace(target)
        except PermissionError:  # somebody reads it
            if not left:
                raise
            time.sleep(REPLACE_WAIT_S)
        else:
            return


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """`length` bytes from `offset`, fewer at the file's end."""
    if hasattr(os, "pread"):
        return bytes(os.pread(descriptor, length, offset))
    with _SEEK:  # an append goes to the end wherever the position is; another read does not
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def plain_file(path: Path) -> BinaryIO:
    """A file of a run, to be read. All of them are opened here: a run's directory may be somebody else's, and
    what waits for its writer, as a pipe does, must keep nobody who looks.

    Raises:
        OSError: it is not there, may not be read, or is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | O_BINARY | getattr(os, "O_NONBLOCK", 0))
    try:
        _must_be_plain(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def check_plain(path: Path) -> None:
    """The same for who opens it by other means. Raises OSError."""
    _must_be_plain(path.stat().st_mode, path)


def file_content(path: Path) -> bytes:
    """All that is in a file of a run. Raises OSError as `plain_file` does."""
    with plain_file(path) as file:
        return file.read()


def small_file(path: Path, most: int) -> bytes:
    """The same of a file of `most` bytes or fewer.

    Raises:
        OSError: as `plain_file` does; or it is larger.
    """
    with plain_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, "larger than such a file can be", str(path))
        return file.read(most)


def _must_be_plain(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{_kind(mode)}, and no file", str(path))


def what_is_odd(path: Path, *, is_folder: bool = False) -> str:
    """What is wrong with what stands where a file, or a folder, is or may be; "" for nothing.

    Nothing is opened for it.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if os.path.lexists(path) else ""
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if is_folder and not stat.S_ISDIR(mode):
        return f"{_kind(mode)}, and no folder"
    if not is_folder and not stat.S_ISREG(mode):
        return f"{_kind(mode)}, and no file"
    return "" if os.access(path, os.R_OK) else "not to be read by this user"


def _kind(mode: int) -> str:
    """What a path is, by its mode."""
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISREG(mode):
        return "a file"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Writes a little data at `offset` of a file that nobody appends to."""
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, offset)
        return
    with _SEEK:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)


def _make_private(descriptor: int) -> None:
    if hasattr(os, "fchmod"):  # Windows has it from Python 3.13 on; there a user's files are his own
        os.fchmod(descriptor, FILE_MODE)


def special_kind(path: str | Path) -> str | None:
    """What a path is that is neither a file nor a directory; None for these, and where nothing is."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return _kind(mode)


def atomic_write(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`: readers see the old complete file or the new complete one."""
    tmp = path.with_name(f"{path.name}.tmp")
    with disk_errors(path):
        descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_BINARY, FILE_MODE)
        try:
            _make_private(descriptor)
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
    publish(tmp, path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def made_new(path: Path) -> bool:
    """Makes an empty file; False when there is one of that name. Raises RunStopped (disk)."""
    with disk_errors(path):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_BINARY, FILE_MODE))
        except FileExistsError:
            return False
    return True


class AppendFile:
    """A file that only grows, one whole record at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | O_BINARY, FILE_MODE)
            _make_private(self._descriptor)
            self.size = os.fstat(self._descriptor).st_size
        self._is_named = False  # whether the directory's entry is durable

    def append(self, data: bytes) -> int:
        """Writes `data` whole and returns the offset where it begins.

        A write that stops half-way (disk full) is taken back, so that the file never holds
        part of a record that a later one follows.

        Raises:
            RunStopped: it could not be written.
        """
        offset = self.size
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                _write_all(self._descriptor, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # if that fails too, resuming cuts off the torn tail
                os.ftruncate(self._descriptor, offset)
            disk_stop(self.path, error)
        self.size = offset + len(data)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`."""
        return read_at(self._descriptor, length, offset)

    def sync(self) -> None:
        """Makes everything appended so far durable. Raises OSError; after that it never will be.

        The first time its name as well: done when the file is made, that would hold up the event loop
        for 100 ms at each new shard.
        """
        os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
        if not self._is_named:
            fsync_dir(self.path.parent)
            self._is_named = True

    def truncate(self, size: int) -> None:
        """Drops what follows `size`."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)

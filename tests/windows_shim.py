"""batchlab on a Python that lacks what Windows lacks: `python -m tests.windows_shim run …`.

An imitation, not Windows: the platform's name, the missing functions and modules, byte-range locks,
files that are not replaced while somebody has them open, event loops without signal handlers. What
the libraries do there is not shown.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pathlib
import shutil
import signal
import sys
import types

# the libraries choose their own ways at import, by the real platform
import aiohttp  # noqa: F401
import click  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow.parquet as pq  # noqa: F401
import tqdm  # noqa: F401


def become_windows() -> None:
    for name in ("fcntl", "resource", "uvloop", "termios", "pwd", "grp"):
        sys.modules[name] = None  # type: ignore[assignment] - importing it raises ImportError
    for name in ("fchmod", "pread", "pwrite", "posix_fallocate", "O_DIRECTORY", "fdatasync"):
        delattr(os, name)
    del signal.SIGHUP
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.LK_UNLCK, msvcrt.LK_LOCK = 1, 0, 2

    def locking(descriptor: int, mode: int, count: int) -> None:
        how = (fcntl.LOCK_UN, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX)[mode]
        fcntl.lockf(descriptor, how, count, os.lseek(descriptor, 0, os.SEEK_CUR))

    msvcrt.locking = locking
    sys.modules["msvcrt"] = msvcrt

    shutil._use_fd_functions = False  # its way where directories cannot be opened
    open_file = os.open

    def refusing_directories(path, flags, *more, **named):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, flags, *more, **named)

    os.open = refusing_directories

    def rename(self: pathlib.Path, target) -> None:
        if pathlib.Path(target).exists():
            raise FileExistsError(17, "Cannot create a file when that file already exists", str(target))
        os.rename(self, target)

    pathlib.Path.rename = rename

    def no_handlers(*_: object) -> None:
        raise NotImplementedError

    asyncio.SelectorEventLoop.add_signal_handler = no_handlers
    sys.platform = "win32"


if __name__ == "__main__":
    become_windows()
    from batchlab.cli import main

    main()

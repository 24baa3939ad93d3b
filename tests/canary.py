"""Whether the marked key of a test run got out: into a file, an output or a command line."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.conftest import CANARY


def files_with_key(folder: Path) -> list[str]:
    """The files under `folder` whose bytes, or whose names, hold the key."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a run may still be tidying up
            if CANARY in path.name or (path.is_file() and CANARY.encode() in path.read_bytes()):
                found.append(str(path))
    return found


def command_lines_with_key() -> list[str]:
    """The running processes whose command line holds the key, our own simulators excepted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if any(CANARY.encode() in word for word in words) and b"simulate" not in words:
                found.append(b" ".join(words).decode("utf-8", "replace"))
    return found

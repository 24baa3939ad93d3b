"""A command line as the shell takes it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

_ONCE = {"--fresh", "--detach"}  # of one start, and not of those that go on


def this_command() -> str:
    """The command line that was typed, to be printed as the way to go on."""
    return shell_line(["batchlab", *(word for word in sys.argv[1:] if word not in _ONCE)])


def shell_line(words: Sequence[str]) -> str:
    """Words as the shell of this system takes them."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)

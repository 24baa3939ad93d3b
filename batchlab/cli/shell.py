"""The command line that was typed."""

from __future__ import annotations

import sys

from batchlab.shell import shell_line

_ONCE = {"--fresh", "--detach", "--view"}  # of one start, and not of those that go on


def this_command() -> str:
    """The command line that was typed, to be printed as the way to go on."""
    return shell_line(["batchlab", *(word for word in sys.argv[1:] if word not in _ONCE)])

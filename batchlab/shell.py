"""A command line as the shell takes it, and its words again; and how a module of ours is begun."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence


def shell_line(words: Sequence[str]) -> str:
    """Words as the shell of this system takes them."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def shell_words(line: str) -> list[str]:
    """The words of a line that `shell_line` made. Raises ValueError for one that a shell would wait on.

    On Windows each program takes its line apart in its own way, and no line here is taken apart.
    """
    if sys.platform == "win32":
        raise ValueError("a kept command line is not taken apart on Windows")
    return shlex.split(line)


def module_words(module: str, *words: object) -> list[str]:
    """A command that runs a module of ours, in this very Python.

    Never one of the same name in the folder where it is begun, which may have come from somebody else:
    without `-P`, Python looks there first.
    """
    return [sys.executable, "-P", "-m", module, *map(str, words)]


def command_line(*words: object) -> str:
    """A command of batchlab as it may be typed: a run's name may have spaces, or signs that shells obey."""
    return shell_line(["batchlab", *map(str, words)])

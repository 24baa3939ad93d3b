"""A child process as its parent sees it: starting it, and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from batchlab.engines.child.arrival import SIGNALS
from batchlab.shell import module_words

EXIT_S = 10.0  # after its sockets have closed, a child has so long to end by itself


def spawned(
    module: str,
    sockets: Sequence[int],
    *,
    more: Sequence[int] = (),
    said: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """`python -m module` in a process of its own, which has these sockets, and `more` descriptors.

    Args:
        said: where its standard streams go; without it, its standard error is ours.
        env: on top of the environment here.
        new_session: what a terminal signals does not reach it.
    """
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    # a signal that comes before the child ignores it would end it with a traceback
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            module_words(module, *sockets),
            stdin=subprocess.DEVNULL,
            stdout=said or subprocess.DEVNULL,
            stderr=said,
            pass_fds=(*sockets, *more),
            env={**os.environ, **(env or {}), "PYTHONPATH": path},
            start_new_session=new_session,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def exit_code(process: subprocess.Popen[bytes], patience_s: float = EXIT_S) -> int:
    """How a child ended that has been left, killed if it does not end in time. Blocks."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def cause_of(code: int) -> str:
    """How a process ended, for a person."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with code {code}"

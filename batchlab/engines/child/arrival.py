"""How a process that another one of ours has started begins.

Loading what it needs takes a while. Before that it ignores the terminal's signals, and has a thread
that waits for its parent's end: then it exits at once, whatever it is doing. What had come is in the
journals already, and a worker that drained for minutes would keep the run locked and nobody would know
why. So this module imports as little as it can.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading

SIGNALS = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if hasattr(signal, "SIGHUP") else set())
EXIT_ORPHANED = 3


def arrived() -> list[socket.socket]:
    """The sockets to the parent, whose descriptors are the arguments of this process.

    With the end of the first one this process leaves.
    """
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # blocked by the parent until they are ignored
    sockets = [socket.socket(fileno=int(word)) for word in sys.argv[1:]]
    threading.Thread(target=_leave_with_parent, args=(sockets[0].fileno(),), daemon=True).start()
    return sockets


def _leave_with_parent(control: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    watch = select.poll()
    watch.register(control, 0)  # nothing but the hang-up, which is always told
    watch.poll()
    os._exit(EXIT_ORPHANED)

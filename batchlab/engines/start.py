"""Where a worker process begins: `python -m batchlab.engines.start CONTROL WORK`.

With CONTROL alone it is the bridge to a Ray cluster (`ray_bridge`).

Loading what a worker needs takes a while. Before that it ignores the terminal's signals, and has a
thread that waits for its parent's end: then it exits at once, whatever it is doing. What had come
is in the journals already, and a worker that drained for minutes would keep the run locked and
nobody would know why.
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


def main() -> None:
    """A worker's life."""
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # blocked by the parent until they are ignored
    control, *work = (socket.socket(fileno=int(word)) for word in sys.argv[1:])
    threading.Thread(target=_leave_with_parent, args=(control.fileno(),), daemon=True).start()

    if not work:
        from batchlab.engines.ray_bridge import serve

        serve(control)
        return
    from batchlab.arrow import without_pandas
    from batchlab.engines.worker import work_for

    without_pandas()
    work_for(control, work[0])


def _leave_with_parent(control: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("a run has one process there")
    watch = select.poll()
    watch.register(control, 0)  # nothing but the hang-up, which is always told
    watch.poll()
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    main()

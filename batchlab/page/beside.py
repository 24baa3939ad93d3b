"""A page beside a run, in the same command: a process of its own, which can neither slow the run nor harm it.

It is `batchlab view` with a pipe to the run as its standard input, and ends when that does: also when the run
is killed. The run listens for it, and hands over the socket: so the address is known before the page has
started, and nobody else can have it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from batchlab.errors import BatchlabError
from batchlab.page.address import SOCKET, TOKEN, Wanted, address_of, has_display, id_of, listener, route_of
from batchlab.protocol.redact import printable
from batchlab.shell import module_words

END_S = 2.0
HANDS_OVER = sys.platform != "win32"  # an open socket, to a child; else its port, and another may be faster
SAID_BYTES = 4_096


class PageBeside:
    """The page of a run, for as long as the run lasts. Nothing here raises: the run goes on without a page.

    Args:
        say: shows a line to the person; called from another thread when the page ends before its time.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    def start(self, run: Path, *, opens: bool) -> None:
        """Begins to serve the run in a directory, and says where."""
        token = secrets.token_urlsafe(24)
        words = ["view", str(run), "--with-run", *([] if opens else ["--no-open"])]
        try:
            with listener(Wanted()) as taken:
                port, descriptor = taken.getsockname()[1], taken.fileno()
                if not HANDS_OVER:
                    words += ["--port", str(port)]
                    taken.close()
                self._child = subprocess.Popen(  # noqa: S603 - this very program
                    module_words("batchlab", *words),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={**os.environ, TOKEN: token, SOCKET: str(descriptor if HANDS_OVER else -1)},
                    start_new_session=True,  # Ctrl-C is the run's
                    pass_fds=(descriptor,) if HANDS_OVER else (),
                )
        except (OSError, ValueError, BatchlabError) as error:
            self._say(f"page: cannot be served ({printable(str(error), 200)}); the run goes on without")
            return
        address = address_of(Wanted(route=route_of(id_of(str(run))), token=token), port)
        self._say(f"page: {address}")
        threading.Thread(target=self._watch, name="page", daemon=True).start()

    def end(self) -> None:
        """Ends the page with the run."""
        self._ending.set()
        child = self._child
        if child is None:
            return
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _watch(self) -> None:
        """Says so when the page ends before the run."""
        child = self._child
        if child is None or child.stderr is None:
            return
        said = b""
        while piece := child.stderr.read(SAID_BYTES):
            said = (said + piece)[-SAID_BYTES:]
        child.stderr.close()
        if self._ending.is_set():
            return
        lines = said.decode("utf-8", "replace").strip().splitlines()
        why = printable(lines[-1].removeprefix("batchlab: "), 200) if lines else "it ended"
        self._say(f"page: {why}; the run goes on without")


@contextlib.contextmanager
def beside(say: Callable[[str], None]) -> Iterator[Callable[[Path], None]]:
    """Gives what begins the page of a run by its directory; the page ends with the block."""
    page = PageBeside(say)
    try:
        yield lambda run: page.start(run, opens=has_display())
    finally:
        page.end()

"""Commands that were begun from the page: each a child process, with its log.

They outlive the page: a run that was begun here goes on when nobody looks any more.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from batchlab.errors import UsageError
from batchlab.protocol.redact import printable_lines, redact
from batchlab.shell import module_words, shell_line

MOST_KEPT = 20  # that have ended
LOG_BYTES = 64 * 1_024


@dataclass(frozen=True, slots=True)
class Started:
    """A command that was begun.

    Attributes:
        run_id: of the run that it is about.
        log: what it has said; it writes there by itself, so that it needs nobody to read.
    """

    key: str
    run_id: str
    command: str
    child: subprocess.Popen[bytes]
    log: IO[bytes]

    @property
    def is_signal(self) -> bool:
        """Whether it was a signal to a process, which has got it."""
        return self.command.startswith("kill ") and self.child.poll() in (None, 0)

    def line(self) -> dict[str, Any]:
        """How far it is."""
        code = self.child.poll()
        return {"id": self.key, "command": self.command, "running": code is None, "exit_code": code}

    def json(self) -> dict[str, Any]:
        """The same with the last of what it has said."""
        line = self.line()  # before the log: what ended has said all
        return {**line, "log": self._said()}

    def _said(self) -> str:
        if self.log.closed:  # it ended long ago; somebody still looks
            return ""
        size = os.fstat(self.log.fileno()).st_size
        begin = max(0, size - LOG_BYTES)
        self.log.seek(begin)
        text = self.log.read(LOG_BYTES).decode("utf-8", "replace")
        if begin:
            text = text.partition("\n")[2]
        return "\n".join(printable_lines(redact(text)))


class Children:
    """What was begun from the page since it was opened."""

    def __init__(self) -> None:
        self._started: OrderedDict[str, Started] = OrderedDict()

    def start(self, run_id: str, words: Sequence[str], folder: str) -> Started:
        """Begins a command. Raises UsageError when this machine cannot."""
        writing, path = tempfile.mkstemp(prefix="batchlab-")
        os.close(writing)
        # both by its name: a descriptor that two share has one place to read and to write at
        log = open(path, "rb")  # noqa: SIM115 - it lives as long as the page shows it
        try:
            with open(path, "ab") as said:
                child = subprocess.Popen(  # noqa: S603 - one of `offers`, and no shell
                    _argv(words),
                    cwd=folder or None,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C ends the page, not what was begun there
                )
        except OSError as error:
            log.close()
            raise UsageError(f"{shell_line(words)}: cannot be run: {error.strerror}.") from error
        finally:
            with contextlib.suppress(OSError):  # Windows keeps what is open, in its folder for such files
                Path(path).unlink()
        started = Started(secrets.token_hex(6), run_id, shell_line(words), child, log)
        self._started[started.key] = started
        self._forget()
        return started

    def get(self, key: str) -> Started:
        """What was begun under a key. Raises UsageError."""
        if (found := self._started.get(key)) is None:
            raise UsageError("nothing was begun under that key.")
        return found

    def of(self, run_id: str) -> list[Started]:
        """What was begun about a run, newest first."""
        return [one for one in reversed(self._started.values()) if one.run_id == run_id]

    def has_begun(self, run_id: str, command: str) -> bool:
        """Whether a command about a run goes on, or was a signal: a second one would not stop in order."""
        return any(
            one.command == command and (one.child.poll() is None or one.is_signal) for one in self.of(run_id)
        )

    def close(self) -> list[Started]:
        """Lets go of all; those that go on."""
        left = [one for one in self._started.values() if one.child.poll() is None]
        for one in self._started.values():
            one.log.close()
            if one in left:
                one.child.returncode = 0  # it goes on alone, and its object must not warn of that
        self._started.clear()
        return left

    def _forget(self) -> None:
        ended = [key for key, one in self._started.items() if one.child.poll() is not None]
        for key in ended[: max(0, len(self._started) - MOST_KEPT)]:
            self._started.pop(key).log.close()


def _argv(words: Sequence[str]) -> list[str]:
    """The command for the system: this very batchlab, and the shell's own `kill`."""
    if words[0] == "batchlab":
        return module_words(*words)
    return ["/bin/sh", "-c", shell_line(words)]

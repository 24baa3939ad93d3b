"""How the command is interrupted: SIGINT, SIGTERM, SIGHUP, and what Windows has instead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable

from batchlab.dispatch.stop import StopSignal
from batchlab.errors import EXIT_OK
from batchlab.run_end import StopReason

# SIGBREAK is Windows': Ctrl-Break, and a console window that is closed
_SIGNALS = {
    getattr(signal, name): code
    for name, code in {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGBREAK": 143}.items()
    if hasattr(signal, name)
}
_HANGUP = getattr(signal, "SIGHUP", None)


class Signals:
    """First signal: stop in order. Second SIGINT: leave at once; what was journalled is on disk."""

    def __init__(self, stop: StopSignal, say: Callable[[str], None], command: str) -> None:
        self._stop = stop
        self._say = say
        self._command = command
        self.exit_code = EXIT_OK

    def install(self) -> None:
        """Handles the signals until the loop ends."""
        loop = asyncio.get_running_loop()
        for number, code in _SIGNALS.items():
            if number == _HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # `nohup`: the run is to outlive its terminal
            try:
                loop.add_signal_handler(number, self._caught, signal.Signals(number).name, code)
            except NotImplementedError:  # Windows: its loops know no signal handlers
                signal.signal(
                    number,
                    lambda *_args, name=number.name, code=code: loop.call_soon_threadsafe(
                        self._caught, name, code
                    ),
                )

    def _caught(self, name: str, code: int) -> None:
        if self._stop.is_set:
            if name == "SIGINT":
                with contextlib.suppress(OSError, ValueError):
                    print(
                        f"\nleft at once; requests in flight may be billed twice. To go on: {self._command}",
                        file=sys.stderr,
                        flush=True,
                    )
                os._exit(code)
            return
        self.exit_code = code
        # first stop, then speak: whoever sent SIGHUP may have taken the terminal along
        self._stop(StopReason.INTERRUPTED, f"interrupted by {name}")
        self._say(
            f"{name}: sending nothing new; waiting for requests in flight (Ctrl-C again leaves at once)"
        )

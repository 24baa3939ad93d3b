"""Who of a cluster works on a run, as locks and a token tell where all of them can look."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets

from batchlab.errors import UsageError
from batchlab.remote.depot import Depot
from batchlab.remote.storage import StorageError
from batchlab.store.disk.fence import FENCE_S, hold, is_held, let_go
from batchlab.store.layout import TOKEN
from batchlab.store.locked import LockedRun

POLL_S = 0.1


class Attendance:
    """The run directory, or the run's URL, as the place where a cluster's workers are known by name.

    The driver's lock is held, and its token is there, until `close`.

    Raises:
        UsageError: the token cannot be left.
    """

    def __init__(self, run: LockedRun) -> None:
        self._run = run
        # where the workers leave what they do, each from a directory of its own; None when they share ours
        url = run.publisher.url
        self._depot = None if url is None else Depot(run.path, url)
        self._lock = hold(run.path, "driver")
        self.token = secrets.token_hex(16)  # what every node must be able to read
        try:
            self._put_token()
        except BaseException:  # whatever it is, the lock must not stay behind; it goes on its way
            self.close()
            raise

    @property
    def url(self) -> str | None:
        """Where the workers leave what they do; None when they share the run directory."""
        return None if self._depot is None else self._depot.url

    async def await_gone(self, name: str) -> None:
        """Returns once a worker that is out of reach can write no more.

        Its lock is free, or it has had no lease for longer than it may go on without.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FENCE_S + 1.0):
                # another machine's lock can only be looked at; at a URL there is none: time alone tells
                while self._depot is not None or is_held(self._run.path, name):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)

    async def gone(self, name: str) -> None:
        """Tidies up after a worker that can write no more."""
        let_go(self._run.path, name)
        if self._depot is not None:
            with contextlib.suppress(StorageError):  # the next start waits for it, in vain
                await asyncio.to_thread(self._depot.leave, name)

    def close(self) -> None:
        """The driver leaves."""
        if self._depot is not None:
            with contextlib.suppress(StorageError):
                self._depot.leave(TOKEN)
        with contextlib.suppress(OSError):
            self._run.layout.token.unlink(missing_ok=True)
            let_go(self._run.path, "driver")
            os.close(self._lock)

    def _put_token(self) -> None:
        if self._depot is None:
            self._run.layout.token.write_text(self.token)
            return
        try:
            self._depot.arrive(TOKEN, self.token)
        except StorageError as error:
            raise UsageError(f"{error.filename}: {error.strerror}.") from error

"""Group commit: a thread that makes journal records durable, many at a time.

A record is synced at most 50 ms after it was written, or when 64 results wait. One fdatasync of 32
records costs about as much as one of a single record.
"""

from __future__ import annotations

import contextlib
import threading

from batchlab.run_end import RunStopped
from batchlab.store.disk.files import AppendFile, disk_stop

GROUP_S = 0.05
GROUP_RESULTS = 64


class SyncGroup:
    """Syncs files shortly after they were written to. `close` syncs what is left.

    `_dirty`, `_waiting` and `_error` belong to `_lock`; `_io` is held while files are synced,
    so that no file is closed under the thread's hands.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._io = threading.Lock()
        # released when a group is full: a bare lock, because an Event costs 10 µs each time
        self._due = threading.Lock()
        self._due.acquire()
        self._dirty: set[AppendFile] = set()
        self._waiting = 0
        self._results = 0
        self._closed = False
        self._error: tuple[AppendFile, OSError] | None = None
        self.synced_results = 0
        self._thread: threading.Thread | None = None

    def written(self, file: AppendFile, *, records: int, results: int) -> None:
        """`file` got so many records; `results` of them are final results.

        Raises:
            RunStopped: an earlier sync failed. That is final: the kernel may have dropped the
                pages and would report the next sync as good.
        """
        with self._lock:
            if self._error is not None:
                self._raise_error()
            self._dirty.add(file)
            self._waiting += records
            before, self._results = self._results, self._results + results
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="batchlab-sync", daemon=True)
            self._thread.start()
        if before < GROUP_RESULTS <= self._results:
            self._wake()

    def flush(self) -> None:
        """Returns when everything written so far is durable. Raises RunStopped if it is not."""
        self._sync()
        with self._lock:
            self._raise_error()

    def close(self) -> None:
        """Syncs what is left and ends the thread."""
        with self._lock:
            self._closed = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _raise_error(self) -> None:
        if self._error is not None:
            file, error = self._error
            try:
                disk_stop(file.path, error)
            except RunStopped as stop:
                raise stop from None

    def _work(self) -> None:
        while not self._closed:
            # Looking every 50 ms is cheaper than being woken by the first record of each group:
            # a wake takes the interpreter's lock from the event loop.
            self._due.acquire(timeout=GROUP_S)
            if self._waiting:
                self._sync()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is released already
            self._due.release()

    def _sync(self) -> None:
        with self._io:
            with self._lock:
                files, self._dirty = self._dirty, set()
                results, self._results = self._results, 0
                self._waiting = 0
            try:
                for file in files:
                    file.sync()
            except OSError as error:
                with self._lock:
                    self._error = self._error or (file, error)
                return
            self.synced_results += results

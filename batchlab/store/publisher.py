"""Where what a run seals goes: it stays here, is mirrored at a URL, or leaves for one in segments.

`Here` is the plain one. That of a run with a copy is `remote.mirror.Mirror`; a worker on a node that shares
no file system has `remote.segments.Segments`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from batchlab.store.integrity.checksums import ChecksumLog
from batchlab.totals import Totals


class Publisher(Protocol):
    """What becomes of a shard's part beyond the directory of the process that seals it."""

    def bring(self, index: int) -> None:
        """Makes the directory know of a shard what is known elsewhere; called before it is opened.

        Raises:
            RunStopped: it is out of reach, or the disk is full or failing.
        """
        ...

    def note(self, part: str, digest: str, size: int, totals: Totals) -> None:
        """Records a part that is about to be published. Raises RunStopped (disk, storage)."""
        ...

    def sealed(self, index: int) -> None:
        """A shard's part is published here, and its journals are gone. Raises RunStopped (storage)."""
        ...

    def close(self) -> None:
        """Nothing more is sealed by this process. May be called again."""
        ...


class RunPublisher(Publisher, Protocol):
    """That of the process which has the run's lock: it minds what its workers have sealed, too."""

    @property
    def url(self) -> str | None:
        """Where the run's copy is, if it has one."""
        ...

    def speak_by(self, say: Callable[[str], None]) -> None:
        """Tells a person by `say` from now on."""
        ...

    def check(self) -> None:
        """Raises RunStopped once another machine has taken the run over."""
        ...

    def sealed_elsewhere(self, index: int) -> None:
        """Another process of this run has sealed a shard."""
        ...

    def collect(self, wanted: Collection[int] | None = None) -> None:
        """Brings here what workers without this directory have done of some shards.

        When they all have ended, of all: `wanted` is None. Raises RunStopped (storage).
        """
        ...

    def share(self) -> None:
        """Makes all that there is of the run reachable for workers without this directory.

        Raises StorageError.
        """
        ...

    def keep(self, name: str) -> None:
        """Brings a file of the run to its copy before it returns. Raises RunStopped (storage)."""
        ...

    def theirs(self, name: str) -> bytes | None:
        """A file of the copy once it is another machine's; None while it is this one's.

        Raises RunStopped (storage).
        """
        ...

    def finish(self) -> None:
        """Brings the copy up to date.

        Raises:
            StorageError: it could not be; everything is in the directory.
            RunStopped: it is another machine's by now.
        """
        ...


class Here:
    """The run's directory is all there is of it."""

    url = None

    def __init__(self, run: Path) -> None:
        self._checksums = ChecksumLog(run)

    def bring(self, index: int) -> None:
        """All of it is here."""

    def note(self, part: str, digest: str, size: int, totals: Totals) -> None:
        """See `Publisher`."""
        self._checksums.note(part, digest, size, totals)

    def sealed(self, index: int) -> None:
        """It stays where it is."""

    def sealed_elsewhere(self, index: int) -> None:
        """That process has put it here."""

    def speak_by(self, say: Callable[[str], None]) -> None:
        """There is nothing to say."""

    def check(self) -> None:
        """No other machine knows of it."""

    def collect(self, wanted: Collection[int] | None = None) -> None:
        """All of it is here."""

    def share(self) -> None:
        """Workers have this directory."""

    def keep(self, name: str) -> None:
        """There is no copy."""

    def theirs(self, name: str) -> bytes | None:
        """There is no copy."""
        del name
        return None

    def finish(self) -> None:
        """There is no copy."""

    def close(self) -> None:
        """There is nothing to end."""

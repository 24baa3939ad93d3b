"""A run that this process works on: it may open shards, and seal them.

That is all a worker has. Only who holds the run's lock has more (`locked`).
"""

from __future__ import annotations

from pathlib import Path

from batchlab.records import Shard
from batchlab.store.asking import RetryRule
from batchlab.store.disk.ballast import Ballast
from batchlab.store.disk.fence import AnyFence, NoFence
from batchlab.store.disk.sync import SyncGroup
from batchlab.store.manifest import Manifest
from batchlab.store.publisher import Here, Publisher
from batchlab.store.shard import OpenShard
from batchlab.store.view import RunView


class WorkingRun(RunView):
    """A run whose shards this process may open: its own, or one that the lock's holder hands out.

    Attributes:
        publisher: where its sealed shards go; they stay in the directory unless another one is given.
        fence: whether it may still write; always, unless one is given.
    """

    publisher: Publisher

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        publisher: Publisher | None = None,
        fence: AnyFence | None = None,
    ) -> None:
        super().__init__(path, manifest)
        self.publisher = publisher or Here(path)
        self.fence: AnyFence = fence or NoFence()
        self._group = SyncGroup()
        self._ballast = Ballast(self.layout.ballast)

    @property
    def synced_results(self) -> int:
        """Results of this invocation that are on disk for good."""
        return self._group.synced_results

    def check_disk(self) -> None:
        """Raises RunStopped once the disk has been full. What was written by then is saved."""
        self._ballast.check()

    def open_shard(self, shard: Shard, *, retry: RetryRule | None = None) -> OpenShard:
        """The shard with its journals replayed. `retry` says which failures are asked again.

        Raises:
            CorruptRun: a journal was damaged; the next try goes on without the lost records.
            RunStopped: the disk is full or failing.
        """
        self.publisher.bring(shard.index)
        return OpenShard(
            self.path,
            shard,
            self.manifest,
            group=self._group,
            ballast=self._ballast,
            publisher=self.publisher,
            fence=self.fence,
            retry=retry,
        )

    def close(self) -> None:
        """Syncs what is left. Raises RunStopped (disk, storage)."""
        self._group.close()
        self.publisher.close()

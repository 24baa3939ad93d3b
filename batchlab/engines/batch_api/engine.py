"""The engine that brings shards to their parts by batches, and by another engine what is to go live.

It runs in the driver's process, whoever sends the live rows. What is out is in `batches.log`; everything
else can be found again from there and from the journals, so it may be left at any instant.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.batch_api.means import Means
from batchlab.engines.batch_api.session import Session
from batchlab.engines.work import Work
from batchlab.records import Shard
from batchlab.store.asking import AskAgain
from batchlab.store.locked import LockedRun


class BatchEngine:
    """Brings every shard of its work to its sealed part; see `engines.work.Engine`."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def run(
        self, work: Work[LockedRun], stop: StopSignal, *, retry: AskAgain | None, shards: Sequence[Shard]
    ) -> None:
        """See `engines.work.Engine`. Batches that are out when it returns go on at their service."""
        await Session(self._means, work, stop, retry, shards).run()

"""What every engine is given, and what an engine is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import Endpoint
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import Source
from batchlab.job import EndpointLimits, Job
from batchlab.records import Shard
from batchlab.run_state import RunState
from batchlab.store.asking import AskAgain
from batchlab.store.working import WorkingRun

RunT = TypeVar("RunT", bound=WorkingRun, covariant=True)
WorkT = TypeVar("WorkT", contravariant=True)


@dataclass(frozen=True, slots=True)
class Work(Generic[RunT]):
    """What is to be done: which requests, where they go, and where their results are kept.

    The run is a `LockedRun` where its lock is held, and a `WorkingRun` in a worker.

    Attributes:
        before: how far the run was when this invocation began.
        only: row_ids to send, and no others; None for all.
        held: a byte a row of the input: 1 is not sent now; None when none is held back.
    """

    job: Job
    endpoints: tuple[Endpoint, ...]
    source: Source
    plan: InputPlan
    run: RunT
    builder: RequestBuilder
    before: RunState
    only: frozenset[int] | None = None
    held: bytearray | None = None

    def limits(self, endpoint: Endpoint) -> EndpointLimits:
        """What all processes of the run together may do at an endpoint."""
        return self.job.limits_at(endpoint.job)


class Engine(Protocol[WorkT]):
    """Brings every shard of its work to its sealed part. May be stopped at any instant."""

    async def run(
        self, work: WorkT, stop: StopSignal, *, retry: AskAgain | None, shards: Sequence[Shard]
    ) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what the store or the input raises.
        """
        ...

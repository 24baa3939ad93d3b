"""What every engine is given, and what an engine is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import Endpoint
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.source import InputPlan, Source
from batchlab.job import EndpointLimits, Job
from batchlab.job.lane import Patience, lane_key
from batchlab.records import LaneKind, Shard
from batchlab.run_state import RunState
from batchlab.store.asking import AskAgain
from batchlab.store.working import WorkingRun

RunT = TypeVar("RunT", bound=WorkingRun, covariant=True)
WorkT = TypeVar("WorkT", contravariant=True)


@dataclass(frozen=True, slots=True)
class CallLane:
    """A way to be answered by calls at an endpoint, as the job wants it.

    Attributes:
        limits: of the endpoint, for all its lanes and all processes of the run together.
        shares: whether the endpoint has another lane of calls.
    """

    endpoint: Endpoint
    kind: LaneKind
    limits: EndpointLimits
    patience: Patience
    shares: bool = False

    @property
    def key(self) -> str:
        """What tells it from the other lanes of the run."""
        return lane_key(self.endpoint.job.name, self.kind)

    @property
    def tier(self) -> str | None:
        """The `service_tier` of chats that name none."""
        return self.endpoint.job.flex_tier if self.kind == "flex" else None


def call_lanes(job: Job, endpoints: Sequence[Endpoint]) -> tuple[CallLane, ...]:
    """The lanes of calls, those of an endpoint one after the other, the cheapest first."""
    return tuple(
        CallLane(
            at,
            kind,
            dataclasses.replace(job.limits_at(at.job), lane=kind),
            job.limits.patience(kind),
            shares=len(kinds) > 1,
        )
        for at in endpoints
        for kinds in [job.kinds_at(at.job)]
        for kind in kinds
    )


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

    @property
    def lanes(self) -> tuple[CallLane, ...]:
        """The lanes of calls, as `call_lanes` says."""
        return call_lanes(self.job, self.endpoints)


class Engine(Protocol[WorkT]):
    """Brings every shard of its work to its sealed part. May be stopped at any instant."""

    async def run(
        self, work: WorkT, stop: StopSignal, *, retry: AskAgain | None, shards: Sequence[Shard]
    ) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what the store or the input raises.
        """
        ...

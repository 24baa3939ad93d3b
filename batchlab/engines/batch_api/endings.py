"""What becomes of a run when a batch has ended, was refused, or found no room: it goes on, or it stops."""

from __future__ import annotations

from collections.abc import Mapping

from batchlab.counts import lasting
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.stop import StopSignal
from batchlab.dispatch.trouble.failover import stop_reason
from batchlab.engines.batch_api.means import Means
from batchlab.engines.batch_api.orders.room import Room
from batchlab.engines.batch_api.out import Out
from batchlab.engines.work import Work
from batchlab.protocol.batches.dialect import Phase
from batchlab.run_end import StopReason
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Step
from batchlab.store.locked import LockedRun

_NO_SUCH_CALL = frozenset({404, 405, 501})


class Endings:
    """Of the batches of one run.

    Args:
        room: of each lane; learns from what is found out.
    """

    def __init__(
        self,
        means: Means,
        work: Work[LockedRun],
        log: BatchLog,
        room: Mapping[str, Room],
        stop: StopSignal,
    ) -> None:
        self._means = means
        self._work = work
        self._log = log
        self._room = room
        self._stop = stop
        self._say = means.observer.message

    def found_no_room(self, out: Out, others: int) -> None:
        """A lane's queue is full, with `others` of its batches out."""
        then = self._room[out.lane.name].was_full(out.batch.lines, others)
        self._say(f"{out.lane.name}: its queue is full; {then}")

    def refused(self, out: Out, error: ApiError) -> None:
        """A call of a batch is refused, or no answer has come for as long as an outage may last."""
        name, outcome = out.lane.name, error.outcome
        batch = self._log.all.by_key[out.batch.key]
        hint = ""
        if outcome.kind.may_pass:
            outage = lasting(self._work.job.limits.max_outage_s)
            said = f"{name}: no answer for {outage} ({{limits.max_outage}}): {outcome.message}"
            reason = StopReason.OUTAGE
        else:
            what = "the batch" if batch.id is None else f"batch {batch.id}"
            if batch.id is None and outcome.code in _NO_SUCH_CALL:
                hint = " (it may have no batch API at this address; {limits.lane=live} asks without)"
            said, reason = f"{name} refuses {what}: {outcome.message}", stop_reason(outcome)
        if batch.step in {Step.MEANT, Step.UPLOADED}:
            self._log.dropped(batch, str(error)[:500])
            was_closed = self._room[name].is_closed  # and this one was packed before that was known
            if self._go_on_without(name):
                if not was_closed:
                    self._say(f"{said}; the others go on without it")
                return
        self._stop(reason, f"{said}{hint}")

    def _go_on_without(self, name: str) -> bool:
        """Closes a lane, if another one takes batches still."""
        lanes, limits_at = self._means.lanes, self._work.job.limits_at
        others = [
            one
            for one in lanes
            if one != name
            and not self._room[one].is_closed
            and limits_at(lanes[one].endpoint.job).lane in {"batch", "cheapest"}
        ]
        self._room[name].is_closed = bool(others)
        return bool(others)

    def came(self, out: Out, told: str) -> None:
        """A batch's results are taken; the run stops where it must not go on."""
        batch, name, stop = out.batch, out.lane.name, out.stop
        if batch.phase == Phase.COMPLETED:
            self._room[name].ended_well()
            self._means.ended_after_s[name].append(batch.ended_at - batch.created_at)
        self._say(told)
        if stop is not None:
            self._stop(stop_reason(stop), stop.message)
        elif batch.phase == Phase.CANCELLED and not batch.is_cancelled:
            self._stop(
                StopReason.CANCELLED,
                f"batch {batch.id} was cancelled at {name}, and not by this run; what it had answered is "
                "kept, and its other rows are asked again by `batchlab run`, not by `batchlab collect`.",
            )

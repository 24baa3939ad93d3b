"""What an engine of this process has done of a run, and how it stands."""

from __future__ import annotations

import dataclasses
import time

from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.pool import Pool
from batchlab.run_state import Attempts, RunState
from batchlab.store.working import WorkingRun
from batchlab.totals import RunningTotals


class Share:
    """Counted where it happens, from the engine's event loop alone: totals and reopened rows by the feed,
    attempts by the pool. Whoever else is to know gets a `RunState`.

    Args:
        before: how far the run was when this engine began.
    """

    def __init__(self, before: RunState, store: WorkingRun) -> None:
        self.totals = RunningTotals()
        self.attempts = Attempts()
        self.reopened = 0
        self._before = before
        self._store = store
        self._synced_before = store.synced_results
        self._standing = RunState()

    def state(self) -> RunState:
        """How far the run is; what is in flight, and may be, is that of the last look."""
        return self._before.plus(
            dataclasses.replace(
                self._standing,
                added=self.totals.totals,
                attempts=dataclasses.replace(self.attempts),
                synced=self._store.synced_results - self._synced_before,
                reopened=self.reopened,
            )
        )

    def look(self, lanes: Lanes, pool: Pool) -> RunState:
        """How far the run is, and how it stands now."""
        now = time.monotonic()
        used = [lane for lane in lanes if lane.out is None]
        whys = {lane.key: lane.controller.why(now) for lane in used}
        alone = len(list(lanes)) == 1
        self._standing = RunState(
            window=sum(lane.controller.window for lane in used),
            in_flight=sum(lane.controller.in_flight for lane in lanes),
            why=", ".join(why if alone else f"{name}: {why}" for name, why in whys.items() if why),
            silent_s=min((_silent_s(lane, now) for lane in used), default=0.0),
            paused=bool(used) and all(lane.controller.gate_until > now for lane in used),
            oldest=pool.rows.oldest(now),
            out={lane.key: lane.out.message for lane in lanes if lane.out is not None},
        )
        return self.state()


def _silent_s(lane: Lane, now: float) -> float:
    """How long the lane's endpoint has been out; 0 when it is not."""
    return lane.controller.silent_s(now) if lane.controller.is_out else 0.0

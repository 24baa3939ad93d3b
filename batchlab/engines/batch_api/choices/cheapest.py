"""What is cheapest within the deadline: tells the policy of lanes how things stand, and does what it says."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from batchlab.counts import counted, plain
from batchlab.dispatch.rate.budget import Budget
from batchlab.engines.batch_api.choices import choice
from batchlab.engines.batch_api.choices.ways import RowSize, batch_way, call_ways, model_of, sampled
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.out import Out
from batchlab.engines.work import Work
from batchlab.lanes.call_times import ALIKE, CallsSeen, CallWatch, ExpectedPace
from batchlab.lanes.decisions import SendLive, Submit, TakeBack, Wait
from batchlab.lanes.policy import LanePolicy
from batchlab.lanes.queue_times import QUEUES, Durations
from batchlab.lanes.seen import BatchOut, BatchWay, Lanes, Left, Pace, Way
from batchlab.protocol.batches.dialect import Phase
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals

ENOUGH_ANSWERS = 20
PROBE_ROWS = 16  # as many as a window that begins small sends in some seconds
PROBED_OF = 4  # times as many rows are left at least, or the probe is the run
MOST_PROBE_S = 60.0
SPAN_S, LEAST_SPAN_S = 300.0, 60.0  # over which a pace is taken
AGAIN_S = 5.0  # between two questions while nothing has changed


class Cheapest:
    """A choice that asks `lanes.policy.LanePolicy`.

    Args:
        lanes: batch lanes that can carry the rows.
        deadline: Unix seconds.
        queues: of each lane, how long batches took in runs before this one.
        known: by a lane's key, what runs before this one saw of calls.
        calls: sees those of this run.
        probes: whether some rows may go live first, to see how long calls take.
        say: told why rows go live, and why a batch is taken back.
        totals: of the run so far, for how long answers are.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        lanes: Mapping[str, BatchLane],
        budget: Budget,
        *,
        deadline: float | None,
        queues: Mapping[str, Durations],
        known: Mapping[str, Sequence[CallsSeen]],
        calls: CallWatch,
        probes: bool,
        say: Callable[[str], None],
        totals: Callable[[], Totals],
        policy: LanePolicy | None = None,
    ) -> None:
        self._work = work
        self._lanes = {
            name: lane
            for name, lane in lanes.items()
            if work.job.limits_at(lane.endpoint.job).lane in {"batch", "cheapest"}
        }
        self._budget = budget
        self._deadline = deadline
        self._queues = queues
        self._known = known
        self._calls = calls
        self._probe_until: float | None = None if probes and deadline is not None else 0.0
        self._say = say
        self._totals = totals
        self._policy = policy or LanePolicy()
        self._size = sampled(work.source, work.plan, work.builder)
        self._model = model_of(work.job, work.plan)
        self._paces = _Paces()
        self._running: dict[str, float] = {}
        self._done_at: dict[str, tuple[int, float]] = {}
        self._said: set[str] = set()
        self._asked: tuple[object, float] = ((), 0.0)

    @property
    def has_calls(self) -> bool:
        """See `choice.Choice`."""
        job = self._work.job
        return any(job.limits_at(endpoint.job).lane != "batch" for endpoint in self._work.endpoints)

    def next(self, scene: choice.Scene) -> choice.Act | None:
        """See `choice.Choice`."""
        now = time.time()
        self._paces.see(now, scene)
        stands = (
            scene.rows_free,
            scene.live_rows,
            tuple((one.batch.key, one.batch.step) for one in scene.out),
        )
        if (stands, True) == (self._asked[0], now < self._asked[1]):
            return None  # nothing has changed since it said to wait
        seen, left = self.seen(now, scene), self.left(scene)
        if self._is_worth_a_probe(now, scene, seen, left):
            self._probe_until = now + MOST_PROBE_S
            self._say(f"lanes: {counted(PROBE_ROWS, 'row')} go live first, to see how long calls take")
            return choice.Probe(PROBE_ROWS)
        if self._is_probing(now, scene):
            # what batches would get anyway; the rest is decided when it is known how long calls take
            seen = _at_pace(seen, lambda pace: pace.fast)
        decision = self._policy.next(now, seen, left)
        match decision:
            case Submit(endpoint):
                return choice.Submit(endpoint)
            case SendLive(_, kind, rows, why, hurried):
                if not rows or not scene.rows_free:
                    self._wait(stands, now, None)
                    return None
                self._tell(f"lanes: {'live' if kind == 'live' else 'by flex'} from now on: {why}", why)
                return choice.SendLive(rows, kind, "deadline" if hurried else "cheapest")
            case TakeBack(key, why):
                self._tell(f"lanes: a batch is taken back: {why}", key)
                return choice.TakeBack(key)
            case Wait(until, why, short):
                self._wait(stands, now, until)
                if short is None:
                    return None
                need = f"${plain(short)} more are needed. Go on with a higher {{limits.max_cost}}."
                return choice.GiveUp(f"{why}: {need}")
        assert_never(decision)

    def _is_worth_a_probe(self, now: float, scene: choice.Scene, seen: Lanes, left: Left) -> bool:
        """Whether nobody knows how long calls take, and only if they are slow rows must go live now."""
        if self._probe_until is not None or self._deadline is None or not seen.batches:
            return False
        if scene.live_rows or scene.live_done or scene.rows_free <= PROBED_OF * PROBE_ROWS:
            return False
        if any(self._known.values()):
            return False
        slow = self._policy.next(now, _at_pace(seen, lambda pace: pace.slow), left)
        fast = self._policy.next(now, _at_pace(seen, lambda pace: pace.fast), left)
        return isinstance(slow, SendLive) and not isinstance(fast, SendLive)

    def _is_probing(self, now: float, scene: choice.Scene) -> bool:
        return scene.live_rows > 0 and now < (self._probe_until or 0.0)

    def _wait(self, stands: object, now: float, until: float | None) -> None:
        self._asked = stands, min(now + AGAIN_S, math.inf if until is None else until)

    def _tell(self, line: str, of: str) -> None:
        if of not in self._said:
            self._said.add(of)
            self._say(line)

    def seen(self, now: float, scene: choice.Scene) -> Lanes:
        """All ways to be answered, as they stand."""
        size = self._size_now()
        return Lanes(
            call_ways(
                self._work.job,
                self._work.lanes,
                self._model,
                size,
                now,
                calls=self._calls_seen(),
                seen=self._paces.spans,
            ),
            tuple(self._batch_way(name, scene, size, now) for name in self._lanes),
            tuple(self._batch_out(one, now) for one in scene.out),
        )

    def left(self, scene: choice.Scene) -> Left:
        """What is still to do."""
        plan = self._work.plan
        return Left(
            total=plan.rows,
            pending=scene.rows_free,
            returned=scene.returned,
            in_flight=scene.live_rows,
            deadline=self._deadline,
            usd=self._budget.left.usd,
            shard_rows=plan.shards[0].rows if plan.shards else 1,
        )

    def _calls_seen(self) -> Mapping[str, Sequence[CallsSeen]]:
        """Of this run, as soon as there were some; of those before it until then."""
        now = self._calls.seen
        return self._known if now is None else {lane.key: [now] for lane in self._work.lanes}

    def _batch_way(self, name: str, scene: choice.Scene, size: RowSize, now: float) -> BatchWay:
        lane = self._lanes[name]
        return batch_way(
            lane.endpoint,
            lane.dialect,
            self._model,
            size,
            now,
            room=scene.room.get(name, 0),
            queue=self._queues.get(name, QUEUES),
            ended=scene.ended.get(name, ()),
        )

    def _batch_out(self, out: Out, now: float) -> BatchOut:
        batch, state = out.batch, out.state
        done = (state.done if state is not None else None) or 0
        if done and batch.key not in self._running:
            self._running[batch.key] = now
        if done > self._done_at.get(batch.key, (0, now))[0]:
            self._done_at[batch.key] = done, now
        return BatchOut(
            batch.key,
            batch.endpoint,
            batch.lines,
            batch.created_at or batch.meant_at,
            done=done,
            phase=state.phase if state is not None else Phase.WAITING,
            running_since=self._running.get(batch.key),
            done_at=self._done_at[batch.key][1] if batch.key in self._done_at else None,
            cancelled_at=batch.cancelled_at or None,
            can_be_called_off=out.may_be_taken_back,
        )

    def _size_now(self) -> RowSize:
        """How long rows are, in the light of the answers so far."""
        totals = self._totals()
        if totals.answered < ENOUGH_ANSWERS:
            return self._size
        return RowSize(
            totals.prompt_tokens / totals.answered,
            totals.completion_tokens / totals.answered,
            self._size.most,
        )


def _at_pace(seen: Lanes, rate: Callable[[ExpectedPace], float]) -> Lanes:
    """The same, if lanes of calls are as fast as that of what is expected of them, for certain."""

    def sure(way: Way) -> Way:
        at = rate(ExpectedPace(way.pace.prior, way.pace.prior_doubt))
        return dataclasses.replace(way, pace=Pace(at, prior_doubt=ALIKE))

    return dataclasses.replace(seen, ways=tuple(map(sure, seen.ways)))


class _Paces:
    """How many rows a second calls bring, in spans in which rows wait for them."""

    def __init__(self) -> None:
        self._ended: list[float] = []
        self._since: tuple[float, int] | None = None
        self._now: tuple[float, int] = (0.0, 0)

    def see(self, now: float, scene: choice.Scene) -> None:
        """How far calls are."""
        if not scene.live_rows:
            self._since = None
            return
        self._now = now, scene.live_done
        if self._since is None:
            self._since = self._now
        elif now - self._since[0] >= SPAN_S:
            self._ended.append(self._rate())
            self._since = self._now

    @property
    def spans(self) -> tuple[float, ...]:
        """Rows a second in each, the newest last."""
        running = self._since is not None and self._now[0] - self._since[0] >= LEAST_SPAN_S
        return (*self._ended, self._rate()) if running else tuple(self._ended)

    def _rate(self) -> float:
        assert self._since is not None
        return (self._now[1] - self._since[1]) / max(1.0, self._now[0] - self._since[0])

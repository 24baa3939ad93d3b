"""What others do: live only, batch only, and batch first with a fixed buffer before the deadline."""

from __future__ import annotations

from batchlab.lanes.decisions import Decision, SendLive, Submit, TakeBack, Wait
from batchlab.lanes.seen import Lanes, Left
from tests.proofs.nights.nights import EVENING

BUFFER = 0.15  # of the window


def live_only(now: float, seen: Lanes, left: Left) -> Decision:
    """Everything live, at once."""
    way = next(one for one in seen.ways if one.lane == "live")
    rows = _covered(left, way.price.set_aside())
    return SendLive(way.endpoint, "live", rows, "") if way.given < rows else Wait(now + 300, "")


def batch_only(now: float, seen: Lanes, left: Left) -> Decision:
    """Everything in batches, and again what comes back; where there are none, live."""
    if not seen.batches:
        return live_only(now, seen, left)
    way = seen.batches[0]
    rows = min(left.pending, way.lines, way.room_rows if way.room_rows is not None else left.pending)
    if rows and way.room_batches > 0 and (left.usd is None or left.usd >= rows * way.price.set_aside()):
        return Submit(way.endpoint, rows, "")
    return Wait(now + 300, "")


def fixed_buffer(now: float, seen: Lanes, left: Left) -> Decision:
    """Batches until 15 % of the window are left; then all that is out is cancelled and sent live."""
    last = left.deadline - BUFFER * (left.deadline - EVENING)
    if now < last:
        decision = batch_only(now, seen, left)
        return Wait(min(decision.until or last, last), "") if isinstance(decision, Wait) else decision
    for one in seen.out:
        if not one.is_cancelled:
            return TakeBack(one.id, "")
    return live_only(now, seen, left)


def _covered(left: Left, each: float | None) -> int:
    return left.pending if left.usd is None or not each else max(0, min(left.pending, int(left.usd / each)))

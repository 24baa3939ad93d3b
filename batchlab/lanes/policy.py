"""Which rows are answered how, so that all are there by the deadline for the least money. Injected clock.

Batches and flex come first, as far as they are cheaper. When so little time is left that to wait for them
risks more than it saves (`situation.Situation.due`), live lanes begin: with what is pending, then with
what is taken back, one batch at a time, the least promising first and so early that live lanes never run dry
while a cancellation takes its time. When batches end after all, live lanes are closed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchlab.counts import counted
from batchlab.lanes.decisions import Decision, SendLive, Submit, TakeBack, Wait
from batchlab.lanes.seen import DAY_S, BatchOut, BatchWay, Lanes, Left, Way
from batchlab.lanes.situation import TUNED, Part, Situation, Tuning

STUCK_S = 3_600.0  # past its window, after which nobody waits for a batch any more
SOONEST_S, LATEST_S = 60.0, 900.0  # between two looks
MOST = 0.5  # of a batch's rows: for fewer it is not taken back
LATE = 1.5  # times what live lanes need, as a last moment: their pace is doubtful
MARGIN = 16  # calls in flight, whose worst case is set aside beside what is paid


@dataclass(frozen=True, slots=True)
class LanePolicy:
    """`cheapest`: decides one thing at a time; ask again at once until it says Wait."""

    tuning: Tuning = TUNED

    def next(self, now: float, seen: Lanes, left: Left) -> Decision:
        """What to do now. Call it when anything changed, and at a Wait's `until`."""
        if not left.pending and not left.in_flight and not seen.out:
            return Wait(None, "every row has its answer")
        if left.deadline is not None and now >= left.deadline:
            return Wait(None, "the deadline is over")
        blind = _unpriced_live(seen)
        if blind is not None:
            return _stay_live(blind, left)
        night = _situation(now, seen, left, self.tuning)
        for decisions in (_stuck(night), _by_rows(night), _by_batches(night)):
            for one in decisions:
                return one
        return _wait(night)


def _unpriced_live(seen: Lanes) -> Way | None:
    live = [one for one in seen.ways if one.lane == "live"]
    if any(one.price.at(0.0) is not None for one in live):
        return None
    return live[0] if live else None


def _stay_live(way: Way, left: Left) -> Decision:
    """Without a price of live calls nothing can be called cheaper."""
    why = f"the price at {way.endpoint} is unknown, so nothing can be called cheaper than live"
    if left.usd is not None:
        return Wait(None, f"{why}, and no cap can be kept")
    if way.given < left.pending:
        return SendLive(way.endpoint, "live", left.pending, why)
    return Wait(None, why)


def _situation(now: float, seen: Lanes, left: Left, tuning: Tuning) -> Situation:
    """What may be chosen from: what has a price, and is cheaper than the cheapest live calls will be."""

    def usd(one: Way | BatchWay) -> float:
        price = one.price.at(now)
        return math.inf if price is None else price

    known = sorted((one for one in seen.ways if usd(one) < math.inf), key=usd)
    live = tuple(one for one in known if one.lane == "live")
    alone = Situation(now, seen, left, tuning, live, (), ())
    until = now + max(0.0, min(DAY_S, alone.odds(alone.fewest).slack_s))
    limit = min((one.price.least_until(now, until) or 0.0 for one in live), default=math.inf)
    # what costs the same is no reason to wait for an hour, but none to leave the live calls of now either
    least = min(map(usd, live), default=math.inf)

    def is_cheaper(one: Way | BatchWay) -> bool:
        return usd(one) < least and usd(one) <= limit

    flex = tuple(one for one in known if one.lane == "flex" and is_cheaper(one))
    usable = tuple(sorted(filter(is_cheaper, seen.batches), key=usd))
    return Situation(now, seen, left, tuning, live, flex, usable)


def _stuck(night: Situation) -> Iterator[Decision]:
    """Batches that their service has forgotten: past their window others end by themselves."""
    windows = {one.endpoint: one.window_s for one in night.seen.batches}
    for one in night.out:
        over = night.now - one.submitted_at - windows.get(one.endpoint, math.inf)
        if over > STUCK_S and one.can_be_called_off:
            yield TakeBack(one.id, f"it should have ended {over / 3600:.1f} h ago")


def _by_rows(night: Situation) -> Iterator[Decision]:
    """What live and flex lanes may send, and what is taken back for them."""
    for lane, ways in (("live", night.fewest), ("flex", night.flex)):
        due = night.due(ways)
        pending = sum(one.rows for one in due if one.batch is None)
        stock = _stock(night, ways)
        # where nothing else may turn out cheaper, now or later, all of it may go
        limited = bool(night.usable or (night.flex and night.live)) or _changes(night, ways)
        most = max(stock - night.left.in_flight, night.returned) if limited else pending
        why = _why_now(night, lane, ways) if pending else "cheaper lanes have time again"
        for way in ways:
            rows = min(pending, most, _covered(night, way))
            yield from _give(way, rows, why, hurried=rows > 0 and _is_hurried(night, way))
        if ways and lane == "live" and pending + night.left.in_flight + night.coming < stock:
            yield from _take_back(night, ways[0], due)
    for way in night.live:
        if way not in night.fewest:
            yield from _give(way, 0, "cheaper lanes are enough")


def _changes(night: Situation, ways: Sequence[Way]) -> bool:
    return any(one.price.changes_after(night.now) < night.now + night.time_s for one in ways)


def _stock(night: Situation, ways: Sequence[Way]) -> int:
    """Rows that keep lanes busy until more can be there.

    A row in the stock is in no batch. So it is small where a lane may run dry for some minutes, and lasts
    for most of a slow cancellation where it must not.
    """
    tuning = night.tuning
    at_risk = tuning.back_at_risk * min(1.0, 2 * night.odds(ways).miss(0.0))
    look_s = min(tuning.look_s, max(SOONEST_S / 2, night.time_s / 120))
    busy_s = (tuning.back_early + at_risk) * night.cancel_s + 2 * look_s + SOONEST_S
    return max(1, math.ceil(sum(one.pace.expected for one in ways) * busy_s))


def _give(way: Way, rows: int, why: str, *, hurried: bool = False) -> Iterator[Decision]:
    """Only what makes a difference: a lane is given more when half is gone, and less when it is slow."""
    if (rows == 0) != (way.given == 0) or not rows / 2 <= way.given <= 1.5 * rows:
        yield SendLive(way.endpoint, way.lane, rows, why, hurried)


def _covered(night: Situation, one: Way | BatchWay) -> int:
    """Pending rows that the cap covers there."""
    usd, each, pending = night.left.usd, one.price.set_aside(), night.left.pending
    if usd is None or not each or usd >= each * pending:
        return pending
    return max(0, math.floor(usd / each + 1e-9))


def _take_back(night: Situation, way: Way, due: Sequence[Part]) -> Iterator[Decision]:
    """The batch of which the least is expected to come, if the cap covers its rows at the price of `way`."""
    for part in due:
        if part.batch is None or not part.batch.can_be_called_off:
            continue
        if not _pays_for(night, way, part, part.batch):
            continue
        yield TakeBack(
            part.batch.id, f"its last {counted(part.rows, 'row')} may not come in time; live they do"
        )


def _pays_for(night: Situation, way: Way, part: Part, batch: BatchOut) -> bool:
    """Whether a batch that may not come in time is better taken back, under the cap.

    Live calls of its rows are expected to be paid by what is left and what its end sets free; each sets aside
    the most that it may cost, but gives back the rest. Where that is enough for some of them only, others may
    be done by now, though nobody says how many: it is left alone until the last moment in which live lanes
    could still send what the cap does cover. If that is most of them, it is better than to miss them all.
    """
    each = way.price.at(night.now) or 0.0
    if night.left.usd is None or not each:
        return True
    more = max(0.0, (way.price.set_aside() or 0.0) - each)
    aside = next((one.price.set_aside() for one in night.seen.batches if one.endpoint == batch.endpoint), 0.0)
    covered = (max(0.0, night.left.usd + part.rows * (aside or 0.0) - MARGIN * more) + 1e-9) / each
    if covered >= part.rows:
        return True
    pace = way.pace.expected
    return covered >= MOST * part.rows and pace > 0 and night.odds([way]).time_s <= LATE * covered / pace


def _by_batches(night: Situation) -> Iterator[Decision]:
    """Batches of what is pending and in no lane's stock, as far as there is room."""
    live, left = night.fewest, night.left
    given = min(left.pending, sum(one.given for one in night.seen.ways))
    back = night.returned if any(_covered(night, one) for one in live) else 0
    free = left.pending - max(given, back)
    if free <= 0:
        return
    odds = night.odds(live)
    for way in night.usable:
        most = min(free, way.lines, _covered(night, way))
        most = most if way.room_rows is None else min(most, way.room_rows)
        if most <= 0 or way.room_batches <= 0:
            continue
        if live:
            # a row that waits for live lanes behind all others can as well wait in a batch
            horizon = min(odds.time_s, max(0.0, odds.slack_s) + odds.work_s)
            if night.nights[way.endpoint].ends_within(horizon) < night.tuning.fair:
                continue
        yield Submit(
            way.endpoint, _size(night, way, free, most), "batches are the cheapest way to be answered"
        )


def _size(night: Situation, way: BatchWay, free: int, most: int) -> int:
    """Whole shards, so many that all is out at once and parts of it come."""
    shard = night.left.shard_rows
    parts = max(1, min(night.tuning.batches, way.room_batches + len(night.seen.out)))
    rows = max(night.left.total / parts, free / way.room_batches)
    return min(most, max(1, math.ceil(rows / shard)) * shard)


def _why_now(night: Situation, lane: str, ways: Sequence[Way]) -> str:
    nobody = sorted({one.endpoint for one in night.seen.batches if one.price.at(night.now) is None})
    if nobody:
        return f"the price of batches at {', '.join(nobody)} is unknown"
    if not _is_hurried(night, ways[0]):
        return f"{lane} is the cheapest way to be answered"
    return f"{lane} needs {night.odds(ways).work_s / 60:,.0f} min for {counted(night.rest, 'row')}"


def _is_hurried(night: Situation, way: Way) -> bool:
    """Whether there is a cheaper lane, and too little time for it."""
    others: list[Way | BatchWay] = [*night.usable, *night.flex]
    usd = way.price.at(night.now) or 0.0
    return math.isfinite(night.time_s) and any((one.price.at(night.now) or 0.0) < usd for one in others)


def _wait(night: Situation) -> Wait:
    """Until the next look, saying what is awaited."""
    pending = night.left.pending - sum(one.given for one in night.seen.ways)
    ways: list[Way | BatchWay] = [*night.usable, *night.flex, *night.live]
    changes = min((one.price.changes_after(night.now) for one in ways), default=math.inf)
    if night.left.usd is not None and pending > 0 and ways and not any(_covered(night, one) for one in ways):
        short = pending * min(one.price.set_aside() or 0.0 for one in ways) - night.left.usd
        return Wait(None, f"the cap does not cover {counted(pending, 'row')}", short)
    looks = [changes]
    if math.isinf(night.time_s):
        windows = {one.endpoint: one.window_s for one in night.seen.batches}
        looks += [one.submitted_at + windows.get(one.endpoint, math.inf) + STUCK_S + 1 for one in night.out]
    else:
        slack = night.odds(night.fewest).slack_s
        look = min(max(SOONEST_S, slack / 20), LATEST_S) if slack > 0 else night.tuning.look_s
        looks += [night.now + look, night.now + night.time_s]
    until = min(looks)
    return Wait(until if math.isfinite(until) else None, _awaited(night, pending, changes))


def _awaited(night: Situation, pending: int, changes: float) -> str:
    late: list[BatchOut] = [one for one in night.seen.out if one.is_cancelled]
    if late:
        since = max(night.now - (one.cancelled_at or night.now) for one in late)
        return f"{len(late)} batches are being cancelled, for {since / 60:.0f} min"
    if pending > 0 and not night.out and math.isfinite(changes):
        return f"{counted(pending, 'row')} to wait for a cheaper hour"
    if pending > 0 and night.usable:
        return f"{counted(pending, 'row')} to wait for room in a batch"
    if night.out:
        return f"{len(night.out)} batches are out"
    if pending > 0 and not night.live and not night.flex:
        return "no way to be answered has a known price"
    return "answers are awaited"

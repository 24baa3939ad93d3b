"""What a run costs: so far, what it will come to, and between which bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.costs.forecast import Forecast, Range
from batchlab.costs.so_far import blocks_of, range_of_rest
from batchlab.job import Job
from batchlab.run_state import RunState
from batchlab.store.history import Moment
from batchlab.totals import Totals


@dataclass(frozen=True, slots=True)
class Expected:
    """What the whole run will cost: in 9 of 10 cases between `low` and `high`, None when nothing says these.

    Attributes:
        by: `rows` for the run's own so far, `pilot` for a sample that was sent before it.
    """

    usd: float
    low: float | None
    high: float | None
    by: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run costs, in US dollars; None where it is not known.

    Attributes:
        so_far: spent, of which `kept` is for answers that were kept, `wasted` for others.
        expected: None also for a run that is done.
        pilot: what the pilot had said, of a run that is done too.
        unknown_rows: how often something was billed at a cost that nobody knows.
        by_lane: (lane, rows, US dollars) where no part has to be read to know it; () where one has.
    """

    so_far: float | None
    kept: float | None
    wasted: float | None
    expected: Expected | None
    pilot: Expected | None
    unknown_rows: int
    max_cost: float | None
    by_lane: tuple[tuple[str, int, float | None], ...] = ()

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "so_far": self.so_far,
            "kept": self.kept,
            "wasted": self.wasted,
            "forecast": None if self.expected is None else dataclasses.asdict(self.expected),
            "pilot": None if self.pilot is None else dataclasses.asdict(self.pilot),
            "currency": "USD",
            "unknown_rows": self.unknown_rows,
            "max_cost": self.max_cost,
            "by_lane": [{"value": lane, "rows": rows, "usd": usd} for lane, rows, usd in self.by_lane]
            or None,
        }


def cost_of(
    job: Job, state: RunState, moments: Sequence[Moment], pilot: Forecast | None, *, has_batches: bool
) -> Cost:
    """What a run costs by its totals and its history.

    Args:
        pilot: what a pilot of the same input has said.
    """
    totals = state.totals
    lanes = {job.limits_at(one).lane for one in job.endpoint}
    of_pilot = None
    if pilot is not None and pilot.cost_usd is not None:
        of_pilot = Expected(pilot.cost_usd.middle, pilot.cost_usd.low, pilot.cost_usd.high, "pilot")
    return Cost(
        so_far=totals.spent_usd,
        kept=totals.kept_usd,
        wasted=totals.wasted_usd,
        expected=_expected(state, moments, of_pilot) if state.pending > 0 else None,
        pilot=of_pilot,
        unknown_rows=totals.unpriced,
        max_cost=job.limits.max_cost,
        by_lane=(("live", totals.rows, totals.spent_usd),) if lanes == {"live"} and not has_batches else (),
    )


def _expected(state: RunState, moments: Sequence[Moment], pilot: Expected | None) -> Expected | None:
    """By the run's own rows, once they say something; else by the pilot's."""
    so_far, whole = state.totals.whole_usd, state.final_usd
    if so_far is None or whole is None:
        return _with_at_least(pilot, state.totals)
    left = state.to_ask - state.asked
    blocks = blocks_of((one.rows, one.usd) for one in moments if one.rows is not None)
    rest = range_of_rest(blocks, left, (whole - so_far) / left) if left > 0 else Range(0.0, 0.0, 0.0)
    if rest is None:
        if pilot is not None and pilot.low is not None and pilot.high is not None and whole <= pilot.high:
            return Expected(whole, max(so_far, min(pilot.low, whole)), max(whole, pilot.high), "rows")
        return Expected(whole, None, None, "rows")
    return Expected(whole, so_far + rest.low, so_far + rest.high, "rows")


def _with_at_least(pilot: Expected | None, totals: Totals) -> Expected | None:
    """The pilot's word, when so much is spent already."""
    spent = totals.spent_usd
    if pilot is None or spent is None:
        return pilot
    low, high = (None if one is None else max(one, spent) for one in (pilot.low, pilot.high))
    return Expected(max(pilot.usd, spent), low, high, "pilot")

"""The charts of a run, as numbers: the page draws them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import CorruptRun
from batchlab.looking.overview.distributions import Distribution, distribution
from batchlab.looking.overview.over_time import OverTime, over_time
from batchlab.looking.overview.sessions import sessions_of
from batchlab.looking.overview.tallies import Example, Tallies
from batchlab.looking.overview.tally import GROUPS, VALUES, Tally
from batchlab.store.batches import read_batches
from batchlab.store.history import history_of
from batchlab.store.view import RunView
from batchlab.totals import Totals

MOST_GROUPS = 20  # values of a column that are shown, the dearest
MOST_ERRORS, MOST_WORDS = 50, 50


@dataclass(frozen=True, slots=True)
class Group:
    """The cost by one column: (value, sums) of each, the dearest first, and how many more there are."""

    column: str
    values: Sequence[tuple[str, Totals]]
    left_out: int = 0

    def json(self) -> dict[str, Any]:
        """For the page."""
        lines = [
            {
                "value": value,
                "rows": totals.rows,
                "failed": totals.failed,
                "kept_usd": totals.kept_usd,
                "wasted_usd": totals.wasted_usd,
                "prompt_tokens": totals.prompt_tokens,
                "completion_tokens": totals.completion_tokens,
            }
            for value, totals in self.values
        ]
        return {"column": self.column, "values": lines, "left_out": self.left_out}


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Failed rows of one class, and a few of them."""

    name: str
    rows: int
    examples: Sequence[Example]

    def json(self) -> dict[str, Any]:
        """For the page."""
        examples = [dataclasses.asdict(one) for one in self.examples]
        return {"class": self.name, "rows": self.rows, "examples": examples}


@dataclass(frozen=True, slots=True)
class Charts:
    """All charts of a run.

    Attributes:
        odd: (what, the provider's word, rows) of answers that are not as they should be, most first.
        upto: rows with a final result that they show.
        problems: what could not be read, and is in none.
    """

    over_time: OverTime
    distributions: Sequence[Distribution]
    by: Sequence[Group]
    errors: Sequence[ErrorClass]
    odd: Sequence[tuple[str, str, int]]
    upto: int
    problems: Sequence[str] = ()

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "over_time": self.over_time.json(),
            "distributions": [one.json() for one in self.distributions],
            "by": [one.json() for one in self.by],
            "errors": [one.json() for one in self.errors],
            "odd": [{"what": what, "word": word, "rows": rows} for what, word, rows in self.odd],
            "upto": self.upto,
            "problems": list(self.problems),
        }


def charts_of(run: RunView, tallies: Tallies, wanted: Sequence[str] = ()) -> Charts:
    """The charts of a run as it is now.

    Args:
        tallies: of the same run; what it has read before is not read again.
        wanted: columns to show the cost by, whatever they tell.
    """
    tally = tallies.of(run)
    try:
        with_batches = bool(read_batches(run.path).by_key)
    except CorruptRun:
        with_batches = True
    runs = run.lock_holder() is not None or run.other_host() is not None
    moments = history_of(run.path)
    sessions = sessions_of(moments, run.last_standing(), runs=runs, with_batches=with_batches)
    examples = tallies.examples()
    errors = [
        ErrorClass(name, count, examples.get(name, ()))
        for name, count in tally.errors.most_common(MOST_ERRORS)
    ]
    return Charts(
        over_time=over_time(tally, sessions, time.time()),
        distributions=_distributions(tally),
        by=_by(tally, wanted),
        errors=errors,
        odd=[(*words, count) for words, count in tally.odd.most_common(MOST_WORDS)],
        upto=tally.rows,
        problems=tallies.problems,
    )


def _distributions(tally: Tally) -> list[Distribution]:
    return [
        distribution(name, title, unit, np.concatenate(tally.values[name]), is_whole=unit == "tokens")
        for name, (title, unit) in VALUES.items()
        if tally.values.get(name)
    ]


def _by(tally: Tally, wanted: Sequence[str]) -> list[Group]:
    found: list[Group] = []
    for column in (*wanted, *(name for name in (*GROUPS, *tally.groups) if name not in wanted)):
        totals = tally.totals(column)
        if not totals or any(one.column == column for one in found):
            continue
        if column not in wanted and (len(totals) < 2 or not _tells(list(totals.values()))):
            continue
        ordered = sorted(totals.items(), key=lambda one: (*_dearest_first(one[1]), one[0]))
        found.append(Group(column, ordered[:MOST_GROUPS], max(0, len(ordered) - MOST_GROUPS)))
    return found


def _dearest_first(totals: Totals) -> tuple[float, int, int]:
    return -(totals.kept_usd or 0.0), -totals.completion_tokens, -totals.rows


def _tells(groups: Sequence[Totals]) -> bool:
    """Whether two values at least have cost anything; without any cost, whether two have tokens."""
    spent = [one.spent_usd or 0.0 for one in groups]
    used = [float(one.prompt_tokens + one.completion_tokens) for one in groups]
    return sum(one > 0 for one in (spent if any(spent) else used)) > 1

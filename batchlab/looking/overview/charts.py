"""The charts of a run, as numbers: the page draws them."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.errors import CorruptRun
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.overview.distributions import Distribution, distribution
from batchlab.looking.overview.examples import Example, Examples
from batchlab.looking.overview.groups import GROUPS, Groups
from batchlab.looking.overview.over_time import OverTime, finished_of, over_time
from batchlab.looking.overview.sessions import Session, sessions_of
from batchlab.looking.overview.sums import Mask, Sums, counts_by_two, final_rows, sums_by
from batchlab.protocol.finish import unknown_finish
from batchlab.protocol.redact import printable
from batchlab.store.batches import read_batches
from batchlab.store.history import history_of
from batchlab.store.view import RunView
from batchlab.totals import Totals

MOST_GROUPS = 20  # values of a column that are shown, the dearest
MOST_ERRORS, MOST_WORDS = 50, 50
WORD_CHARS = 80
# what is distributed, each with its title and unit
VALUES: Mapping[str, tuple[str, str]] = {
    "latency_ms": ("Latency", "ms"),
    "queue_ms": ("Wait for a slot", "ms"),
    "ttft_ms": ("Time to the first token", "ms"),
    "prompt_tokens": ("Prompt tokens", "tokens"),
    "completion_tokens": ("Completion tokens", "tokens"),
    "cost_usd": ("Cost of a row", "USD"),
}


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


class Charter:
    """Draws the charts of one run, again and again while it grows.

    Args:
        wanted: columns to show the cost by, whatever they tell.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._groups = Groups(wanted)
        self._examples = Examples()

    def charts(self, index: RowIndex) -> Charts:
        """The charts of the run whose rows are in the index, as far as they are.

        Raises:
            UsageError: a wanted column is none of the run's.
        """
        run, groups = index.run, self._groups
        groups.refresh(index)
        is_final = final_rows(index)
        failed = np.isin(index["status"], index.codes("status", ["failed"]))
        by = sums_by(index, groups, is_final, _model(run))
        errors = sorted(by["error_class"].items(), key=lambda one: -one[1].failed)
        shown = [(name, totals.failed) for name, totals in errors if totals.failed][:MOST_ERRORS]
        examples = self._examples.of(index, failed, [name or None for name, _ in shown])
        finished = finished_of(index["finished_at"], failed, index["latency_ms"])
        return Charts(
            over_time=over_time(finished, _sessions(run), time.time()),
            distributions=_distributions(index),
            by=_by(by, groups),
            errors=[ErrorClass(name or "?", rows, examples[name or None]) for name, rows in shown],
            odd=_odd(index, is_final),
            upto=int(is_final.sum()),
            problems=[*index.problems, *groups.problems],
        )


def _model(run: RunView) -> str:
    """Which model answered where a provider named none: the one that was asked, if nobody named others."""
    models = run.manifest.plan.models
    return run.manifest.job.request.model or (models[0] if len(models) == 1 else "?")


def _sessions(run: RunView) -> list[Session]:
    try:
        with_batches = bool(read_batches(run.path).by_key)
    except (CorruptRun, OSError):  # which the overview says
        with_batches = True
    runs = run.lock_holder() is not None or run.other_host() is not None
    return sessions_of(history_of(run.path), run.last_standing(), runs=runs, with_batches=with_batches)


def _distributions(index: RowIndex) -> list[Distribution]:
    found = []
    for name, (title, unit) in VALUES.items():
        values = index[name]
        values = values[values >= 0]  # neither NaN nor the -1 of a count that nobody knows
        if len(values):
            found.append(distribution(name, title, unit, values, is_whole=unit == "tokens"))
    return found


def _odd(index: RowIndex, is_final: Mask) -> list[tuple[str, str, int]]:
    """What is not as it should be among answers, by the word that their provider said."""
    found: Counter[tuple[str, str]] = Counter()
    for (status, word), rows in counts_by_two(index, is_final, "status", "finish_reason").items():
        shown = printable(word, WORD_CHARS)
        if status in ("truncated", "filtered", "invalid"):
            found[status, shown] += rows
        if status != "failed" and unknown_finish(word) is not None:
            found["unknown finish", shown] += rows
    for (status, name), rows in counts_by_two(index, is_final, "status", "error_class").items():
        if status != "failed" and name == "empty":
            found["empty", ""] += rows
    return [(*words, rows) for words, rows in found.most_common(MOST_WORDS)]


def _by(sums: Mapping[str, Sums], groups: Groups) -> list[Group]:
    found: list[Group] = []
    for column in dict.fromkeys((*groups.wanted, *GROUPS, *groups.names)):
        totals = sums.get(column, {})
        if column not in groups.wanted and not _tells(list(totals.values())):
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

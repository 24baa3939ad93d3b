"""What a run came to by lanes: list price, paid, saved, and what the deadline cost. Sums; unknown is None."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Lane: TypeAlias = Literal["live", "flex", "batch"]


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows that were answered alike, and what they cost; None where a price is unknown.

    Attributes:
        paid_usd: as booked, what was paid and not kept included.
        list_usd: what the same tokens cost live at the same hour, without a tier.
        least_usd: what they cost in the cheapest lane that takes them; `paid_usd` where that is this one.
        is_hurried: there was no time to wait for that lane; else there was another reason.
        is_assumed: nobody states the price of their lane, and `paid_usd` is that of live calls.
    """

    endpoint: str
    lane: Lane
    rows: int
    paid_usd: float | None
    list_usd: float | None
    least_usd: float | None
    is_hurried: bool = True
    is_assumed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A lane of an endpoint on a receipt."""

    endpoint: str
    lane: Lane
    rows: int
    paid_usd: float | None
    list_usd: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run came to.

    Attributes:
        lines: by endpoint and lane, in the order of their first rows.
        deadline_usd: what was paid above the cheapest lane, because there was no time to wait for it; None
            when a price is unknown, and 0.0 without a deadline.
        hurried: rows that were paid so.
        is_assumed: nobody states what some of it costs, and it is counted with the most that it may.
    """

    lines: tuple[Line, ...]
    rows: int
    paid_usd: float | None
    list_usd: float | None
    deadline_usd: float | None
    hurried: int = 0
    is_assumed: bool = False

    @property
    def saved_usd(self) -> float | None:
        """What it was cheaper than its list price, where that is known; below 0 when more was lost."""
        if self.paid_usd is None or self.list_usd is None or self.is_assumed:
            return None
        return self.list_usd - self.paid_usd


def receipt(answered: Iterable[Answered], *, had_deadline: bool) -> Receipt:
    """The receipt of all that was answered."""
    every = tuple(answered)
    is_assumed = any(one.is_assumed for one in every)
    groups: dict[tuple[str, Lane], list[Answered]] = {}
    for one in every:
        groups.setdefault((one.endpoint, one.lane), []).append(one)
    lines = tuple(
        Line(
            endpoint,
            lane,
            sum(one.rows for one in some),
            _total(some, lambda one: one.paid_usd),
            _total(some, lambda one: one.list_usd),
        )
        for (endpoint, lane), some in groups.items()
    )
    return Receipt(
        lines,
        sum(one.rows for one in every),
        _total(every, lambda one: one.paid_usd),
        _total(every, lambda one: one.list_usd),
        _total(every, _above_least) if had_deadline else 0.0,
        sum(one.rows for one in every if _above_least(one)) if had_deadline else 0,
        is_assumed,
    )


def _above_least(one: Answered) -> float | None:
    if not one.is_hurried:
        return 0.0
    if one.paid_usd is None or one.least_usd is None:
        return None
    return max(0.0, one.paid_usd - one.least_usd)


def _total(some: Iterable[Answered], usd: Callable[[Answered], float | None]) -> float | None:
    total = 0.0
    for one in some:
        found = usd(one)
        if found is None:
            return None
        total += found
    return total

"""What the workers of a run have used of its caps, and what one that died has cost."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.dispatch.rate.money import Money
from batchlab.engines.crew import LenderLink, Worker
from batchlab.engines.terms import spent_of
from batchlab.totals import Totals


class Accounts:
    """The books beside the lender: what all that are gone have spent, whoever the lender is.

    Args:
        spent: by earlier invocations.
    """

    def __init__(self, spent: Money) -> None:
        self.spent = spent
        self._unsettled: set[str] = set()  # the dead whose books have not been read
        self.lender: LenderLink

    async def release(self, worker: Worker, spent: Money) -> None:
        """A worker is done."""
        self.spent = self.spent.plus(spent)
        await self.lender.release(worker.name, spent)

    def died(self, worker: Worker) -> None:
        """A worker is dead or out of reach; `settle` follows."""
        self._unsettled.add(worker.name)

    async def settle(self, worker: Worker, spent: Money) -> None:
        """The books of a dead worker have been read."""
        self.spent = self.spent.plus(spent)
        self._unsettled.discard(worker.name)
        await self.lender.settle(worker.name, spent)

    def may_hold(self, working: list[str]) -> list[str]:
        """The names of all that may hold a lease of a lender that was lost."""
        return working + sorted(self._unsettled)


@dataclass(frozen=True, slots=True)
class Loss:
    """What the death of a worker has cost.

    Attributes:
        spent: by the worker in its life, with the most that what it had in flight may have been billed.
        in_flight: requests that may be billed twice.
        unsaved: answers that had not reached the run's URL, and will be paid again.
    """

    spent: Money
    in_flight: int
    unsaved: int

    @classmethod
    def of(cls, worker: Worker, done: Totals, in_flight: int, *, is_away: bool) -> Loss:
        """The loss of a worker whose books say `done`, with `in_flight` requests without an answer.

        Args:
            is_away: it wrote to a directory of its own: the last of its journal is lost with it, and was
                in flight or answered.
        """
        told, unsaved = worker.demand.spent, 0
        if is_away:
            in_flight = worker.state.in_flight
            unsaved = max(0, worker.state.saved - done.rows)
        # what was in flight may have been billed, and no journal will ever say how much
        largest = worker.demand.largest
        lost_at_most = Money(largest.usd * in_flight, largest.tokens * in_flight)
        lost = spent_of(done).plus(lost_at_most)
        if is_away:
            told = told.plus(lost_at_most)
        return cls(Money(max(lost.usd, told.usd), max(lost.tokens, told.tokens)), in_flight, unsaved)

    def told(self, flush_s: float) -> str:
        """The loss for a person; "" when nothing was lost.

        Args:
            flush_s: what a worker answers reaches the run's URL that often.
        """
        text = ""
        if self.in_flight:
            word = "request" if self.in_flight == 1 else "requests"
            text = f" with {self.in_flight:,} {word} in flight, which may be billed twice"
        if self.unsaved:
            answers = "answer" if self.unsaved == 1 else "answers"
            text += (
                f" and {self.unsaved:,} {answers} of its last {flush_s:g} s, which had not reached the run's "
                "URL and will be paid again"
            )
        return text

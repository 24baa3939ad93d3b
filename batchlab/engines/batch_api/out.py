"""A batch that is out, as this process knows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.dispatch.rate.worst_case import Reservation
from batchlab.engines.batch_api.answers.merging import Merged
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.protocol.batches.dialect import BatchState
from batchlab.records import Outcome
from batchlab.run_state import BatchStanding
from batchlab.store.batches import Batch, Step


@dataclass(slots=True, eq=False)
class Out:
    """A batch that is out, and what this process has seen and told of it.

    Attributes:
        lines: the file of its lines; None once that is not needed.
        state: as its service said last.
        is_looked_at: whether it was asked for in this process; `is_told_to_end` whether that was said to it.
        wake: set to look at it now.
        stop: why nothing more is to be sent there, as a line of its results says.
    """

    batch: Batch
    lane: BatchLane
    reservation: Reservation
    lines: Path | None = None
    state: BatchState | None = None
    next_look: float = 0.0
    is_looked_at: bool = False
    is_told_to_end: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    stop: Outcome | None = None

    @property
    def may_be_taken_back(self) -> bool:
        """Whether its service may be told to end it: it is there, and was not told in this process."""
        return self.batch.step is Step.CREATED and self.batch.id is not None and not self.is_told_to_end

    def charge(self, merged: Merged) -> None:
        """What its results come to is known."""
        self.reservation.charged_usd, self.reservation.charged_tokens = merged.spent
        self.stop = merged.stop

    def charge_most(self) -> None:
        """It may have been billed, and nothing will tell how much."""
        self.reservation.charged_usd, self.reservation.charged_tokens = self.reservation.worst

    def standing(self) -> BatchStanding:
        """As others are told of it."""
        state, batch = self.state, self.batch
        done = state.done if state is not None else None
        if state is not None and done is None and state.progress is not None:
            done = round(state.progress * batch.lines)
        return BatchStanding(
            key=batch.key,
            endpoint=batch.endpoint,
            id=batch.id or "",
            rows=batch.lines,
            word=state.word if state is not None else batch.step.value,
            done=done,
            since=batch.ordered_at or batch.meant_at,
            next_look=self.next_look,
        )

"""What the engine of batches works with, and how an invocation deals with batches."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.dispatch.rate.budget import Budget
from batchlab.engines.batch_api.choices.choice import Choice
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.batch_api.live import LivePhase
from batchlab.engines.observer import Observer, RowWatch, Taker


@dataclass(frozen=True, slots=True)
class Manner:
    """How an invocation deals with batches.

    Attributes:
        waits: for their end; else it takes what has ended, orders what may be, and leaves.
        cancels: all that are out, and orders none.
        orders: others, too; else what is out is taken home, and nothing goes by any lane.
        accepts_loss: a batch whose results are gone is given up.
    """

    waits: bool = True
    cancels: bool = False
    orders: bool = True
    accepts_loss: bool = False
    watch: RowWatch | None = None
    taker: Taker | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What the engine works with.

    Attributes:
        lanes: where batches may go, opened, by name.
        live: sends rows live.
        ended_after_s: of each lane, how long batches took; grows.
    """

    observer: Observer
    lanes: dict[str, BatchLane]
    choice: Choice
    live: LivePhase
    budget: Budget
    manner: Manner
    ended_after_s: dict[str, list[float]]

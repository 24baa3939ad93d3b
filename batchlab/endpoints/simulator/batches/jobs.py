"""One batch: what was asked for, and how far it is at any time. Its state is a function of the clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchlab.endpoints.simulator.batches.faults import BatchFault
from batchlab.endpoints.simulator.batches.files import Lines, StoredFile
from batchlab.endpoints.simulator.kinds import Kind

NEVER = float("inf")
VALIDATING_SHARE, FINALIZING_SHARE = 0.1, 0.1  # of the time that a batch takes


class Stage(enum.Enum):
    """How far a batch is, in OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it stays as it is."""
        return self in (Stage.FAILED, Stage.COMPLETED, Stage.EXPIRED, Stage.CANCELLED)


@dataclass(slots=True)
class Times:
    """When what happens to a batch, seconds since 1970; `NEVER` for what does not.

    Attributes:
        most: share of the lines that is finished at most.
        late: whether it goes on beyond its window.
    """

    created: float
    begins: float
    ends: float
    closes: float
    expires: float
    most: float = 1.0
    late: bool = False
    cancelling: float = NEVER
    cancelled: float = NEVER

    @classmethod
    def of(
        cls, created: float, takes: float, window: float, fates: Mapping[str, BatchFault], *, late: bool
    ) -> Times:
        """Those of a batch that takes so many seconds, as its fates have it."""
        begins = created + takes * VALIDATING_SHARE
        ends = created + takes * (1 - FINALIZING_SHARE)
        times = cls(created, begins, ends, created + takes, created + window, late=late)
        works = ends - begins
        if (stuck := fates.get("batch_stuck")) is not None:
            times.most, times.closes, times.expires = stuck.share, NEVER, NEVER
        elif (expiring := fates.get("batch_expires")) is not None:
            times.most, times.closes, times.late = expiring.share, NEVER, False
            times.expires = min(times.expires, ends)
        elif (other := fates.get("batch_cancelled")) is not None:
            times.cancelling = times.cancelled = begins + works * other.share
        return times

    def stage(self, now: float, *, refused: bool) -> Stage:
        """How far it is; `refused`: its lines are not valid."""
        if now >= self.cancelled:
            return Stage.CANCELLED
        if now >= self.cancelling:
            return Stage.CANCELLING
        if now < self.begins:
            return Stage.VALIDATING
        if refused:
            return Stage.FAILED
        if now >= self.expires and self.expires < self.closes and not self.late:
            return Stage.EXPIRED
        if now < self.ends or self.closes == NEVER:
            return Stage.IN_PROGRESS
        return Stage.FINALIZING if now < self.closes else Stage.COMPLETED

    def finished(self, lines: int, now: float) -> int:
        """How many lines are finished by now."""
        until = min(now, self.cancelling, NEVER if self.late else self.expires)
        if until < self.begins:
            return 0
        works = self.ends - self.begins
        done = 1.0 if works <= 0 else min(1.0, (until - self.begins) / works)
        if until == self.expires and self.closes == NEVER:
            done = 1.0  # all that it was to finish
        return int(lines * min(done, self.most) + 1e-9)

    def cancel(self, now: float, takes: float) -> None:
        """It is being cancelled from now on, unless it already was."""
        if now < self.cancelling:
            self.cancelling, self.cancelled = now, now + takes


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why a batch was refused: a line's number from 1, or None for the whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line in the books: what tells its request apart, how it ended, and what was charged."""

    custom_id: str
    content: str
    status: str
    billed: bool = False
    usd: float | None = None


@dataclass(slots=True)
class Tally:
    """What has become of the lines so far."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class Batch:
    """One batch.

    Attributes:
        number: the how-manieth it is, from 1.
        model: of the whole batch, where lines name none.
        order: line numbers in the order in which they finish.
        answered: how many of them are.
        problems: why it was refused, once it was looked at.
        enqueued: prompt tokens that it has waiting until it ends.
        closed: whether its results are written.
    """

    id: str
    number: int
    dialect: str
    kind: Kind
    input: StoredFile
    times: Times
    fates: Mapping[str, BatchFault]
    window: str
    model: str | None = None
    metadata: dict[str, str] | None = None
    lines: Lines | None = None
    order: list[int] = field(default_factory=list)
    answered: int = 0
    problems: list[LineProblem] = field(default_factory=list)
    enqueued: int = 0
    tally: Tally = field(default_factory=Tally)
    entries: list[Entry] = field(default_factory=list)
    output: StoredFile | None = None
    errors: StoredFile | None = None
    closed: bool = False
    asked: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False

    def stage(self, now: float) -> Stage:
        """How far it is by the clock."""
        return self.times.stage(now, refused=bool(self.problems))

    def shown(self, now: float) -> Stage:
        """How far it is for who asks: it has not ended before its results are there."""
        stage = self.stage(now)
        if not stage.ended or self.closed:
            return stage
        if stage is Stage.CANCELLED:
            return Stage.CANCELLING
        return Stage.VALIDATING if self.lines is None else Stage.FINALIZING

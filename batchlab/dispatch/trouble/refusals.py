"""Whether a refusal that comes again and again is one row's own, or the endpoint's to everybody. Pure.

A row that is refused while rows asked after it are answered is no victim of a limit; but near a limit
any row is refused now and then, and twice or thrice by chance. So what counts is how improbable its
refusals would be if it were a row like the others: the share of the others that were refused in the
same time, to the power of its own refusals. On simulated providers that refuse 30 to 60 % of all
requests no row is taken for one of these; where nothing else is refused, four refusals are enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

ENOUGH = 4  # refusals of a row, at the least, before it fails
IMPROBABLE, NEVER = 1e-6, 1e-9  # that they came by chance; where many rows are refused, some have bad luck
CLEAR = 8  # refusals that are enough after few answers, when no other row was refused at all
COUNTED = 3  # refusals of one row that count against the endpoint; from so many on they tell of the row
RARE = 0.25  # share of rows that fail with an error; from so many on, it is the endpoint that has trouble
STEADY = 0.1  # share of refusals up to which the other rows' alone steer the window
MEMORY = 0.02  # weight of the latest answer in that share: it looks back on some fifty
FEW = 4  # rows left are few when so many times more were answered
TAIL_S, KNOWN_TAIL_S = 600.0, 14.0  # how long rows at the very end are asked again, when nobody is answered
MINUTE_S = 70.0  # so long a limit by the minute may last: until then a row looks often
BACK_CAP_S, MINUTE_CAP_S, TAIL_CAP_S = 20.0, 8.0, 60.0  # longest that a refused row waits by itself


@dataclass(slots=True)
class Served:
    """How many requests were answered, and when the latest of them was sent."""

    answers: int = 0
    latest_sent_at: float = -math.inf


@dataclass(slots=True)
class Turns:
    """A row's refusals of one kind, at one endpoint.

    Attributes:
        asked: how often it was refused in all.
        counted: of them, those that count against the endpoint.
        count: those that speak against the row.
        shown: it was refused again after another row, asked in between, was answered.
    """

    asked: int = 0
    counted: int = 0
    count: int = 0
    shown: bool = False
    first_at: float = 0.0
    last_at: float = 0.0
    answers_then: int = 0  # when it was first refused
    others_then: int = 0
    others_last: int = 0

    @property
    def back_s(self) -> float:
        """How long the row stays behind the others now: doubled each time."""
        return self._doubled(BACK_CAP_S)

    def tail_back_s(self, *, steady: bool) -> float:
        """The same for one of the last rows, of which nobody knows yet what it is refused for."""
        looks_often = self.last_at - self.first_at < MINUTE_S
        return self._doubled(TAIL_CAP_S if not looks_often else BACK_CAP_S if steady else MINUTE_CAP_S)

    def _doubled(self, cap_s: float) -> float:
        return min(cap_s, 2.0 ** (min(self.asked, 10) - 1))


@dataclass(slots=True)
class RowRefusals:
    """What one row was refused for at one endpoint: by limits, by what may be the end of the run, by errors.

    Attributes:
        is_odd: it failed in an earlier pass while others were answered.
        asks_too_long: an error of its asked for a longer wait than is allowed.
    """

    limits: Turns = field(default_factory=Turns)
    ends: Turns = field(default_factory=Turns)
    errors: Turns = field(default_factory=Turns)
    is_odd: bool = False
    asks_too_long: bool = False


class Refusals:
    """All refusals of one kind at one endpoint; called from one event loop, no await inside."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._rows = 0  # that were refused at least once
        self._all = 0  # refusals, without those that are probably their rows' own
        self._share = 0.0
        self._shown = 0
        self._failed = 0

    def answered(self) -> None:
        """A request was answered."""
        self._share *= 1 - MEMORY

    @property
    def is_steady(self) -> bool:
        """Whether refusals are so rare that those of rows refused before need not steer anything."""
        return self._share < STEADY

    @property
    def is_rare(self) -> bool:
        """The same for errors, which steer no window and are charged to a budget of one in ten."""
        return self._share < RARE

    @property
    def knows_rows(self) -> bool:
        """Whether there are rows here that are refused for themselves, and little else is."""
        return self._shown > 0 and self.is_steady

    def again(self, row: Turns, now: float) -> bool:
        """Books a refusal. Returns whether it is the row's own, as far as can be told by now."""
        if row.asked == 0:
            self._share += MEMORY * (1 - self._share)
            self._rows += 1
            row.first_at, row.count = now, 1
            row.answers_then, row.others_then = self._served.answers, self._all
        elif self._served.latest_sent_at > row.last_at:
            row.count += 1
            if not row.shown:
                row.shown = True
                self._shown += 1
        elif row.shown and row.others_last == self._all:
            row.count += 1  # nobody else was refused meanwhile
        row.asked += 1
        if row.shown and row.count >= COUNTED and self.is_steady:
            self._all -= row.counted
            row.counted = 0
        elif row.asked <= COUNTED:
            self._all += 1
            row.counted += 1
        row.last_at, row.others_last = now, self._all
        return row.shown

    def convicts(self, row: Turns, *, clear: int = CLEAR) -> bool:
        """Whether the row was refused too often for chance; `clear` times are, if no other row was."""
        if not row.shown or row.count < ENOUGH:
            return False
        others = max(0, self._all - row.others_then - row.counted)
        answers = self._served.answers - row.answers_then
        chance = (others + 1) / (others + answers + 2)
        if chance**row.count < (IMPROBABLE if self.is_steady else NEVER) or (
            others == 0 and row.count >= clear
        ):
            self._failed += 1
            return True
        return False

    def is_tail(self, left: int | None) -> bool:
        """Whether the rows that are left are few; `left` is None while there are more to begin."""
        return left is not None and left * FEW <= self._served.answers

    def is_last_and_late(self, row: Turns, now: float) -> bool:
        """Of a row among the last few: whether it has had its time.

        If nobody was asked after it, no other answer can show that it is the row; but most limits would
        have ended. Where most refusals were single rows' own, that is what to expect of this one, too.
        """
        known = self._failed > 0 and self.is_steady and self._rows <= 1.5 * self._failed + 1
        if row.shown:
            late = row.asked >= CLEAR and self.is_steady
            self._failed += late
            return late
        late = now - row.first_at >= (KNOWN_TAIL_S if known else TAIL_S)
        if late and row.asked >= ENOUGH:
            self._failed += 1
            return True
        return False

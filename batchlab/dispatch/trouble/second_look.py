"""A second look before a run that has had answers is stopped: hold, wait, ask once more. Pure.

A replica with a stale key, a gateway that restarts, a firewall with a moment of doubt: each refuses
many requests at once, and is over soon. So a refusal that would end the run holds the endpoint for
5 s instead; whatever is in flight then belongs to the same look. One request asks again, and only if
it is refused too, the run stops. Each look that ends well makes the next one harder to begin: where
every tenth request is refused for ever, those rows are asked again and nobody is held up by them.
"""

from __future__ import annotations

import math
from enum import Enum, auto

MOST_IN_ROW = 32  # refusals in a row that begin a look, however many looks have ended well
LEAST = 3  # refusals of a look, at the least, before the run stops
DOUBTFUL_PROBES = 8  # refused in a row, where others were answered meanwhile: half of them may be by chance


class Step(Enum):
    """What is to be done after a refusal that may be the end of the run."""

    BEHIND = auto()  # the row is asked again later, and nothing else happens
    HOLD = auto()  # nobody is asked for a while, and then one
    STOP = auto()


class SecondLook:
    """The look that goes on at one endpoint, and how the ones before it have ended."""

    def __init__(self) -> None:
        self._in_row = 0
        self._since = math.inf  # when the first of them was sent
        self._began = math.inf
        self._until = 0.0
        self._refused_probes = 0
        self._mixed = False  # requests sent after one that was refused were answered
        self._ended_well = 0

    @property
    def goes_on(self) -> bool:
        """Whether the endpoint is held, or asked with one request at a time."""
        return self._began < math.inf

    def left_s(self, now: float) -> float:
        """How long the endpoint is still held."""
        return max(0.0, self._until - now) if self.goes_on else 0.0

    def answered(self, sent_at: float) -> bool:
        """The service took a request. Returns whether that ends a look."""
        if sent_at < self._since:
            return False
        if sent_at >= self._began:
            self._ended_well += 1
            self._reset()
            return True
        if self.goes_on:
            self._mixed = True
        else:
            self._reset()
        return False

    def refused(self, sent_at: float, now: float, in_row: int, hold_s: float) -> Step:
        """A request was refused; a look of `hold_s` begins at `in_row` refusals, and later at more."""
        if self.goes_on:
            self._in_row += 1
            if sent_at < self._began:
                return Step.BEHIND  # it was in flight then: the same look
            self._refused_probes += 1
            doubtful = self._mixed or self._ended_well > 0
            enough = self._in_row >= LEAST and self._refused_probes >= (DOUBTFUL_PROBES if doubtful else 1)
            return Step.STOP if enough else Step.BEHIND
        self._since = min(self._since, sent_at)
        self._in_row += 1
        if self._in_row < min(MOST_IN_ROW, in_row << min(self._ended_well, 5)):
            return Step.BEHIND
        self._began, self._until = now, now + hold_s
        return Step.HOLD

    def _reset(self) -> None:
        self._in_row, self._refused_probes, self._mixed = 0, 0, False
        self._since = self._began = math.inf

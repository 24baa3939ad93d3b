"""Failover: endpoints that cannot go on are left out, and the run stops with the last of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from batchlab.counts import lasting
from batchlab.dispatch.lanes import Lane, Lanes
from batchlab.dispatch.rate.slots import Slots, Stopped
from batchlab.dispatch.stop import StopSignal
from batchlab.job import LimitsJob
from batchlab.records import Outcome, OutcomeClass
from batchlab.run_end import StopReason

MAX_TIME = 253_402_300_799.0  # the end of the year 9999

_REASONS = {  # by error class
    "auth": StopReason.KEY,
    "quota": StopReason.QUOTA,
    "connection": StopReason.OUTAGE,
    "outage": StopReason.OUTAGE,
}


class Failover:
    """Decides what a failed attempt means for its lane.

    Args:
        say: told which endpoint is out, and which ones go on.
    """

    def __init__(
        self, *, lanes: Lanes, slots: Slots, limits: LimitsJob, stop: StopSignal, say: Callable[[str], None]
    ) -> None:
        self._lanes = lanes
        self._slots = slots
        self._limits = limits
        self._stop = stop
        self._say = say

    def lane_is_out(self, name: str, outcome: Outcome) -> None:
        """Another process of the run found that a lane cannot go on."""
        for lane in self._lanes:
            if lane.key == name and lane.out is None:
                with contextlib.suppress(Stopped):  # the run stops
                    self.take_out(lane, outcome)

    def take_out(self, lane: Lane, outcome: Outcome) -> None:
        """Sends nothing more to a lane that cannot go on.

        Raises:
            Stopped: it was the last one, so the run cannot go on either.
        """
        others = self._lanes.others_than(lane)
        if not others:
            self._stop(stop_reason(outcome), outcome.message)
            self._slots.stop()
            raise Stopped
        if lane.out is None:
            lane.out = outcome
            names = ", ".join(other.key for other in others)
            self._say(f"endpoint {lane.key} is out: {outcome.message}; going on with {names}")
            self._slots.wake()

    def check(self, lane: Lane, outcome: Outcome) -> None:
        """Takes the lane out when it cannot go on, or has been silent for too long.

        A silent one is given up only when no other still answers.
        """
        if outcome.kind is OutcomeClass.STOP:
            self.take_out(lane, self._told(lane, outcome))
        if outcome.kind is OutcomeClass.FAIL:
            return
        if lane.controller.silent_s(time.monotonic()) > self._limits.max_outage_s:
            outage = lasting(self._limits.max_outage_s)
            message = f"no answer for {outage} ({{limits.max_outage}}): {outcome.message}"
            if not self._lanes.others_than(lane):
                self.take_out(lane, _outage(_with_address(message, lane), outcome))

    def _told(self, lane: Lane, outcome: Outcome) -> Outcome:
        """A STOP as a person should read it: when to come back, and which URL was asked."""
        wait_s = outcome.wait_s or 0.0
        if wait_s <= self._limits.max_pause_s:
            if outcome.error_class == "quota":  # who pays is known; where does not matter
                return outcome
            return replace(outcome, message=_with_address(outcome.message, lane))
        # a date too far for the calendar is no reason for a traceback
        back = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(time.time() + wait_s, MAX_TIME)))
        if outcome.error_class in {"auth", "quota"}:
            return replace(outcome, message=f"{outcome.message.rstrip('.')}. Come back at {back}.")
        message = f"the endpoint asks for a pause longer than {{limits.max_pause}} ({outcome.message})."
        return _outage(f"{message} Come back at {back}.", outcome)


def _with_address(message: str, lane: Lane) -> str:
    if not lane.address or lane.address in message:
        return message
    return f"{message} (asked: {lane.address})"


def _outage(message: str, outcome: Outcome) -> Outcome:
    return replace(outcome, kind=OutcomeClass.STOP, error_class="outage", message=message)


def stop_reason(outcome: Outcome) -> StopReason:
    """Why the run stops when its last endpoint is out."""
    return _REASONS.get(outcome.error_class, StopReason.ENDPOINT)

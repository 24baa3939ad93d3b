"""How an endpoint is doing as a whole: when one row's trouble means that the run cannot go on.

A 404 for the first row is a wrong model name and would fail every row; the same answer after
a thousand good ones is that row's own. This class remembers just enough to tell them apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

from batchlab.counts import counted
from batchlab.dispatch.trouble.refusals import ENOUGH, Refusals, RowRefusals, Served
from batchlab.dispatch.trouble.second_look import SecondLook, Step
from batchlab.dispatch.trouble.verdict import Toll, Verdict
from batchlab.records import Outcome, OutcomeClass

FIRST_ROWS = 20  # all failing with one cause and none good: the request itself is wrong
ROW_STREAK = 3  # e.g. 403: a firewall page looks the same for every row
UNREACHABLE_ATTEMPTS = 3  # connection refused before any success: a wrong address, not an outage
WRONG_ADDRESSES = 3  # web pages before any success
AFTER_S = 0.05  # a row that was refused lets one go first that was not
LONG_WAITS = 3  # rows in a row whose server error asks for a pause of days
LOOK_S = 5.0  # after so long what was answered before and is refused now is asked once more
BEHIND_S = 1.0  # after a look, for rows that were refused in it: others are asked first

# A row's own content or length: says nothing of the other rows.
_OF_THE_ROW = frozenset({"content_filter", "context_length", "too_large", "schema"})
# FAILs that may be the end of the run although rows were answered: asked again once, and counted.
_OF_ALL_PERHAPS = frozenset({"forbidden", "not_found", "tier"})

# Refusals of a key, an account or an address, by which a replica or a proxy may stand alone.
_OF_AN_ACCOUNT = frozenset({"auth", "quota", "redirect"})

_TOLLS = {
    OutcomeClass.WAIT: Toll.LIMITED,
    OutcomeClass.PAUSE: Toll.UNREACHABLE,
    OutcomeClass.RETRY: Toll.FAILED,
}


class RunHealth:
    """Judges what comes of each attempt at one endpoint: some FAIL and PAUSE become STOP, some STOP wait.

    One instance per endpoint; called from one event loop, no await inside.
    """

    def __init__(self, *, processes: int = 1, answered: bool = False) -> None:
        """`processes` share the run, so each sees only a part of its rows; `answered` says that some of
        them were, by an earlier invocation."""
        self._first_rows = max(ROW_STREAK, FIRST_ROWS // processes)
        self._elsewhere = answered  # another process, or an earlier invocation, was answered
        self._served = Served()
        self._limits = Refusals(self._served)
        self._ends = Refusals(self._served)
        self._errors = Refusals(self._served)
        self._look = SecondLook()
        self._streak = 0  # rows in a row that failed with `_streak_cause`
        self._streak_cause: tuple[str, int | None, str] | None = None
        self._unreachable = self._wrong_addresses = self._long_waits = 0

    @property
    def _has_answers(self) -> bool:
        return self._served.answers > 0 or self._elsewhere

    def succeeded(self, sent_at: float) -> None:
        """A request that was sent then was answered."""
        served = self._served
        served.answers += 1
        if sent_at > served.latest_sent_at:
            served.latest_sent_at = sent_at
        self._limits.answered()
        self._ends.answered()
        self._errors.answered()
        self._look.answered(sent_at)
        self._streak, self._streak_cause, self._long_waits = 0, None, 0

    def succeeded_elsewhere(self) -> None:
        """An attempt of another process was answered: the request itself is right."""
        self._elsewhere = True

    def judged(
        self,
        outcome: Outcome,
        row: RowRefusals,
        *,
        sent_at: float,
        now: float,
        max_pause_s: float = math.inf,
        left: int | None = None,
        beside: int = 0,
    ) -> Verdict:
        """`outcome` in the light of what the run has seen so far.

        Args:
            row: what the row was refused for before; it is kept up to date here.
            max_pause_s: longest wait that may be asked of us.
            left: how many rows have no result yet, once all are begun.
            beside: how many other requests are in flight.
        """
        if outcome.wait_s is not None and outcome.wait_s > max_pause_s:
            if self._is_to_come_back(outcome, row):
                return _stop(outcome)
            if outcome.kind is not OutcomeClass.STOP:
                outcome = replace(outcome, wait_s=None)
        match outcome.kind:
            case OutcomeClass.STOP if (
                beside and not self._has_answers and outcome.error_class in _OF_AN_ACCOUNT
            ):
                return self._first_look(outcome, row, now)
            case OutcomeClass.STOP:
                return self._perhaps_end(outcome, row, sent_at, now, left)
            case OutcomeClass.WAIT if outcome.error_class != "local":
                return self._limited(outcome, row, now, left)
            case OutcomeClass.PAUSE if outcome.after == "no_success":
                self._unreachable += 1
                if not self._has_answers and self._unreachable >= UNREACHABLE_ATTEMPTS:
                    return _stop(outcome)
            case OutcomeClass.RETRY | OutcomeClass.FAIL if outcome.after == "wrong_address":
                if not self._has_answers:
                    self._wrong_addresses += 1
                    if self._wrong_addresses >= WRONG_ADDRESSES:
                        return _stop(outcome)
                    outcome = replace(outcome, kind=OutcomeClass.RETRY)
            case OutcomeClass.FAIL:
                return self._failed(outcome, row, sent_at, now, left)
        if outcome.kind is OutcomeClass.RETRY and self._is_its_own(row, now, left):
            return Verdict(outcome, Toll.NOTHING)
        return Verdict(outcome, _TOLLS.get(outcome.kind, Toll.NOTHING))

    def _is_its_own(self, row: RowRefusals, now: float, left: int | None) -> bool:
        """Books an error. Whether it tells of its row alone: others, asked since its last one, were answered.

        Where many rows fail it tells of the endpoint all the same, until only a few are left: those
        whose errors are their own are what remains.
        """
        errors = self._errors
        own = errors.again(row.errors, now)
        return row.is_odd or (own and (errors.is_rare or errors.is_tail(left)))

    def _is_to_come_back(self, outcome: Outcome, row: RowRefusals) -> bool:
        """Whether a wait beyond what the user allows is meant for everybody.

        A limit's is. A server error has its attempts and is asked again soon: an odd header of one row's
        answers ends nothing, but those of several rows do, with no answer in between.
        """
        if outcome.kind is OutcomeClass.RETRY:
            self._long_waits += not row.asks_too_long
            row.asks_too_long = True
            return self._long_waits >= LONG_WAITS
        return outcome.kind in {OutcomeClass.WAIT, OutcomeClass.PAUSE}

    def _limited(self, outcome: Outcome, row: RowRefusals, now: float, left: int | None) -> Verdict:
        if outcome.error_class == "no_room":  # to everybody who asks there, and never the row's own
            return Verdict(outcome, Toll.NO_ROOM, AFTER_S)
        refusals, turns = self._limits, row.limits
        doubted = refusals.knows_rows
        own = refusals.again(turns, now)
        tail = refusals.is_tail(left)
        if refusals.convicts(turns) or (tail and refusals.is_last_and_late(turns, now)):
            return replace(_row_failed(outcome, turns.asked), forgives=own)
        if turns.asked == 1:
            return Verdict(outcome, Toll.DOUBTED if doubted else Toll.LIMITED, AFTER_S)
        toll = Toll.NOTHING if own and refusals.is_steady else Toll.REPEATED
        back_s = turns.tail_back_s(steady=refusals.is_steady) if tail and not own else turns.back_s
        return Verdict(outcome, toll, max(outcome.wait_s or 0.0, back_s))

    def _first_look(self, outcome: Outcome, row: RowRefusals, now: float) -> Verdict:
        """Of a refusal before any answer: what is in flight at that moment is one look with it, and the last
        of it decides."""
        self._ends.again(row.ends, now)
        wait = replace(outcome, kind=OutcomeClass.WAIT, wait_s=None, after="")
        return Verdict(wait, Toll.NOTHING, row.ends.back_s, hold_s=row.ends.back_s)

    def _perhaps_end(
        self,
        outcome: Outcome,
        row: RowRefusals,
        sent_at: float,
        now: float,
        left: int | None,
        in_row: int = 1,
    ) -> Verdict:
        """A refusal that ends the run, if it is meant for every row."""
        if not self._has_answers:
            return _stop(outcome)
        refusals, turns = self._ends, row.ends
        own = refusals.again(turns, now)
        may_fail = outcome.kind is OutcomeClass.FAIL
        if (own and may_fail) or refusals.convicts(turns, clear=ENOUGH):
            return _row_failed(outcome, turns.asked)
        wait = replace(outcome, kind=OutcomeClass.WAIT, wait_s=None, after="")
        if own:
            return Verdict(wait, Toll.NOTHING, turns.back_s)
        if left == 1 and may_fail:
            return _row_failed(outcome, turns.asked)  # nobody is left to be spared
        match self._look.refused(sent_at, now, in_row, LOOK_S):
            case Step.STOP:
                return _stop(outcome)
            case Step.HOLD:
                hold_s = self._look.left_s(now)
                return Verdict(wait, Toll.NOTHING, hold_s + BEHIND_S, hold_s=hold_s)
            case Step.BEHIND:
                behind_s = max(self._look.left_s(now) + BEHIND_S, turns.back_s)
                return Verdict(wait, Toll.NOTHING, behind_s)

    def _failed(
        self, outcome: Outcome, row: RowRefusals, sent_at: float, now: float, left: int | None
    ) -> Verdict:
        of_the_row = not outcome.after or outcome.error_class in _OF_THE_ROW
        if not of_the_row and self._has_answers and outcome.error_class in _OF_ALL_PERHAPS:
            return self._perhaps_end(outcome, row, sent_at, now, left, in_row=ROW_STREAK)
        # who reads a request to find fault with it has let it in
        releases = self._look.answered(sent_at)
        if not of_the_row:
            cause = (outcome.error_class, outcome.code, outcome.cause)
            self._streak = self._streak + 1 if cause == self._streak_cause else 1
            self._streak_cause = cause
            if self._ends_the_run(outcome):
                return _stop(outcome)
        return Verdict(outcome, Toll.NOTHING, releases=releases)

    def _ends_the_run(self, outcome: Outcome) -> bool:
        match outcome.after:
            case "no_success":
                return not self._has_answers
            case "row_streak":
                return self._streak >= ROW_STREAK
            case "first_rows":
                return not self._has_answers and self._streak >= self._first_rows
        return False


def _stop(outcome: Outcome) -> Verdict:
    return Verdict(replace(outcome, kind=OutcomeClass.STOP, after=""), Toll.NOTHING)


def _row_failed(outcome: Outcome, times: int) -> Verdict:
    message = outcome.message
    if outcome.kind is not OutcomeClass.FAIL or times > 1:
        message = f"refused {counted(times, 'time')}, and other rows were not: {message}"
    return Verdict(replace(outcome, kind=OutcomeClass.FAIL, message=message, after=""), Toll.NOTHING)

"""How a run is doing as a whole: when one row's trouble means that the run cannot go on.

A 404 for the first row is a wrong model name and would fail every row; the same answer after
a thousand good ones is that row's own. This class remembers just enough to tell them apart.
"""

from __future__ import annotations

from dataclasses import replace

from batchlab.records import Outcome, OutcomeClass

FIRST_ROWS = 20  # all failing with one code and none good: the request itself is wrong
ROW_STREAK = 3  # e.g. 403: a firewall page looks the same for every row
UNREACHABLE_ATTEMPTS = 3  # connection refused before any success: a wrong address, not an outage
KEY_PROBES = 2  # a key that worked and is refused now gets two more looks, 5 s apart
KEY_PROBE_WAIT_S = 5.0


class RunHealth:
    """Turns an attempt's outcome into the run's: some FAIL and PAUSE become STOP, some STOP wait.

    One instance per run; called from one event loop, no await inside.
    """

    def __init__(self, *, processes: int = 1) -> None:
        """`processes` share the run: each sees only a part of its rows."""
        self._first_rows = max(ROW_STREAK, FIRST_ROWS // processes)
        self._successes = 0
        self._streak = 0  # rows in a row that failed with `_streak_code`
        self._streak_code: tuple[str, int | None] | None = None
        self._unreachable = 0
        self._key_refusals = 0

    def succeeded(self) -> None:
        """An attempt was answered."""
        self._successes += 1
        self._streak = 0
        self._streak_code = None
        self._key_refusals = 0

    def succeeded_elsewhere(self) -> None:
        """An attempt of another process was answered: the request itself is right."""
        self._successes += 1

    def judged(self, outcome: Outcome) -> Outcome:
        """`outcome` in the light of what the run has seen so far."""
        if outcome.kind is OutcomeClass.STOP:
            return self._judged_stop(outcome)
        if outcome.kind is OutcomeClass.PAUSE and outcome.after == "no_success":
            self._unreachable += 1
            if not self._successes and self._unreachable >= UNREACHABLE_ATTEMPTS:
                return replace(outcome, kind=OutcomeClass.STOP, after="")
        if outcome.kind is OutcomeClass.FAIL and outcome.after:
            return self._judged_fail(outcome)
        return outcome

    def _judged_stop(self, outcome: Outcome) -> Outcome:
        if outcome.error_class != "auth" or not self._successes:
            return outcome
        self._key_refusals += 1
        if self._key_refusals > KEY_PROBES:
            return outcome
        return replace(outcome, kind=OutcomeClass.WAIT, wait_s=KEY_PROBE_WAIT_S)

    def _judged_fail(self, outcome: Outcome) -> Outcome:
        code = (outcome.error_class, outcome.code)
        self._streak = self._streak + 1 if code == self._streak_code else 1
        self._streak_code = code
        stop = (
            (outcome.after == "no_success" and not self._successes)
            or (outcome.after == "row_streak" and self._streak >= ROW_STREAK)
            or (outcome.after == "first_rows" and not self._successes and self._streak >= self._first_rows)
        )
        return replace(outcome, kind=OutcomeClass.STOP, after="") if stop else outcome

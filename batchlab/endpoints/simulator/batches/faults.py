"""What can go wrong with batches: a table of kinds, and a plan that says which batch or call is hit.

A kind hits a batch once, when it is created (its fate), or a call at a step of its life. Seen at: curator
109 (a file that cannot be found after its upload), openai-python 2084 (`token_limit_exceeded`), litellm
33987 (`completed` without an output file), Groq's `not_available_for_plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from batchlab.endpoints.simulator.faults.plan import chance

STEPS = ("upload", "create", "state", "list", "cancel", "download", "delete")

FATES: dict[str, str] = {
    "batch_invalid": "validation fails: `count` lines are named in `errors`",
    "batch_token_limit": "created, and then failed for the limit of enqueued tokens",
    "batch_line_errors": "a `share` of the lines fail with `status`, in the error file",
    "batch_all_fail": "completed, every line failed, no output file",
    "batch_expires": "it expires with a `share` of its lines finished",
    "batch_stuck": "a `share` is finished, and nothing more ever",
    "batch_cancelled": "someone else cancels it with a `share` finished",
    "batch_foreign": "`count` lines of another batch are among the results",
    "batch_missing": "`count` lines that were billed are not among the results",
    "batch_doubled": "`count` lines are there twice",
    "batch_cut": "`count` lines are cut in half",
    "batch_truncated": "the output file ends after a `share` of its bytes",
    "batch_results_gone": "its result files are deleted as soon as it ends",
    "batch_unlisted": "it is in no list for `seconds`",
    "batch_no_metadata": "lists tell none of its metadata",
}
CALLS: dict[str, str] = {
    "batch_error": "`status`, and nothing was done",
    "batch_error_after": "`status`, and yet it was done",
    "batch_reset": "the connection is reset, and nothing was done",
    "batch_reset_after": "the connection is reset after it was done: the reply is lost",
    "batch_not_entitled": "403, the plan has no batches (Groq)",
    "batch_file_hidden": "an uploaded file cannot be found for `seconds`",
}
BATCH_FAULTS = {**FATES, **CALLS}


@dataclass(frozen=True, slots=True)
class BatchFault:
    """One fault of a plan; with neither `rate`, `every` nor `first` it strikes always.

    Attributes:
        kind: one of `BATCH_FAULTS`.
        step: at which a call is hit, one of `STEPS`; any when empty.
        rate: share of the batches, or calls, that are hit.
        every: each n-th is.
        first: the first n are.
        most: how often it strikes in all; 0 for no end.
        share, count, seconds, status: how hard it hits; see the kind.
    """

    kind: str
    step: str = ""
    rate: float = 0.0
    every: int = 0
    first: int = 0
    most: int = 0
    share: float = 0.5
    count: int = 1
    seconds: float = 2.0
    status: int = 503

    @classmethod
    def from_dict(cls, data: Any) -> BatchFault:
        """A fault from plain data. Raises ValueError, one line."""
        if isinstance(data, BatchFault):
            return data
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known)) if isinstance(data, Mapping) else ["?"]
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} of a batch fault; known: {', '.join(known)}")
        if data.get("kind") not in BATCH_FAULTS:
            raise ValueError(f"unknown fault {data.get('kind')!r}; known: {', '.join(BATCH_FAULTS)}")
        if data.get("step", "") not in ("", *STEPS):
            raise ValueError(f"step of a batch fault must be one of {', '.join(STEPS)}")
        return cls(**data)

    def picks(self, number: int, *, seed: int) -> bool:
        """Whether it chooses the n-th batch, or the n-th call at its step."""
        if not (self.rate or self.every or self.first):
            return True
        drawn = self.rate > 0 and chance(seed, self.kind.encode(), self.step.encode(), number) < self.rate
        return drawn or number <= self.first or (self.every > 0 and number % self.every == 0)


class BatchFaultPlan:
    """All faults of the batch API, and how often each has struck."""

    def __init__(self, faults: Sequence[BatchFault], *, seed: int, struck: Callable[[str], None]) -> None:
        self._faults = faults
        self._seed = seed
        self._struck = struck
        self._strikes: dict[int, int] = {}
        self._calls: dict[str, int] = {}

    def fates(self, number: int) -> dict[str, BatchFault]:
        """What befalls the n-th batch (from 1), by kind."""
        return {fault.kind: fault for fault in self._strike(FATES, "", number)}

    def at(self, step: str) -> BatchFault | None:
        """What befalls this call."""
        self._calls[step] = self._calls.get(step, 0) + 1
        return next(iter(self._strike(CALLS, step, self._calls[step])), None)

    def _strike(self, kinds: Mapping[str, str], step: str, number: int) -> list[BatchFault]:
        struck = []
        for index, fault in enumerate(self._faults):
            if fault.kind not in kinds or (step and not _fits(fault, step)):
                continue
            if fault.most and self._strikes.get(index, 0) >= fault.most:
                continue
            if not fault.picks(number, seed=self._seed):
                continue
            self._strikes[index] = self._strikes.get(index, 0) + 1
            self._struck(fault.kind)
            struck.append(fault)
            if step:
                break
        return struck


def _fits(fault: BatchFault, step: str) -> bool:
    """Whether a fault of a call is for this step."""
    if fault.kind == "batch_file_hidden":
        return step == "upload"
    if fault.kind == "batch_not_entitled":
        return step == (fault.step or "upload")
    return fault.step in ("", step)

"""What services call the states of a batch: their own words, and those that others would have used."""

from __future__ import annotations

from collections.abc import Mapping

from batchlab.protocol.batches.dialect import Phase

# by the word, lower case; one that stands for something else at some service is not among them
PHASES: Mapping[str, Phase] = {
    **dict.fromkeys(
        ("validating", "in_queue", "queued", "pending", "created", "submitted", "scheduled"), Phase.WAITING
    ),
    **dict.fromkeys(("in_progress", "running", "processing", "started", "finalizing"), Phase.RUNNING),
    **dict.fromkeys(("cancelling", "canceling", "cancellation_requested"), Phase.CANCELLING),
    **dict.fromkeys(
        ("completed", "complete", "success", "succeeded", "done", "finished", "ended"), Phase.COMPLETED
    ),
    **dict.fromkeys(("expired", "timeout", "timed_out", "timeout_exceeded"), Phase.EXPIRED),
    **dict.fromkeys(("cancelled", "canceled"), Phase.CANCELLED),
    **dict.fromkeys(("failed", "error", "errored"), Phase.FAILED),
}


def phase_of(word: str) -> Phase | None:
    """The phase of a batch that its service calls so, in whatever case; None for a word that is new."""
    return PHASES.get(word.strip().lower().replace("-", "_").replace(" ", "_"))

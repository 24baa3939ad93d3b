"""The books of the batch API: every batch with each of its lines, and what was asked or charged twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from batchlab.endpoints.simulator.answering import content_of
from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from batchlab.endpoints.simulator.batches.jobs import Batch, Entry
from batchlab.endpoints.simulator.batches.lines import read_line

WAITING, REFUSED, ANSWERED = "waiting", "refused", "200"


def books(desk: Desk, bills: Mapping[bytes, int]) -> dict[str, Any]:
    """All batches of every service; `bills` is how often a request was charged for, live ones included.

    `submitted_twice` counts the lines that were answered, or may yet be, more than once: that a line which
    failed, expired or was cancelled is submitted again is as it should be.
    """
    now, told = desk.now(), []
    counts: Counter[str] = Counter()
    for batch in desk.batches.values():
        lines = [*batch.entries, *_others(batch)]
        counts.update(line.content for line in lines if line.status in (WAITING, ANSWERED))
        told.append(
            {
                "id": batch.id,
                "dialect": batch.dialect,
                "state": batch.shown(now).value,
                "created_at": batch.times.created,
                "model": batch.model,
                "metadata": batch.metadata,
                "input_file_id": batch.input.id,
                **asdict(batch.tally),
                "billed": sum(entry.billed for entry in batch.entries),
                "lines": [asdict(line) for line in lines],
            }
        )
    return {
        "batches": told,
        "submitted_twice": {content: count for content, count in counts.items() if count > 1},
        "billed_twice": {content.hex(): count for content, count in bills.items() if count > 1},
    }


def _others(batch: Batch) -> Iterator[Entry]:
    """The lines of which nothing has become yet, and those of a batch that was refused."""
    if batch.closed and not batch.problems:
        return
    status = REFUSED if batch.problems else WAITING
    done = {entry.custom_id for entry in batch.entries}
    with batch.input.path.open("rb") as file:
        for raw in file:
            try:
                line = read_line(raw, batch.model, DIALECTS[batch.dialect])
                content = content_of(b"", line.body).hex()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # what it asks for cannot be told
            if line.custom_id not in done:
                yield Entry(line.custom_id, content, status)

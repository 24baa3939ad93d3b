"""The batch API of Together.

Sources: togethercomputer/openapi `openapi.yaml` (`/batches`, `/files/upload`, `BatchJob`,
`BatchJobWithWarning`); together-python `types/batch.py` (`CANCELING`); docs.together.ai
docs/inference/batch/overview. An order brings `{job, warning}`, a look at a batch the job itself, and the
list an array of jobs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from batchlab.protocol.batches import openai
from batchlab.protocol.batches.dialect import BatchLimits, BatchState, Json, Order
from batchlab.protocol.batches.fields import members


def order(asked: Order) -> Json:
    """The JSON of `POST batches`; there is no place for labels."""
    return {
        "input_file_id": asked.file,
        "endpoint": asked.path,
        "completion_window": asked.window,
        "model_id": asked.model,
    }


def state(data: Json) -> BatchState:
    """A job's state, of either reply."""
    data = members(data)
    job = data["job"] if isinstance(data.get("job"), dict) else data
    return replace(openai.state(job), progress=_progress(job.get("progress")))


def _progress(value: Any) -> float | None:
    """A share of 1, of per cent."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(value / 100, 0.0), 1.0)


TOGETHER = replace(
    openai.OPENAI,
    name="together",
    order=order,
    state=state,
    upload="files/upload",
    purpose="batch-api",
    form={"file_name": "batch.jsonl", "file_type": "jsonl"},
    limits=BatchLimits(size=100_000_000, tasks=frozenset({"chat", "completions"})),
    keeps_labels=False,
    page=None,
    price_share=1.0,
    remarks=(
        "half the price of live calls for selected models, the live price for others; some are refused",
        "docs.together.ai/docs/inference/batch/overview has the lists",
        "24 hours are what it aims at",
    ),
)

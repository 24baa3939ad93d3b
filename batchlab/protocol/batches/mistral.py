"""The batch jobs of Mistral: the model is the job's, not the line's.

Sources: mistralai/client-python `models/batchjob.py`, `createbatchjobrequest.py`, `batchjobstatus.py`,
`batcherror.py`; docs.mistral.ai inference/batch-processing (lines of results, `timeout_hours` below 7 days)
and resources/known-limitations (100,000 requests, 512 MB, results for 24 hours; the guide says a million
requests and no end: the smaller are used).
"""

from __future__ import annotations

import re

from batchlab.protocol.batches import openai
from batchlab.protocol.batches.dialect import BatchLimits, BatchState, Dialect, Json, Order, Phase
from batchlab.protocol.batches.fields import (
    labels_of,
    listed,
    members,
    name_in,
    names_in,
    problems_of,
    seconds_of,
)
from batchlab.protocol.batches.words import phase_of
from batchlab.protocol.usage import count

HOURS = {"h": 1, "d": 24}


def line(body: Json, custom_id: str, _path: str) -> Json:
    """A line of the input file, without the model."""
    return {
        "custom_id": custom_id,
        "body": {name: value for name, value in openai.unstreamed(body).items() if name != "model"},
    }


def order(asked: Order) -> Json:
    """The JSON of `POST batch/jobs`."""
    found = re.fullmatch(r"(\d+)([hd])", asked.window)
    return {
        "input_files": [asked.file],
        "endpoint": asked.path,
        "model": asked.model,
        "timeout_hours": int(found[1]) * HOURS[found[2]] if found else 24,
        "metadata": dict(asked.labels),
    }


def state(data: Json) -> BatchState:
    """A job's state. A word that is not known counts as running: the service goes on with it."""
    data = members(data)
    word = name_in(data.get("status"))
    outputs = [one for one in listed(data.get("outputs")) if isinstance(one, dict)]
    return BatchState(
        id=name_in(data.get("id")),
        phase=phase_of(word) or Phase.RUNNING,
        word=word,
        is_known=phase_of(word) is not None,
        total=count(data.get("total_requests")),
        done=count(data.get("completed_requests")),
        failed=count(data.get("failed_requests")),
        files=names_in(data.get("output_file"), data.get("error_file")),
        inline=tuple(outputs) or None,
        problems=problems_of(listed(data.get("errors"))),
        created_at=seconds_of(data.get("created_at")),
        ended_at=seconds_of(data.get("completed_at")),
        labels=labels_of(data.get("metadata")),
        lines_file=next(iter(names_in(*listed(data.get("input_files")))), None),
    )


MISTRAL = Dialect(
    "mistral",
    line=line,
    order=order,
    state=state,
    result=openai.result,
    batches="batch/jobs",
    limits=BatchLimits(lines=100_000, size=512_000_000, tasks=frozenset({"chat", "embeddings"})),
    windows=("24h", "48h", "72h", "144h"),
    page=None,
    numbered=("page", "page_size"),
    kept_s=86_400.0,
    remarks=(
        "half the price of live calls; answered within 24 hours, or a window of up to 6 days",
        "results can be had for 24 hours after the end: fetch them in time",
        "an account without billing is refused (402) after the lines were looked at",
    ),
)

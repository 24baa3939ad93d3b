"""The batch API of OpenRouter: lines go with the order, and results come with the state.

Sources: OpenRouterTeam/docs `batch-quickstart.mdx`; openrouter.ai docs/api/api-reference/batch (paths below
`/api/v1`, only batches that have ended are deleted) and client-sdks/python/components/batchobject;
openrouter.ai/blog/announcements/batch-api (230,000 batches of its beta); docs.rs/crate/openrouter-batch ("one
schema per batch, as required by Google-backed routes", which models of others may take, too; 0.1.2 found
names of models without `:batch` refused as well, which the guide uses). The order is read as it arrives:
`endpoint` and `model` come before `requests`, or it is refused. Results are there for a batch that is
`completed` alone; of one that expired or failed there are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from batchlab.protocol.batches import openai
from batchlab.protocol.batches.dialect import BatchLimits, BatchState, Json, Order, Unfit
from batchlab.protocol.batches.fields import listed, members, problems_of, seconds_of

_NOT_TEXT = ("modalities", "audio", "image_config")  # ask for an answer that is more than text


def line(body: Json, custom_id: str, _path: str) -> Json:
    """An item of `requests`. Raises Unfit for what is more than text."""
    for message in listed(body.get("messages")):
        for part in listed(members(message).get("content")):
            kind = members(part).get("type")
            if kind not in ("text", None):
                raise Unfit(f"messages: a batch takes text only, no {kind!r:.40}")
    for name in _NOT_TEXT:
        if body.get(name) not in (None, ["text"]):
            raise Unfit(f"{name}: a batch answers with text only")
    if any(not isinstance(one, str | int | list) for one in _texts(body.get("input"))):
        raise Unfit("input: a batch takes texts or tokens only")
    return {"custom_id": custom_id, "body": openai.unstreamed(body)}


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def order(asked: Order) -> Json:
    """The JSON of `POST batches`, without its requests."""
    return {"endpoint": asked.path, "model": asked.model, "completion_window": asked.window}


def state(data: Json) -> BatchState:
    """A batch object's state, with its results once it is completed."""
    data = members(data)
    found = data.get("results")
    inline = tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else None
    said = openai.state(data)
    return replace(
        said,
        inline=inline,
        problems=said.problems or problems_of([data.get("error")]),
        ended_at=seconds_of(data.get("finalized_at")),
    )


OPENROUTER = replace(
    openai.OPENAI,
    name="openrouter",
    line=line,
    order=order,
    state=state,
    files=None,
    inline="requests",
    limits=BatchLimits(lines=5_000, tasks=frozenset({"chat", "embeddings"}), media=False),
    keeps_labels=False,
    apart=("response_format",),
    cancels=False,
    page=None,
    kept_s=30 * 86_400.0,
    remarks=(
        "about half the price of live calls, as the model's page says",
        "of 230,000 batches of its beta half came within 7 minutes, nine of ten within an hour",
        "some models are asked for in a batch by a name of their own, which ends in :batch",
        "text only; rows with another response_format go in batches of their own",
        "a batch cannot be cancelled, and one that expires or fails has no results at all",
        "results are kept for 30 days",
    ),
)

"""The lanes: the ways to be answered at an endpoint that a job may name."""

from __future__ import annotations

from typing import NamedTuple

from batchlab.records import LaneKind

LANES = ("live", "flex", "batch", "cheapest")  # the last one is a choice among the others


class Patience(NamedTuple):
    """The longest that a request may take, and be silent, in seconds."""

    timeout_s: float
    idle_timeout_s: float


# Of who has set none. A call at a cheaper tier may wait for its turn for many minutes before the first byte
# (OpenAI's guide to flex processing: 15 minutes).
PATIENCE: dict[LaneKind, Patience] = {
    "live": Patience(600.0, 120.0),
    "flex": Patience(900.0, 900.0),
    "batch": Patience(600.0, 120.0),  # of the calls about a batch
}


def lane_key(endpoint: str, kind: str) -> str:
    """What tells a lane from all others of a run, also to a person: `openai`, `openai (flex)`."""
    return endpoint if kind == "live" else f"{endpoint} ({kind})"

"""What a run's process and its workers tell each other: JSON, one object a line, over a socket pair.
With Ray the pair ends at the worker's node, and an actor carries the lines on (`engines.ray_node`).

    worker → parent   ask      its demand (`lending.lender`) and its report; answered by a grant
                      pause    a controller's gate has closed
                      answered a first answer, or one that ended an outage
                      out      an endpoint cannot go on
                      stop     the run cannot go on
                      say      a line for a person
                      sealed   a shard has its part
                      end      its last report; then it exits
    parent → worker   begin    what to do, with the keys; then grant, pause, up, renew, out, stop

Shards are handed out over a second pair, on which the worker waits for the answer: an empty line
asks (the parent hears `more`), a number or an empty line answers. A worker whose sockets end has no
parent any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from batchlab.dispatch.pool import PoolCounters
from batchlab.totals import Totals

MAX_LINE = 2**26  # a job with a long prompt


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has done so far, for the counters of the run; see `engines.observer.Counters`."""

    totals: Totals = field(default_factory=Totals)
    attempts: PoolCounters = field(default_factory=PoolCounters)
    reopened: int = 0
    saved: int = 0
    window: int = 0
    in_flight: int = 0
    why: str = ""
    paused: bool = False
    oldest: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The report that was sent as JSON."""
        return cls(
            **{
                **data,
                "totals": Totals.of(data["totals"]),
                "attempts": PoolCounters(**data["attempts"]),
                "oldest": [(str(name), float(age)) for name, age in data["oldest"]],
            }
        )


def line(kind: str, **values: Any) -> bytes:
    """A message on its way."""
    return orjson.dumps({"t": kind, **values}) + b"\n"

"""What a run's process and its workers tell each other: JSON, one object a line, over a socket pair.
With Ray the pair ends at the worker's node, and an actor carries the lines on (`engines.ray_node`).

    worker → parent   ask      its demand (`lending.lender`) and its state (`run_state`); answered by a grant
                      pause    a controller's gate has closed
                      answered a first answer, or one that ended an outage
                      out      an endpoint cannot go on
                      stop     the run cannot go on
                      say      a line for a person
                      sealed   a shard has its part
                      end      its last state; then it exits
    parent → worker   begin    what to do, with the keys; then grant, pause, up, renew, out, stop

Shards are handed out over a second pair, on which the worker waits for the answer: an empty line
asks (the parent hears `more`), a number or an empty line answers. A worker whose sockets end has no
parent any more.
"""

from __future__ import annotations

from typing import Any

import orjson

MAX_LINE = 2**26  # a job with a long prompt


def line(kind: str, **values: Any) -> bytes:
    """A message on its way."""
    return orjson.dumps({"t": kind, **values}) + b"\n"

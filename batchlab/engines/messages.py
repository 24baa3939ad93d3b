"""What a run's process and its workers tell each other: JSON, one object a line, over a socket pair.

With Ray the pair ends at the worker's node, and an actor carries the messages on (`engines.ray.node`).
Shards are handed out over a second pair, on which the worker waits for the answer: an empty line asks
(the run's process hears `ShardWanted`), a number or an empty line answers. A worker whose sockets end
has no parent any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from batchlab.dispatch.rate.money import Money
from batchlab.dispatch.stop import StopSignal
from batchlab.job import Job
from batchlab.job.key import Header, Secret
from batchlab.lending.messages import Demand, Lease, Pause
from batchlab.records import Outcome
from batchlab.run_end import StopReason
from batchlab.run_state import RunState
from batchlab.store.asking import AskAgain
from batchlab.totals import WordCounts

MAX_LINE = 2**26  # a job with a long prompt


class RunAt(msgspec.Struct, frozen=True):
    """The run that a worker is to work on, and where it is.

    Attributes:
        path: its directory, as the run's process sees it.
        spool: where it keeps standard input.
        url: where workers leave what they do; None when they share the directory.
    """

    job: Job
    path: str
    spool: str
    url: str | None = None


class Address(msgspec.Struct, frozen=True):
    """Where an endpoint of the job is now, its key and the user's headers: they show themselves on the wire
    alone."""

    base_url: str
    key: Secret | None
    headers: tuple[Header, ...] = ()


class Message(msgspec.Struct, frozen=True, tag=True):
    """Something told to another process of the run."""


class Begin(Message, frozen=True):
    """The first thing that a worker hears: what to do.

    Attributes:
        name: the worker's; no two lives of a worker have the same.
        index: it is this one of so many `workers`.
        answered: whether rows were, by an earlier invocation.
        span: of the run, which the spans of rows are linked to: ids of trace and span, and flags.
        fence_s: it may write so long after it asked for its last lease; None for one that cannot be out
            of reach, because it has its parent's lock.
        home: where to make a directory of its own, for a run at a URL.
    """

    name: str
    index: int
    workers: int
    run: RunAt
    endpoints: tuple[Address, ...]
    answered: bool
    retry: AskAgain | None = None
    span: tuple[int, int, int] | None = None
    fence_s: float | None = None
    home: str | None = None


class Asked(Message, frozen=True):
    """A worker renews its lease, and says how far it is. On a cluster its node has had the answer."""

    demand: Demand
    state: RunState
    lease: Lease | None = None


class Granted(Message, frozen=True):
    """The answer to `Asked`."""

    lease: Lease


class Renew(Message, frozen=True):
    """There is more to lend: do not wait for the next renewal."""


class ShardWanted(Message, frozen=True):
    """A worker has asked for a shard."""


class Sealed(Message, frozen=True):
    """A shard has its part; so many of its rows are worth one more try, and of them `odd` failed alone."""

    shard: int
    retryable: int = 0
    odd: tuple[int, ...] = ()


class Paused(Message, frozen=True):
    """A controller's gate has closed: a worker has met it, or another one is to keep it too."""

    lane: str
    pause: Pause


class Answered(Message, frozen=True):
    """A worker's first answer from a lane, or one that ended an outage (`was_out`)."""

    lane: str
    was_out: bool


class Resumed(Message, frozen=True):
    """An outage is over: another worker was answered."""

    lane: str


class LaneOut(Message, frozen=True):
    """A lane cannot go on."""

    lane: str
    outcome: Outcome


class Stop(Message, frozen=True):
    """The run cannot go on: so says a worker that found it out, and then every worker is told."""

    reason: StopReason
    message: str


class Said(Message, frozen=True):
    """A line for a person."""

    text: str


class BadInput(Message, frozen=True):
    """The input, or the prompt file, cannot be read or is not what it was."""

    text: str


class Damaged(Message, frozen=True):
    """A journal or part is damaged."""

    text: str


class Left(Message, frozen=True):
    """A worker is done and exits; `state` is None when it had not begun, `error` None when all is well."""

    state: RunState | None
    spent: Money
    error: Stop | BadInput | Damaged | None


FromWorker: TypeAlias = Asked | ShardWanted | Sealed | Paused | Answered | LaneOut | Stop | Said | Left
ToWorker: TypeAlias = Begin | Granted | Renew | Paused | Resumed | LaneOut | Stop


def stop_message(stop: StopSignal) -> Stop:
    """Why the run ends, for another process, once it is known."""
    assert stop.reason is not None
    return Stop(stop.reason, stop.message)


def line(message: msgspec.Struct) -> bytes:
    """A message on its way."""
    return _encoder.encode(message) + b"\n"


def reader(kind: Any) -> Callable[[bytes], Any]:
    """What makes a message of a line; `kind` is the union of those that may come."""
    return msgspec.json.Decoder(kind, dec_hook=_made).decode


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value))


def _made(kind: type, value: Any) -> Any:
    if kind in {Secret, WordCounts}:
        return kind(value)
    raise NotImplementedError(kind)


_encoder = msgspec.json.Encoder(enc_hook=_plain)
from_worker: Callable[[bytes], FromWorker] = reader(FromWorker)
to_worker: Callable[[bytes], ToWorker] = reader(ToWorker)
read_run: Callable[[bytes], RunAt] = reader(RunAt)

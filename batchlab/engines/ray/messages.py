"""What the run's process and the bridge to a cluster tell each other: JSON lines over a socket pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from batchlab.dispatch.rate.money import Money
from batchlab.engines.crew import Ending
from batchlab.engines.messages import Begin, FromWorker, Message, ToWorker, reader
from batchlab.job.limits import Caps
from batchlab.lending.messages import LenderTerms


class Expect(Message, frozen=True):
    """`LenderLink.expect`, on its way to where the budget is kept; so are those that follow."""

    workers: int


class Allow(Message, frozen=True):
    """There is more to lend."""

    caps: Caps


class Release(Message, frozen=True):
    """A worker is done."""

    name: str
    spent: Money


class GiveUp(Message, frozen=True):
    """A worker is out of reach."""

    name: str


class Forget(Message, frozen=True):
    """A worker is dead."""

    name: str


class Settle(Message, frozen=True):
    """The books of a dead worker have been read."""

    name: str
    spent: Money


class GoOn(Message, frozen=True):
    """Who may hold a lease of a lender that was lost, what is spent by those that do not, and the caps."""

    names: tuple[str, ...]
    spent: Money
    caps: Caps


class AskSpent(Message, frozen=True):
    """What have all used of the caps? Every call is answered so."""


LenderCall: TypeAlias = Expect | Allow | Release | GiveUp | Forget | Settle | GoOn | AskSpent


class CheckIn(msgspec.Struct, frozen=True):
    """What a node is asked before anything is sent, as plain values: it may have another batchlab, or none.

    Attributes:
        version, code, cwd: of the driver's batchlab, and where it runs.
        token: what the node must find in the run directory.
        machine: the driver's, when only that machine reaches the endpoint.
        run: a `RunAt` on its way, read once the node is known to have the same batchlab.
    """

    version: str
    code: str
    token: str
    cwd: str
    machine: str | None
    run: bytes


class Join(Message, frozen=True):
    """The first thing that the bridge hears: a cluster to join, and what its nodes are to be asked."""

    address: str | None
    asked: CheckIn


class Open(Message, frozen=True):
    """Begin to lend."""

    terms: LenderTerms


class Lend(Message, frozen=True):
    """A call of the lender, answered by `Lent` with the same number; 0 for one that nobody waits for."""

    number: int
    call: LenderCall


class Start(Message, frozen=True):
    """Start a worker."""

    begin: Begin


class Tell(Message, frozen=True):
    """Tell a worker something."""

    name: str
    message: ToWorker


class Give(Message, frozen=True):
    """Give a worker a shard, or say that there is no more."""

    name: str
    shard: int | None


class End(Message, frozen=True):
    """Make an end of a worker that has said its last word; answered by `Ended`."""

    name: str


class Connected(Message, frozen=True):
    """The cluster has answered."""


class Joined(Message, frozen=True):
    """These nodes may work on the run."""

    nodes: tuple[str, ...]


class Refused(Message, frozen=True):
    """The run cannot start on this cluster; a line for each reason."""

    text: str


class Started(Message, frozen=True):
    """A worker has its node."""

    name: str
    where: str


class Nowhere(Message, frozen=True):
    """No node is left for a worker."""

    name: str


class Heard(Message, frozen=True):
    """A worker has said something; None when it says nothing any more."""

    name: str
    message: FromWorker | None


class Ended(Message, frozen=True):
    """How a worker ended."""

    name: str
    ending: Ending


class Lent(Message, frozen=True):
    """The lender has answered a call; what all have spent."""

    number: int
    spent: Money


class LenderLost(Message, frozen=True):
    """A lender has taken the place of a lost one, and waits for `GoOn`."""


ToBridge: TypeAlias = Join | Open | Lend | Start | Tell | Give | End
FromBridge: TypeAlias = Connected | Joined | Refused | Started | Nowhere | Heard | Ended | Lent | LenderLost

to_bridge: Callable[[bytes], ToBridge] = reader(ToBridge)
from_bridge: Callable[[bytes], FromBridge] = reader(FromBridge)

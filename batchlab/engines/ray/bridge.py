"""The one process of a run that talks to Ray: started by `ray.crew`, it carries messages both ways.

Ray prints to the standard streams, takes over signals, waits two minutes for an address where
nobody answers, and then exits. None of that may happen to the process that has the run's lock and
the terminal. So Ray's driver is this one; it is killed when it does not answer, and leaves with its
parent, and the cluster ends the run's actors then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

import msgspec

from batchlab.engines.child.process import cause_of
from batchlab.engines.crew import Ending
from batchlab.engines.messages import MAX_LINE, Asked, Begin, line
from batchlab.engines.ray import node
from batchlab.engines.ray.budget import BudgetActor
from batchlab.engines.ray.messages import (
    CheckIn,
    Connected,
    End,
    Ended,
    FromBridge,
    Give,
    Heard,
    Join,
    Joined,
    Lend,
    LenderCall,
    LenderLost,
    Lent,
    Nowhere,
    Open,
    Refused,
    Start,
    Started,
    Tell,
    to_bridge,
)
from batchlab.errors import EXIT_STOPPED
from batchlab.lending.messages import LenderTerms
from batchlab.store.disk.fence import FENCE_S

NAMESPACE = "batchlab"
HEAR_S = 0.5  # a call that brings what workers said waits that long for something
SILENT_S = 10.0  # a node whose calls are not answered that long counts as lost
CHECK_IN_S = 60.0  # a node may have to start Python first
WATCH_S = 0.5


@dataclass(slots=True, eq=False)
class _ClusterNode:
    """A node of the cluster, and the actor there, if one was started."""

    node_id: str
    host: str
    actor: Any = None
    lost: str = ""
    workers: set[str] = field(default_factory=set)


class _RefusedError(Exception):
    """The run cannot start on this cluster; says why in a line."""


def serve(control: socket.socket) -> None:
    """Joins the cluster that the first line asks for, and carries messages until the other end closes."""
    import ray

    join = to_bridge(control.makefile("rb").readline())
    assert isinstance(join, Join)
    try:
        _init(ray, join.address)
        nodes = _working_nodes(ray)
        control.sendall(line(Connected()))
    except _RefusedError as error:
        control.sendall(line(Refused(str(error))))
        return
    asyncio.run(_Bridge(ray, join.asked, nodes).run(control))
    ray.shutdown()


def _init(ray: Any, address: str | None) -> None:
    with contextlib.chdir("/"):  # what the user has in this directory is no module of the workers
        try:
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                include_dashboard=False if address is None else None,
            )
        except SystemExit:
            raise _RefusedError("no Ray cluster answers there") from None
        except Exception as error:  # noqa: BLE001 - whatever Ray says, it is the reason to refuse
            raise _RefusedError(_first_line(error)) from None


def _working_nodes(ray: Any) -> list[_ClusterNode]:
    """The nodes that take work; those without CPUs only when there are no others."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) > 0]
    return [
        _ClusterNode(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        for node in working or alive
    ]


class _Bridge:
    def __init__(self, ray: Any, asked: CheckIn, nodes: list[_ClusterNode]) -> None:
        self._ray = ray
        self._asked = asked
        self._nodes = nodes
        self._budget = _Budget(ray)
        self._node_of: dict[str, _ClusterNode] = {}
        self._finding = asyncio.Lock()  # the workers of a lost actor ask for another one together
        self._early: dict[str, list[Tell | Give]] = {}  # for workers that have no node yet
        self._asked_at: dict[str, float] = {}  # when a worker last asked for a lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter
        ray.cloudpickle.register_pickle_by_value(node)

    async def run(self, control: socket.socket) -> None:
        """The conversation with the run's process."""
        reader, self._writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
        found = await asyncio.gather(*(self._checked_in(at) for at in self._nodes))
        if problems := [text for text in found if text]:
            self._tell(Refused("\n".join(problems)))
            await self._writer.drain()
            return
        self._tell(Joined(tuple(at.host for at in self._nodes)))
        while data := await reader.readline():
            match message := to_bridge(data):
                case Open(terms):
                    self._budget.open(terms)
                    self._beside(self._watch())
                case Lend(number, call):
                    self._beside(self._lend(number, call))
                case Start(begin):
                    self._beside(self._start(begin))
                case Tell() | Give():
                    self._carry(message)
                case End(name):
                    self._beside(self._end(name))
                case Join():
                    raise AssertionError("it has joined")
                case _:
                    assert_never(message)

    def _tell(self, message: FromBridge) -> None:
        self._writer.write(line(message))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _checked_in(self, at: _ClusterNode) -> str:
        """Starts the actor of a node; what keeps it from this run, "" when nothing does."""
        try:
            at.actor = (
                self._ray.remote(node.Node)
                .options(num_cpus=0, max_concurrency=1_000, scheduling_strategy=_on(at.node_id, soft=False))
                .remote(self._budget.finder())
            )
            async with asyncio.timeout(CHECK_IN_S):
                problem = await at.actor.check_in.remote(**msgspec.structs.asdict(self._asked))
        except TimeoutError:
            problem = f"no answer within {CHECK_IN_S:g} s."
        except Exception as error:  # noqa: BLE001 - whatever Ray says, it is the reason to refuse
            problem = _first_line(error)
        if problem:
            return f"node {at.host}: {problem}"
        self._beside(self._hear(at))
        return ""

    async def _watch(self) -> None:
        """A lender that took the place of a lost one is told who holds what, and a worker that has been
        stopped for longer than it may go on without a lease is made an end of."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(self._ray.exceptions.RayError):
                if await self._budget.actor.is_waiting.remote():
                    self._tell(LenderLost())
            for name, asked_at in list(self._asked_at.items()):
                if loop.time() - asked_at > FENCE_S + 1.0:
                    del self._asked_at[name]
                    if (at := self._node_of.get(name)) is not None and not at.lost:
                        self._beside(self._quietly(at.actor.kill.remote(name)))
            await asyncio.sleep(WATCH_S)

    async def _lend(self, number: int, call: LenderCall) -> None:
        try:
            spent = await self._budget.actor.lend.remote(call)
        except self._ray.exceptions.RayError as error:  # Ray has made it again as often as it could
            print(_first_line(error), file=sys.stderr, flush=True)
            os._exit(EXIT_STOPPED)
        self._tell(Lent(number, spent))

    async def _start(self, begin: Begin) -> None:
        name = begin.name
        self._early[name] = []
        async with self._finding:
            at = await self._node_for(begin.index)
        early = self._early.pop(name)
        if at is None:
            self._tell(Nowhere(name))
            return
        at.workers.add(name)
        self._node_of[name] = at
        self._tell(Started(name, at.host))
        with contextlib.suppress(self._ray.exceptions.RayError):  # `_hear` finds out too
            started = at.actor.start.remote(begin)
            for message in early:
                self._carry(message)
            await started

    async def _node_for(self, index: int) -> _ClusterNode | None:
        """The node of a worker; when that is lost, the one with the fewest workers."""
        first = self._nodes[index % len(self._nodes)]
        if not first.lost:
            return first
        now_there = {at.node_id: at for at in _working_nodes(self._ray)}
        for at in self._nodes:
            if at.lost:
                at.workers.clear()
        if first.node_id in now_there:  # only the actor was lost
            again = now_there[first.node_id]
            if not await self._checked_in(again):
                self._nodes[self._nodes.index(first)] = again
                return again
        alive = [at for at in self._nodes if not at.lost and at.node_id in now_there]
        return min(alive, key=lambda at: len(at.workers), default=None)

    async def _hear(self, at: _ClusterNode) -> None:
        """Takes what the workers of a node say, until it is lost."""
        last, loop = 0, asyncio.get_running_loop()
        answered = loop.time()
        unavailable = self._ray.exceptions.ActorUnavailableError
        while not at.lost:
            try:
                async with asyncio.timeout(SILENT_S):
                    box = await at.actor.hear.remote(last, HEAR_S)
                answered = loop.time()
            except unavailable as error:  # Ray tries to reach it again
                if loop.time() - answered >= SILENT_S:
                    at.lost = _first_line(error)
                await asyncio.sleep(0.2)
                continue
            except TimeoutError:
                at.lost = f"no answer for {SILENT_S:g} s"
            except self._ray.exceptions.RayError as error:
                at.lost = _first_line(error)
            else:
                for number, name, message in box:
                    last = number
                    if isinstance(message, Asked):
                        self._asked_at[name] = loop.time()
                    self._tell(Heard(name, message))
        self._ray.kill(at.actor, no_restart=True)
        for name in sorted(at.workers):
            self._tell(Heard(name, None))

    def _carry(self, message: Tell | Give) -> None:
        at = self._node_of.get(message.name)
        if message.name in self._early:
            self._early[message.name].append(message)
        elif at is not None and not at.lost:
            match message:
                case Tell(name, told):
                    call = at.actor.tell.remote(name, told)
                case Give(name, shard):
                    call = at.actor.give.remote(name, shard)
                case _:
                    assert_never(message)
            self._beside(self._quietly(call))

    async def _quietly(self, reference: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # `_hear` finds out too
            await reference

    async def _end(self, name: str) -> None:
        at = self._node_of.pop(name)
        self._asked_at.pop(name, None)
        at.workers.discard(name)
        ending = None
        if not at.lost:
            with contextlib.suppress(self._ray.exceptions.RayError):
                code = await at.actor.ended.remote(name)
                ending = Ending(f"on {at.host} {cause_of(code)}")
        if ending is None:
            why = at.lost.rstrip(".") or "its actor is gone"
            ending = Ending(f"with its node {at.host} ({why})", certain=False)
        self._tell(Ended(name, ending))


class _Budget:
    """The actor that keeps the budget, under a name by which nodes find it."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._name = f"budget-{secrets.token_hex(6)}"
        self.actor: Any = None

    def finder(self) -> Callable[[], Any]:
        """What finds it on a node."""
        return partial(self._ray.get_actor, self._name, NAMESPACE)

    def open(self, terms: LenderTerms) -> None:
        """Starts it on this machine, if it can be."""
        here = self._ray.get_runtime_context().get_node_id()
        self.actor = (
            self._ray.remote(BudgetActor)
            .options(
                name=self._name,
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=1_000,
                scheduling_strategy=_on(here, soft=True),
            )
            .remote(terms, _made_again)
        )


def _on(node_id: str, *, soft: bool) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=soft)


def _made_again() -> bool:
    """Whether this actor takes the place of one that was lost."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _first_line(error: BaseException) -> str:
    """What Ray says, without what it adds to it."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]

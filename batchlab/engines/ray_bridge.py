"""The one process of a run that talks to Ray: started by `ray_crew`, it carries messages both ways.

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
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import orjson

from batchlab.engines import ray_node
from batchlab.engines.lender import BudgetActor
from batchlab.engines.messages import MAX_LINE, line
from batchlab.engines.processes import cause_of
from batchlab.engines.ray_node import Hidden, Node
from batchlab.errors import EXIT_STOPPED
from batchlab.lending.messages import LenderTerms
from batchlab.store.disk.fence import FENCE_S

NAMESPACE = "batchlab"
HEAR_S = 0.5  # a call that brings what workers said waits that long for something
SILENT_S = 10.0  # a node whose calls are not answered that long counts as lost
CHECK_IN_S = 60.0  # a node may have to start Python first
WATCH_S = 0.5


@dataclass(slots=True, eq=False)
class _Place:
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

    file = control.makefile("rb")
    asked = orjson.loads(file.readline())
    try:
        _init(ray, asked["address"])
        places = _places(ray)
        control.sendall(line("connected"))
    except _RefusedError as error:
        control.sendall(line("refused", text=str(error)))
        return
    asyncio.run(_Bridge(ray, asked, places).run(control))
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


def _places(ray: Any) -> list[_Place]:
    """The nodes that take work; those without CPUs only when there are no others."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU", 0) > 0]
    return [
        _Place(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        for node in working or alive
    ]


class _Bridge:
    def __init__(self, ray: Any, asked: dict[str, Any], places: list[_Place]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._asked = asked
        self._places = places
        self._on = NodeAffinitySchedulingStrategy
        self._lender_name = f"budget-{secrets.token_hex(6)}"
        self._lender: Any = None
        self._place_of: dict[str, _Place] = {}
        self._placing = asyncio.Lock()  # the workers of a lost actor ask for another one together
        self._early: dict[str, list[tuple[str, Any]]] = {}  # for workers that have no place yet
        self._asked_at: dict[str, float] = {}  # when a worker last asked for a lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter
        ray.cloudpickle.register_pickle_by_value(ray_node)

    async def run(self, control: socket.socket) -> None:
        """The conversation with the run's process."""
        reader, self._writer = await asyncio.open_connection(sock=control, limit=MAX_LINE)
        found = await asyncio.gather(*(self._checked_in(place) for place in self._places))
        if problems := [text for text in found if text]:
            self._tell("refused", text="\n".join(problems))
            await self._writer.drain()
            return
        self._tell("joined", nodes=[place.host for place in self._places])
        while data := await reader.readline():
            message = orjson.loads(data)
            match message.pop("t"):
                case "open":
                    self._begin_lending(msgspec.convert(message["terms"], LenderTerms))
                case "lend":
                    self._beside(self._lend(**message))
                case "start":
                    self._beside(self._start(**message))
                case "tell" | "give" as call:
                    self._call(call, message["name"], message["what"])
                case "end":
                    self._beside(self._end(**message))

    def _tell(self, kind: str, **values: Any) -> None:
        self._writer.write(line(kind, **values))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _checked_in(self, place: _Place) -> str:
        """Starts the actor of a node; what keeps it from this run, "" when nothing does."""
        ray = self._ray
        try:
            place.actor = (
                ray.remote(Node)
                .options(
                    num_cpus=0, max_concurrency=1_000, scheduling_strategy=self._on(place.node_id, soft=False)
                )
                .remote(partial(ray.get_actor, self._lender_name, NAMESPACE))
            )
            async with asyncio.timeout(CHECK_IN_S):
                problem = await place.actor.check_in.remote(self._asked)
        except TimeoutError:
            problem = f"no answer within {CHECK_IN_S:g} s."
        except Exception as error:  # noqa: BLE001 - whatever Ray says, it is the reason to refuse
            problem = _first_line(error)
        if problem:
            return f"node {place.host}: {problem}"
        self._beside(self._hear(place))
        return ""

    def _begin_lending(self, terms: LenderTerms) -> None:
        here = self._ray.get_runtime_context().get_node_id()
        self._lender = (
            self._ray.remote(BudgetActor)
            .options(
                name=self._lender_name,
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=1_000,
                scheduling_strategy=self._on(here, soft=True),
            )
            .remote(terms, _made_again)
        )
        self._beside(self._watch())

    async def _watch(self) -> None:
        """A lender that took the place of a lost one is told who holds what, and a worker that has been
        stopped for longer than it may go on without a lease is made an end of."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(self._ray.exceptions.RayError):
                if await self._lender.is_waiting.remote():
                    self._tell("lender_lost")
            for name, asked_at in list(self._asked_at.items()):
                if loop.time() - asked_at > FENCE_S + 1.0:
                    del self._asked_at[name]
                    self._call("kill", name)
            await asyncio.sleep(WATCH_S)

    async def _lend(self, number: int, do: str, values: list[Any]) -> None:
        try:
            spent = await self._lender.lend.remote(do, values)
        except self._ray.exceptions.RayError as error:  # Ray has made it again as often as it could
            print(_first_line(error), file=sys.stderr, flush=True)
            os._exit(EXIT_STOPPED)
        self._tell("lent", number=number, spent=spent)

    async def _start(self, name: str, index: int, begin: dict[str, Any]) -> None:
        self._early[name] = []
        async with self._placing:
            place = await self._place_for(index)
        early = self._early.pop(name)
        if place is None:
            self._tell("nowhere", name=name)
            return
        place.workers.add(name)
        self._place_of[name] = place
        self._tell("started", name=name, place=place.host)
        with contextlib.suppress(self._ray.exceptions.RayError):  # `_hear` finds out too
            started = place.actor.start.remote(name, Hidden(begin))
            for call, what in early:
                self._call(call, name, what)
            await started

    async def _place_for(self, index: int) -> _Place | None:
        """The node of a worker; when that is lost, the one with the fewest workers."""
        own = self._places[index % len(self._places)]
        if not own.lost:
            return own
        now_there = {place.node_id: place for place in _places(self._ray)}
        for place in self._places:
            if place.lost:
                place.workers.clear()
        if own.node_id in now_there:  # only the actor was lost
            again = now_there[own.node_id]
            if not await self._checked_in(again):
                self._places[self._places.index(own)] = again
                return again
        alive = [place for place in self._places if not place.lost and place.node_id in now_there]
        return min(alive, key=lambda place: len(place.workers), default=None)

    async def _hear(self, place: _Place) -> None:
        """Takes what the workers of a node say, until it is lost."""
        last, loop = 0, asyncio.get_running_loop()
        answered = loop.time()
        unavailable = self._ray.exceptions.ActorUnavailableError
        while not place.lost:
            try:
                async with asyncio.timeout(SILENT_S):
                    box = await place.actor.hear.remote(last, HEAR_S)
                answered = loop.time()
            except unavailable as error:  # Ray tries to reach it again
                if loop.time() - answered >= SILENT_S:
                    place.lost = _first_line(error)
                await asyncio.sleep(0.2)
                continue
            except TimeoutError:
                place.lost = f"no answer for {SILENT_S:g} s"
            except self._ray.exceptions.RayError as error:
                place.lost = _first_line(error)
            else:
                for number, name, message in box:
                    last = number
                    if b'"t":"ask"' in message[:12]:
                        self._asked_at[name] = loop.time()
                    self._writer.write(b'{"t":"heard","name":"%b","message":%b}\n' % (name.encode(), message))
        self._ray.kill(place.actor, no_restart=True)
        for name in sorted(place.workers):
            self._tell("heard", name=name, message=None)

    def _call(self, call: str, name: str, what: Any = None) -> None:
        place = self._place_of.get(name)
        if name in self._early:
            self._early[name].append((call, what))
        elif place is not None and not place.lost:
            values = {"tell": [line(**what)] if call == "tell" else [], "give": [what]}.get(call, [])
            self._beside(self._quietly(getattr(place.actor, call).remote(name, *values)))

    async def _quietly(self, reference: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # `_hear` finds out too
            await reference

    async def _end(self, name: str) -> None:
        place = self._place_of.pop(name)
        self._asked_at.pop(name, None)
        place.workers.discard(name)
        cause, certain = "", False
        if not place.lost:
            with contextlib.suppress(self._ray.exceptions.RayError):
                code = await place.actor.ended.remote(name)
                cause, certain = f"on {place.host} {cause_of(code)}", True
        cause = cause or f"with its node {place.host} ({place.lost.rstrip('.') or 'its actor is gone'})"
        self._tell("ended", name=name, cause=cause, certain=certain)


def _made_again() -> bool:
    """Whether this actor takes the place of one that was lost."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _first_line(error: BaseException) -> str:
    """What Ray says, without what it adds to it."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]

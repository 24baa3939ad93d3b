"""Workers on the nodes of a Ray cluster. This process only talks to the bridge (`ray_bridge`)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from batchlab.dispatch.rate.money import Money
from batchlab.engines.crew import Ending, Hand, LenderLink
from batchlab.engines.messages import MAX_LINE, line
from batchlab.engines.ray_node import code_digest, machine
from batchlab.engines.worker_process import spawned
from batchlab.errors import UsageError
from batchlab.job import SELF_STARTED, Job
from batchlab.lending.messages import Demand, Lease, LenderTerms
from batchlab.remote.depot import Depot
from batchlab.remote.storage import StorageError
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.disk.fence import FENCE_S, hold, is_held, let_go
from batchlab.store.layout import TOKEN
from batchlab.store.locked import LockedRun
from batchlab.version import __version__

CONNECT_S = 5.0
INIT_S = 30.0  # a cluster that is started for the run takes 10 s on a busy machine
JOIN_S = 75.0  # of it, a node has 60 s to start its first process
CLOSE_S = 15.0
POLL_S = 0.1
MISSING = "{limits.engine=ray} needs Ray: pip install 'batchlab[ray]'."


class RayCrew:
    """So many workers on each node of a cluster; see `engines.crew.Crew`.

    Made by `joined`, when nothing has been sent yet.
    """

    who = "a worker"

    def __init__(self, store: LockedRun, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.size = 1
        # where the workers leave what they do, each from a directory of its own; None when they share ours
        url = store.publisher.url
        self._depot = None if url is None else Depot(store.path, url)
        self.nodes: list[str] = []
        self._store = store
        self._control = control
        self._process = process
        self._driver_lock = hold(store.path, "driver")
        self._hands: dict[str, Hand] = {}
        self._endings: dict[str, asyncio.Future[Ending]] = {}
        self._spent: dict[int, asyncio.Future[Money]] = {}
        self._numbers = 0
        self._lost = ""
        self._listening: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter
        self._on_lost: Callable[[], tuple[list[str], Money]]

    @classmethod
    def joined(cls, store: LockedRun, job: Job, address: str | None, spool: Path) -> RayCrew:
        """Joins the cluster at `address` and checks that every node can work on the run.

        Args:
            address: HEAD:PORT; None for RAY_ADDRESS, or the cluster of this machine, or one that is
                started for the run.
            spool: where the run keeps standard input.

        Raises:
            UsageError: nothing was sent.
        """
        token = secrets.token_hex(16)
        control, its_control = socket.socketpair()
        with its_control, tempfile.TemporaryFile() as said:
            process = _bridge(its_control, said)
            crew = cls(store, control, process)
            try:
                crew.put_token(token)
                asked = {
                    "address": address,
                    "version": __version__,
                    "code": code_digest(Path(__file__).parents[1]),
                    "token": token,
                    "cwd": str(Path.cwd()),
                    "run_dir": str(store.path.absolute()),
                    "url": crew.url,
                    "job": job.to_dict(),
                    "spool": str(spool.absolute()),
                    "machine": machine() if any(one.host in SELF_STARTED for one in job.endpoint) else None,
                }
                control.sendall(line("join", **asked))
                with control.makefile("rb") as file:
                    _answer(file, address, said, control, INIT_S)
                    answer = _answer(file, address, said, control, JOIN_S)
                control.settimeout(None)
            except BaseException:  # whatever it is, the bridge must not stay behind; it goes on its way
                crew.end()
                raise
        crew.nodes = answer["nodes"]
        return crew

    @property
    def url(self) -> str | None:
        """Where the workers leave what they do; None when they share the run directory."""
        return None if self._depot is None else self._depot.url

    def put_token(self, token: str) -> None:
        """Leaves what every node must be able to read. Raises UsageError when that cannot be."""
        if self._depot is None:
            self._store.layout.token.write_text(token)
            return
        try:
            self._depot.arrive(TOKEN, token)
        except StorageError as error:
            raise UsageError(f"{error.filename}: {error.strerror}.") from error

    async def open(self, terms: LenderTerms, lost: Callable[[], tuple[list[str], Money]]) -> LenderLink:
        """See `Crew`."""
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE)
        self._on_lost = lost
        self._listening = asyncio.create_task(self._listen(reader))
        self._tell("open", terms=msgspec.to_builtins(terms))
        return _FarLender(self._lend)

    async def start(self, name: str, index: int, begin: Mapping[str, Any]) -> Hand:
        """See `Crew`."""
        self._refuse_lost()

        def tell(kind: str, **values: Any) -> None:
            self._tell("tell", name=name, what={"kind": kind, **values})

        def give(shard: int | None) -> None:
            self._tell("give", name=name, what=shard)

        hand = self._hands[name] = Hand(name, tell, give)
        self._endings[name] = asyncio.get_running_loop().create_future()
        own = {"hold": name, "fence_s": FENCE_S, "url": self.url}
        self._tell("start", name=name, index=index, begin={**begin, **own})
        return hand

    async def ended(self, hand: Hand) -> Ending:
        """See `Crew`."""
        if not self._endings[hand.name].done():
            self._tell("end", name=hand.name)
        ending = await self._endings[hand.name]
        del self._hands[hand.name], self._endings[hand.name]
        if ending.certain:
            await self._gone(hand.name)
        return ending

    async def gone_for_certain(self, hand: Hand) -> None:
        """See `Crew`: its lock is free, or it has had no lease for longer than it may go on without."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FENCE_S + 1.0):
                # another machine's lock can only be looked at; at a URL there is none: time alone tells
                while self._depot is not None or is_held(self._store.path, hand.name):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
        await self._gone(hand.name)

    async def _gone(self, name: str) -> None:
        """Tidies up after a worker that can write no more."""
        let_go(self._store.path, name)
        if self._depot is not None:
            with contextlib.suppress(StorageError):  # the next start waits for it, in vain
                await asyncio.to_thread(self._depot.leave, name)

    async def close(self) -> None:
        """See `Crew`."""
        if self._listening is not None:
            self._listening.cancel()
            self._writer.close()
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """Leaves the cluster."""
        self._control.close()
        if self._listening is None:  # it may be waiting for an address where nobody answers
            self._process.kill()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._depot is not None:
            with contextlib.suppress(StorageError):
                self._depot.leave(TOKEN)
        with contextlib.suppress(OSError):
            self._store.layout.token.unlink(missing_ok=True)
            let_go(self._store.path, "driver")
            os.close(self._driver_lock)

    def _tell(self, kind: str, **values: Any) -> None:
        if not self._writer.is_closing():
            self._writer.write(line(kind, **values))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.readline():
                self._heard(orjson.loads(data))
        code = await asyncio.to_thread(self._process.wait)
        self._lost = f"the process that talks to Ray ended with code {code}"
        for future in self._spent.values():
            future.set_exception(self._stopped())
        self._spent.clear()
        for name, ending in self._endings.items():
            if not ending.done():
                ending.set_result(Ending("with the connection to the cluster", certain=False))
            self._hands[name].inbox.put_nowait(None)

    def _heard(self, message: dict[str, Any]) -> None:
        hand = self._hands.get(message.get("name", ""))
        match message["t"]:
            case "heard" if hand is not None:
                hand.inbox.put_nowait(message["message"])
            case "started" if hand is not None:
                hand.place = message["place"]
            case "ended" if hand is not None and not self._endings[hand.name].done():
                self._endings[hand.name].set_result(Ending(message["cause"], message["certain"]))
            case "nowhere" if hand is not None:
                self._lost = "no node of the cluster is left"
                self._endings[hand.name].set_result(Ending("because no node is left"))
                hand.inbox.put_nowait(None)
            case "lent" if message["number"] in self._spent:
                self._spent.pop(message["number"]).set_result(Money(*message["spent"]))
            case "lender_lost":
                names, spent = self._on_lost()
                self._tell("lend", number=0, do="go_on", values=[names, tuple(spent)])

    async def _lend(self, do: str, *values: Any) -> Money:
        self._refuse_lost()
        self._numbers += 1
        future = self._spent[self._numbers] = asyncio.get_running_loop().create_future()
        self._tell("lend", number=self._numbers, do=do, values=values)
        spent: Money = await future
        return spent

    def _refuse_lost(self) -> None:
        if self._lost:
            raise self._stopped()

    def _stopped(self) -> RunStopped:
        return RunStopped(
            StopReason.RAY, f"{self._lost}. Go on with the same command, or with another engine."
        )


class _FarLender:
    """The budget in its actor, as the foreman sees it; see `engines.crew.LenderLink`."""

    def __init__(self, lend: Callable[..., Awaitable[Money]]) -> None:
        self._lend = lend

    async def lease(self, name: str, demand: Demand) -> Lease | None:
        """See `LenderLink`. The worker's node asks for it."""
        raise NotImplementedError(f"a lease of {name} ({demand.applied}) is asked for at its node")

    async def expect(self, workers: int) -> None:
        """See `LenderLink`."""
        await self._lend("expect", workers)

    async def release(self, name: str, spent: Money) -> None:
        """See `LenderLink`."""
        await self._lend("release", name, tuple(spent))

    async def give_up(self, name: str) -> None:
        """See `LenderLink`."""
        await self._lend("give_up", name)

    async def forget(self, name: str) -> None:
        """See `LenderLink`."""
        await self._lend("forget", name)

    async def settle(self, name: str, spent: Money) -> None:
        """See `LenderLink`."""
        await self._lend("settle", name, tuple(spent))

    async def spent(self) -> Money:
        """See `LenderLink`."""
        return await self._lend("spent")


def refuse_absent(address: str | None) -> None:
    """Raises UsageError when ray is not installed, nothing listens at the address, or it is none."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(MISSING)
    if address is None:
        return
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdecimal():
        raise UsageError(
            f"{{limits.ray_address={address}}}: expected HEAD:PORT, such as {socket.gethostname()}:6379."
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "no answer"
        raise UsageError(
            f"{{limits.ray_address={address}}}: {why}. Is the cluster up? ray start --head"
        ) from None


def _bridge(control: socket.socket, said: IO[bytes]) -> subprocess.Popen[bytes]:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_DEDUP_LOGS": "0"}
    return spawned([control.fileno()], stdout=said, stderr=said, env=quiet, new_session=True)


def _answer(
    file: IO[bytes], address: str | None, said: IO[bytes], control: socket.socket, wait_s: float
) -> dict[str, Any]:
    """The bridge's next answer. Raises UsageError when none comes, or it is a refusal."""
    where = f"{{limits.ray_address={address}}}" if address else "ray"
    control.settimeout(wait_s)
    try:
        data = file.readline()
    except TimeoutError:
        raise UsageError(f"{where}: no Ray cluster answered within {wait_s:g} s.") from None
    if not data.endswith(b"\n"):
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise UsageError(f"{where}: Ray ended before the run began: {words[-1][:300]}")
    answer: dict[str, Any] = orjson.loads(data)
    if answer["t"] == "refused":
        raise UsageError("\n".join(f"{where}: {text}" for text in answer["text"].splitlines()))
    return answer

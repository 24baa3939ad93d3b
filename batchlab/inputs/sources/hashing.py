"""The hash of a large input, made while it is read."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

HASH_BYTES = 4 * 1024 * 1024


class Hasher:
    """Hashes blocks in a thread, behind whoever reads them; used as a context, whose end waits for it.

    A block's hash lets go of the interpreter, but its thread must get hold of it first, which takes 5 ms
    while another one works: so it gets a few megabytes at a time, and nobody waits for it until there
    are a few more.
    """

    def __init__(self, digest: hashlib.blake2b) -> None:
        self._digest = digest
        self._blocks: list[bytes] = []
        self._bytes = 0
        self._thread = ThreadPoolExecutor(1)
        self._hashing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def update(self, block: bytes) -> None:
        """Takes the next bytes."""
        self._blocks.append(block)
        self._bytes += len(block)
        if self._bytes >= HASH_BYTES:
            self._begin()

    def __exit__(self, *error: object) -> None:
        self._begin()
        self._thread.shutdown()

    def _begin(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._thread.submit(self._digest.update, b"".join(self._blocks))
        self._blocks.clear()
        self._bytes = 0

"""How the C library's heap is kept small, in a process that is all ours."""

from __future__ import annotations

import ctypes
import os
import sys

# Left to itself, glibc puts ever larger blocks among the small ones, from where they are not given back: a
# batch of 90 MB of results peaks at 223 MB then, and at 168 MB with these two numbers (bytes), in the same
# time (`python -m tests.proofs.benchmarks.large_results`).
_GLIBC = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 512 << 10),  # blocks from this size on are mapped, and given back at once
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 20),  # what is free at the heap's end, and kept
}


def keep_heap_small() -> None:
    """Memory that a sealed shard or a written file needed goes back to the system; in processes started from
    here as well, by their environment. What the environment sets already stands.

    Arrow's own pools keep what they had: a run's peak is 20 MB lower with the C library's.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    for name, (option, size) in _GLIBC.items():
        if name not in os.environ:
            os.environ[name] = str(size)
            if mallopt is not None:
                mallopt(option, size)

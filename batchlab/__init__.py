"""batchlab: run a file of prompts through an OpenAI-compatible endpoint, resumable, with exact books.

    import batchlab

    answers = batchlab.run(frame, model="MODEL", prompt="Translate to French: {text}")   # frame in, frame out
    summary = batchlab.run(input="rows.csv", model="MODEL", prompt="Translate to French: {text}")
    answers = batchlab.load(summary.run_dir)
    async for result in batchlab.stream(rows, model="MODEL", prompt="Translate to French: {text}"): ...

Importing the package loads none of pandas, pyarrow and aiohttp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchlab.version import __version__ as __version__

if TYPE_CHECKING:
    from batchlab.api import cancel, collect, load, plan, run, stream
    from batchlab.errors import BatchlabError, CorruptRun, InputError, UsageError
    from batchlab.records import Completion, Failure
    from batchlab.run_end import RunStopped, RunSummary

_HOME = {
    "BatchlabError": "batchlab.errors",
    "Completion": "batchlab.records",
    "CorruptRun": "batchlab.errors",
    "Failure": "batchlab.records",
    "InputError": "batchlab.errors",
    "RunStopped": "batchlab.run_end",
    "RunSummary": "batchlab.run_end",
    "UsageError": "batchlab.errors",
    "cancel": "batchlab.api",
    "collect": "batchlab.api",
    "load": "batchlab.api",
    "plan": "batchlab.api",
    "run": "batchlab.api",
    "stream": "batchlab.api",
}

__all__ = [
    "BatchlabError",
    "Completion",
    "CorruptRun",
    "Failure",
    "InputError",
    "RunStopped",
    "RunSummary",
    "UsageError",
    "cancel",
    "collect",
    "load",
    "plan",
    "run",
    "stream",
]


def __dir__() -> list[str]:
    """What completion offers: the public names, loaded or not."""
    return sorted({*__all__, "__doc__", "__version__"})


def __getattr__(name: str) -> Any:
    """The public names, loaded when first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'batchlab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

"""batchlab: run a file of prompts through an OpenAI-compatible endpoint, resumable, with exact books.

    import batchlab

    summary = batchlab.run(input="rows.csv", model="MODEL", prompt="Translate to French: {text}")
    frame = batchlab.load(summary.run_dir)

Importing the package loads none of pandas, pyarrow and aiohttp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchlab.api import load, plan, run
    from batchlab.errors import BatchlabError, InputError, RunStopped, UsageError
    from batchlab.records import RunSummary

__version__ = "0.1.0"

_HOME = {
    "BatchlabError": "batchlab.errors",
    "InputError": "batchlab.errors",
    "RunStopped": "batchlab.errors",
    "RunSummary": "batchlab.records",
    "UsageError": "batchlab.errors",
    "load": "batchlab.api",
    "plan": "batchlab.api",
    "run": "batchlab.api",
}

__all__ = [
    "BatchlabError",
    "InputError",
    "RunStopped",
    "RunSummary",
    "UsageError",
    "load",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    """The public names, loaded when first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'batchlab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

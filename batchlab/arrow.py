"""pyarrow, imported when it is first used.

It takes 0.15 s and 45 MB with the numpy that comes with it, and a run over JSON Lines or CSV has
no use for it before its first shard is sealed: the first requests are on their way by then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["pa", "pc", "pq"]

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:

    class _Module:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)  # the next time is as fast as with the module itself
            return value

    pa, pc, pq = _Module("pyarrow"), _Module("pyarrow.compute"), _Module("pyarrow.parquet")

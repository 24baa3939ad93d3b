"""pyarrow, imported when it is first used.

It takes 0.15 s and 45 MB with the numpy that comes with it, and a run over JSON Lines or CSV has
no use for it before its first shard is sealed: the first requests are on their way by then.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

__all__ = ["keeping_memory", "pa", "pc", "pq", "without_pandas"]

_pandas_wanted = True
_keeps_memory = False


def without_pandas() -> None:
    """For a process that shows no table: pyarrow's conversions from and to pandas stop working in it.

    The first `pa.array` imports pandas to recognise its objects among the values: 0.4 s of CPU and
    60 MB in a run that hands it lists only.
    """
    global _pandas_wanted
    _pandas_wanted = False


def keeping_memory() -> None:
    """For a process that reads many parts one after another, as a search does: memory that Arrow has freed is
    used again, not given back and got anew.

    With jemalloc, where pyarrow has it, a search through 2 GB of parts takes a twentieth of the page faults
    that it takes with mimalloc, and a third less CPU; the peak is the same.
    """
    global _keeps_memory
    _keeps_memory = True


class _NoPandas:
    """Says that there is no pandas, to whoever looks for it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _hide_pandas(arrow: Any) -> None:
    """Lets pyarrow look for pandas once, and not find it; it does not look again."""
    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        arrow.array([0])
    finally:
        sys.meta_path.remove(finder)


def _begin(arrow: Any) -> None:
    """Sets pyarrow up, once it has been imported."""
    if not _pandas_wanted and "pandas" not in sys.modules:
        _hide_pandas(arrow)
    if _keeps_memory:
        with contextlib.suppress(NotImplementedError):  # on Windows there is none
            arrow.set_memory_pool(arrow.jemalloc_memory_pool())


if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:

    class _Module:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            first = "pyarrow" not in sys.modules
            module = importlib.import_module(self._name)
            if first:
                _begin(importlib.import_module("pyarrow"))
            value = getattr(module, attribute)
            setattr(self, attribute, value)  # the next time is as fast as with the module itself
            return value

    pa, pc, pq = _Module("pyarrow"), _Module("pyarrow.compute"), _Module("pyarrow.parquet")

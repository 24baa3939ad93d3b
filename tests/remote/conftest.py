"""A store in this process."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from batchlab.remote import storage
from batchlab.remote.urls import EXTRAS


class Basics(MemoryFileSystem):
    """A store in this process, without put-if-absent and without tags."""

    protocol = "basics"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("basics://"))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Basics]:
    monkeypatch.setitem(EXTRAS, "basics", "basics")
    fsspec.register_implementation("basics", Basics, clobber=True)
    storage.filesystem.cache_clear()
    store = fsspec.filesystem("basics")
    store.store.clear()
    yield store
    store.store.clear()
    storage.filesystem.cache_clear()

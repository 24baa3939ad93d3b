"""Whose a journal is: its first record says so, so that another run's is never taken for it.

    {"t": "of", "run": ID, "generation": N, "shard": N, "journal": N}

A journal without one is of an earlier version, or a further piece of one (`remote.depot`), and is taken as
its name has it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from batchlab.store.disk.files import plain_file
from batchlab.store.journals.journal import decode, encode
from batchlab.store.layout import JournalName
from batchlab.store.manifest import Manifest

_MOST_BYTES = 1_000  # of such a record


@dataclass(frozen=True, slots=True)
class Origin:
    """Which journal it is, of which run.

    Attributes:
        run: the run's id; "" of one that an earlier version began.
        number: of the journal, counted by shard from 1.
    """

    run: str
    generation: int
    shard: int
    number: int

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self | None:
        """What a decoded record says; None for a record of another kind."""
        match data:
            case {
                "t": "of",
                "run": str(run),
                "generation": int(generation),
                "shard": int(shard),
                "journal": int(number),
            }:
                return cls(run, generation, shard, number)
        return None


def origin(manifest: Manifest, shard: int, number: int) -> Origin:
    """That of a journal of the run."""
    return Origin(manifest.run_id, manifest.generation, shard, number)


def origin_record(of: Origin) -> bytes:
    """The first record of a journal."""
    told = {"t": "of", "run": of.run, "generation": of.generation, "shard": of.shard, "journal": of.number}
    return encode(orjson.dumps(told))


def strange_origin(path: Path, manifest: Manifest) -> str | None:
    """Why a journal cannot be the one that its name says, in a few words; None when it can."""
    name, found = JournalName.of(path.name), None
    with contextlib.suppress(OSError), plain_file(path) as file:
        data = decode(file.readline(_MOST_BYTES))
        found = None if data is None else Origin.of(data)
    if name is None or found is None:
        return None
    own = origin(manifest, name.shard, name.number)
    if found.run != own.run:
        return "the journal of another run"
    if found.generation != own.generation:
        return f"the journal of generation {found.generation}, and the run is at {own.generation}"
    if found.shard != own.shard:
        return f"the journal of shard {found.shard}, which is not its shard"
    return None if found == own else f"a copy of the shard's journal {found.number}"

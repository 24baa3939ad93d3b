"""What run.json says of a run that a test makes by hand."""

from __future__ import annotations

from batchlab.inputs.sources.source import InputPlan
from batchlab.job import Job, OutputJob
from batchlab.records import Shard
from batchlab.store.manifest import Manifest


def manifest(
    *shards: Shard, prefix: str = "", generation: int = 1, vectors: tuple[str, ...] = ()
) -> Manifest:
    """That of a run with these shards, whose input is in no file."""
    plan = InputPlan(
        rows=sum(shard.rows for shard in shards),
        shards=shards,
        columns=("text",),
        types={"text": "str"},
        content_hash="",
        stat=(),
        scanned_at=0.0,
        vectors=vectors,
    )
    return Manifest(Job(output=OutputJob(prefix=prefix)), {}, plan, generation)

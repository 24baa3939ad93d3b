"""What a shard holds, as results."""

from __future__ import annotations

from batchlab.records import Result
from batchlab.store.journals.journal import result_of
from batchlab.store.shard import OpenShard


def shard_results(shard: OpenShard) -> list[Result | None]:
    """Each row's result, in row order; None for a pending one."""
    return [
        None
        if values is None
        else result_of({"t": "completion" if "reply" in values else "failure", "v": values})
        for values in shard.values()
    ]

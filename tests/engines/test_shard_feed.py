"""What is on disk before a request leaves."""

from __future__ import annotations

import json
from pathlib import Path

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.feed import ShardFeed
from batchlab.engines.share import Share
from batchlab.engines.work import Work
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.records import Completion, Reply, Timing, Usage
from batchlab.run_state import RunState
from batchlab.store.journals.journal import JournalScan
from batchlab.store.locked import LockedRun
from batchlab.store.manifest import Manifest


def written(run: Path) -> dict[int, list[str]]:
    """Shard → the kinds of its journalled records."""
    return {
        shard: [
            record.data["t"]
            for path in (run / "journal").glob(f"{shard:06d}.*.log")
            for record in JournalScan(path).records()
        ]
        for shard in (0, 1)
    }


async def test_p2_a_result_is_written_before_the_next_request_leaves_also_across_shards(tmp_path):
    """Else a crash would cost the result and the request that took its slot: more than was in flight."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(4)))
    job = job_from(
        {"input": {"path": str(tmp_path / "rows.jsonl")}, "request": {"model": "m", "prompt": "{text}"}}
    )
    source = open_source(job.input.path)
    plan = source.scan(2)
    store = LockedRun.create(tmp_path / "run", Manifest.of(job, plan))
    work = Work(job, (), source, plan, store, RequestBuilder(job, plan.columns), RunState())
    feed = ShardFeed(work, Share(RunState(), store), on_complete=lambda shard: None, stop=StopSignal())
    requests = feed.requests(iter(plan.shards))
    first, second, third = next(requests), next(requests), next(requests)
    feed.sent(first.row_id, 1)
    feed.sent(second.row_id, 1)

    feed.emit(
        Completion(
            row_id=first.row_id,
            custom_id="0",
            attempts=1,
            reply=Reply(completion="a", usage=Usage()),
            status="ok",
            request_hash=b"0" * 16,
            timing=Timing(0.0, 1.0, 1.0, 0.0, None),
        )
    )
    feed.sent(third.row_id, 1)  # the first request of the next shard, in the same turn of the loop
    assert written(tmp_path / "run") == {0: [], 1: []}
    feed.write()  # as the transport does before requests leave

    assert written(tmp_path / "run") == {0: ["of", "sent", "sent", "completion"], 1: ["of", "sent"]}
    feed.close()
    store.close()
    source.close()


async def test_a_row_that_comes_to_grief_in_building_its_request_fails_alone(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": str(n)}) + "\n" for n in range(4)))
    job = job_from(
        {"input": {"path": str(tmp_path / "rows.jsonl")}, "request": {"model": "m", "prompt": "{text}"}}
    )
    source = open_source(job.input.path)
    plan = source.scan(4)
    store = LockedRun.create(tmp_path / "run", Manifest.of(job, plan))
    share = Share(RunState(), store)

    class Builder(RequestBuilder):
        def build(self, row):
            if row.row_id == 2:
                raise ZeroDivisionError("the row's secret")
            return super().build(row)

    work = Work(job, (), source, plan, store, Builder(job, plan.columns), RunState())
    feed = ShardFeed(work, share, on_complete=lambda shard: None, stop=StopSignal())
    built = [request.row_id for request in feed.requests(iter(plan.shards))]
    feed.close()

    assert built == [0, 1, 3]
    assert share.state().totals.failed == 1
    journals = b"".join(path.read_bytes() for path in (tmp_path / "run" / "journal").iterdir())
    assert b"could not build this row's request (ZeroDivisionError)" in journals
    assert b"secret" not in journals

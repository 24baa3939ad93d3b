"""What is shown of the requests that a row took: what a run still has of them, and what it has not."""

from __future__ import annotations

import pyarrow as pa

from batchlab.records import Usage
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch
from batchlab.store.journals.journal import AskedInVain
from batchlab.store.publisher import Here
from tests.conftest import simulating
from tests.looking.browse.runs import made
from tests.looking.browse.test_states import again, answered, growing  # noqa: F401 - a fixture

SHARD = 0


def told(browser, row: int) -> tuple[list[tuple[str, str]], str]:
    """Each known request, as (what, message), and the sentence about all."""
    again(browser)
    found = browser.row(row).json()
    return [(one["what"], one["message"]) for one in found["attempts_list"]], found["attempts_note"]


def test_while_its_shard_is_open_each_request_of_a_row_is_known(growing, browse):  # noqa: F811
    shard = growing.open_shard(growing.manifest.plan.shards[0])
    browser = browse(growing.path)
    for row in (1, 2, 3):
        shard.append_sent(row, 1)
    shard.append(answered(1))
    shard.append_back(2, Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15), 0.25)
    shard.append_sent(2, 2)
    shard.flush()

    assert told(browser, 1) == ([], "")
    assert told(browser, 2) == (
        [
            ("call", "came back without a result; 15 tokens paid and not kept"),
            ("call", "under way, or lost in a crash"),
        ],
        "",
    )
    assert told(browser, 3)[0] == [("call", "under way, or lost in a crash")]
    shard.append(answered(2, attempts=2, wasted_prompt_tokens=10, wasted_completion_tokens=5))
    shard.flush()
    calls, note = told(browser, 2)
    assert [what for what, _ in calls] == ["call", "ok"]
    assert calls[0][1].startswith("came back")
    assert "2 requests in all" in note
    assert "15 tokens were paid" in note
    shard.close()


def test_batches_that_a_row_was_in_are_named_also_when_its_shard_is_sealed(growing, browse):  # noqa: F811
    log = BatchLog(growing.path, Here(growing.path))
    one = Batch("k1", 0, ((2, 3),), "openai", "m", "/v1/chat/completions", 9, asked=(0,))
    log.meant(one)
    log.created(log.ordering(log.uploaded(one, "file-1")), "batch_1")
    log.ended(one, "expired", [])
    log.meant(Batch("k2", 0, ((0, 9),), "openai", "m", "/v1/chat/completions", 9, asked=(0,)))  # never sent
    shard = growing.open_shard(growing.manifest.plan.shards[0])
    browser = browse(growing.path)
    shard.append_asked(AskedInVain(3, 1, "k1", came_back=False))
    for row in range(10):
        shard.append(answered(row, attempts=2 if row == 3 else 1, cut_off=int(row == 3)))
    shard.flush()
    before = told(browser, 3)
    shard.seal(pa.table({"text": ["x"] * 10}))

    calls, note = told(browser, 3)
    assert (calls, note) == before
    assert calls == [("batch", "batch_1 at openai: expired"), ("ok", "by live")]
    assert "1 of them was cut off" in note
    assert told(browser, 5) == ([], "")
    (growing.path / "batches.log").write_bytes(b"broken\n" * 3)
    assert told(browser, 3)[0] == [("ok", "by live")]


def test_of_a_sealed_row_it_is_said_how_many_there_were(tmp_path, browse, monkeypatch):
    monkeypatch.setenv("SIMULATOR_KEY", "k")
    with simulating(api_key="", faults=[{"kind": "http_500", "rows": ["beta"], "times": 1}]) as server:
        run = made(tmp_path, server.base_url, [{"text": "alpha"}, {"text": "beta"}])
    browser = browse(run.path)

    assert told(browser, 0) == ([], "")
    calls, note = told(browser, 1)
    assert [what for what, _ in calls] == ["ok"]
    assert calls[0][1].startswith("by live at 127.0.0.1")
    assert note.startswith("2 requests in all. Of those before the last, a run keeps how many they were")

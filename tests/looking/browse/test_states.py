"""Runs in every state: growing, stopped, asked again, damaged, lost, deleted, planned anew."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import pytest

from batchlab.errors import UsageError
from batchlab.job.file import job_from
from batchlab.looking.browse.query import RowQuery
from batchlab.records import Completion, Failure, Reply, Shard, Timing, Usage
from batchlab.store.layout import part_name
from batchlab.store.locked import LockedRun
from batchlab.store.view import RunView
from tests.conftest import simulating
from tests.looking.browse.runs import ids, made, page, write_rows
from tests.store.manifests import manifest

ROWS = [{"n": n, "text": f"The {n}th remark."} for n in range(40)]


def answered(row: int, text: str = "", **more) -> Completion:
    usage = Usage(prompt_tokens=10, completion_tokens=row, total_tokens=10 + row)
    reply = Reply(completion=text or f"answer {row}", finish_reason="stop", usage=usage)
    fields = {
        "attempts": 1,
        "timing": Timing(1e9, 1e9 + 1, 100.0 + row),
        "cost_usd": row / 1e3,
        "lane": "live",
    }
    return Completion(row, str(row), row.to_bytes(16, "big"), "ok", reply, **{**fields, **more})


def failed(row: int) -> Failure:
    return Failure(row, str(row), "timeout", "no answer in time", attempts=2)


@pytest.fixture
def growing(tmp_path):
    """A run of two shards of 10 rows that this test works on; its input is in no file."""
    job = job_from({"input": {"path": "gone.jsonl"}, "request": {"model": "m", "prompt": "{text}"}})
    planned = dataclasses.replace(manifest(Shard(0, 0, 10), Shard(1, 10, 10)), job=job)
    with contextlib.closing(LockedRun.create(tmp_path / "run", planned)) as run:
        yield run


def statuses(found) -> str:
    return "".join(
        {"ok": "o", "failed": "f", "pending": ".", "unreadable": "?"}[line.status] for line in found.lines
    )


def again(browser, **params):
    """The page once the run was looked at again."""
    browser.refresh(wait_s=10, is_due=True)
    return page(browser, **params)


def test_rows_appear_as_they_are_answered_and_stay_when_their_shard_is_sealed(growing, browse):
    import pyarrow as pa

    browser = browse(growing.path)
    assert statuses(page(browser)) == "." * 20

    shard = growing.open_shard(growing.manifest.plan.shards[0])
    for row in (2, 0):
        shard.append(answered(row))
    shard.flush()
    found = again(browser)
    assert statuses(found) == "o.o" + "." * 17
    assert found.lines[2].texts.answer.text == "answer 2"
    assert (found.lines[2].latency_ms, found.lines[2].cost_usd, found.lines[1].cost_usd) == (
        102.0,
        0.002,
        None,
    )
    assert ids(again(browser, q="ANSWER 0")) == [0]
    assert ids(again(browser, sort="-completion_tokens"))[:2] == [2, 0]

    shard.append(failed(3))
    shard.flush()
    assert statuses(again(browser)) == "o.of" + "." * 16
    assert ids(again(browser, error="timeout")) == [3]

    for row in (1, 4, 5, 6, 7, 8, 9):
        shard.append(answered(row))
    shard.seal(pa.table({"text": [f"text {row}" for row in range(10)]}))
    found = again(browser)
    assert statuses(found) == "ooof" + "o" * 6 + "." * 10
    assert found.lines[9].texts.answer.text == "answer 9"
    assert browser.problems == ()


def test_only_new_records_of_a_journal_are_read(growing, browse, monkeypatch):
    browser = browse(growing.path)
    shard = growing.open_shard(growing.manifest.plan.shards[0])
    shard.append(answered(0))
    shard.flush()
    again(browser)
    before = browser.index.version

    page(browser)
    assert browser.index.version == before
    shard.append(answered(1))
    shard.flush()
    again(browser)
    assert browser.index.version == before + 1
    shard.close()


def test_answers_to_rows_that_are_asked_again_take_the_place_of_failures(growing, browse):
    import pyarrow as pa

    shard = growing.open_shard(growing.manifest.plan.shards[1])
    for row in range(10, 20):
        shard.append(failed(row) if row == 13 else answered(row))
    shard.seal(pa.table({"text": ["x"] * 10}))
    browser = browse(growing.path)
    assert statuses(page(browser)) == "." * 10 + "ooof" + "o" * 6

    asked = growing.open_shard(growing.manifest.plan.shards[1], retry=lambda result: True)
    assert statuses(again(browser)) == "." * 10 + "ooof" + "o" * 6
    asked.append(answered(13, "at last"))
    asked.flush()
    found = again(browser)
    assert statuses(found)[10:] == "o" * 10
    assert found.lines[13].texts.answer.text == "at last"
    assert found.lines[12].texts.answer.text == "answer 12"
    assert ids(again(browser, q="at last")) == [13]
    assert ids(again(browser, q="answer 1")) == [row for row in range(10, 20) if row != 13]
    asked.seal(pa.table({"text": ["x"] * 10}))
    assert again(browser).lines[13].texts.answer.text == "at last"


def test_a_record_that_is_being_written_is_read_when_it_is_whole(growing, browse):
    shard = growing.open_shard(growing.manifest.plan.shards[0])
    shard.append(answered(0))
    shard.flush()
    [journal] = growing.layout.journal_files(0)
    whole = journal.read_bytes()
    shard.append(answered(1))
    shard.flush()
    shard.close()
    more = journal.read_bytes()
    other = journal.parent.parent.parent / "copy"
    shutil.copytree(growing.path, other)
    [copied] = RunView.open(other).layout.journal_files(0)
    copied.write_bytes(more[: len(whole) + 20])
    browser = browse(other)
    assert statuses(page(browser))[:2] == "o."

    copied.write_bytes(more)

    assert statuses(again(browser))[:2] == "oo"


@pytest.fixture
def sealed(tmp_path):
    """A finished run of four shards."""
    with simulating() as server:
        return made(tmp_path, server.base_url, ROWS)


def part(run: RunView, index: int) -> Path:
    return run.layout.parts / part_name(index)


def test_a_part_that_is_deleted_leaves_its_rows_unreadable_and_is_said_once(sealed, browse):
    browser = browse(sealed)
    assert statuses(page(browser)) == "o" * 40
    part(sealed, 1).unlink()

    found = again(browser)

    assert statuses(found) == "o" * 10 + "?" * 10 + "o" * 20
    assert found.problems == ("part-000001.parquet is gone: 10 rows cannot be read.",)
    assert ids(again(browser, status="unreadable")) == list(range(10, 20))
    assert ids(again(browser, q="remark")) == [*range(10), *range(20, 40)]
    detail = browser.row(12).json()
    assert (detail["status"], detail["answer"]) == ("unreadable", None)
    assert detail["problem"]
    assert statuses(page(browse(sealed))) == statuses(found)


@pytest.mark.parametrize("damage", ["cut short", "no Parquet", "a flipped bit in the footer", "other rows"])
def test_a_damaged_part_leaves_its_rows_unreadable_and_the_rest_goes_on(sealed, browse, damage):
    path = part(sealed, 2)
    data = bytearray(path.read_bytes())
    match damage:
        case "cut short":
            data = data[: len(data) // 2]
        case "no Parquet":
            data = bytearray(b"nothing of the kind")
        case "a flipped bit in the footer":
            data[-200] ^= 0x5A
            data[-40] ^= 0xFF
        case "other rows":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"status": ["ok"]}), path)
            data = bytearray(path.read_bytes())
    path.write_bytes(bytes(data))

    browser = browse(sealed)
    found = page(browser)

    assert statuses(found) == "o" * 20 + "?" * 10 + "o" * 10
    assert len(found.problems) == 1
    assert "part-000002.parquet" in found.problems[0]
    assert ids(page(browser, q="remark")) == [*range(20), *range(30, 40)]


def test_texts_that_are_damaged_are_said_and_no_other_row_suffers(sealed, browse):
    import pyarrow.parquet as pq

    path = part(sealed, 0)
    with pq.ParquetFile(path) as file:
        index = file.schema_arrow.names.index("completion")
        chunk = file.metadata.row_group(0).column(index)
        at = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size // 2
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))

    browser = browse(sealed)
    found = page(browser)

    assert statuses(found) == "o" * 40  # what is held of them is whole
    assert all("damaged" in line.texts.problem for line in found.lines[:10])
    assert all(line.texts.answer for line in found.lines[10:])
    assert len(page(browser).problems) == 1
    assert "damaged" in browser.row(3).json()["problem"]
    assert len(ids(page(browser, q="remark"))) == 40  # prompts are whole


def test_a_run_that_is_deleted_while_it_is_looked_at_is_said(sealed, browse):
    browser = browse(sealed)
    assert page(browser).problems == ()

    shutil.rmtree(sealed.path)

    found = again(browser)
    assert "the run is gone" in found.problems[-1]
    assert statuses(found) == "o" * 40
    assert browser.row(3).json()["problem"]


@pytest.mark.parametrize("params", [{}, {"q": "remark"}], ids=["all", "sought"])
def test_who_needs_all_rows_does_not_wait_for_what_never_comes(sealed, browse, params, monkeypatch):
    closed = browse(sealed)
    closed.close()
    failing = browse(sealed)
    monkeypatch.setattr(type(failing.run), "part_sizes", lambda _: 1 / 0)
    gone = browse(sealed)
    for browser, why in ((closed, "not looked at any more"), (failing, "division by zero")):
        with pytest.raises((UsageError, RuntimeError), match=f"{why}|after shutdown"):
            browser.matching(RowQuery.of(params))
    assert failing.obstacle in failing.problems
    monkeypatch.undo()
    shutil.rmtree(sealed.path)

    with pytest.raises(UsageError, match="the run is gone"):
        gone.matching(RowQuery.of(params))


def test_a_journal_that_cannot_be_read_is_said_and_the_other_shards_are_there(growing, browse):
    shards = [growing.open_shard(shard) for shard in growing.manifest.plan.shards]
    for shard, row in zip(shards, (3, 13), strict=True):
        shard.append(answered(row))
        shard.flush()
    [journal] = growing.layout.journal_files(0)
    journal.rename(journal.with_suffix(".kept"))
    journal.mkdir()
    browser = browse(growing.path)

    found = page(browser)
    assert statuses(found) == "." * 13 + "o" + "." * 6
    assert [one for one in found.problems if str(journal) in one]
    assert browser.matching(RowQuery.of({"status": "ok"})) == [13]

    journal.rmdir()
    journal.with_suffix(".kept").rename(journal)
    assert ids(again(browser, status="ok")) == [3, 13]
    assert not [one for one in browser.problems if str(journal) in one]
    for shard in shards:
        shard.close()


def test_rows_are_there_when_what_must_be_there_cannot_be_read(sealed, browse):
    sealed.layout.checksums.unlink()
    sealed.layout.checksums.mkdir()
    browser = browse(sealed)

    found = page(browser)
    assert statuses(found) == "o" * 40
    assert len(found.problems) == 1
    assert "checksums.log: Is a directory" in found.problems[0]
    assert browser.matching(RowQuery.of({})) == list(range(40))


def test_a_run_that_is_planned_anew_is_looked_at_anew(tmp_path, browse):
    with simulating() as server:
        run = made(tmp_path, server.base_url, ROWS)
        browser = browse(run)
        assert page(browser).total == 40
        write_rows(tmp_path / "run.jsonl", ROWS[:25])

        made(tmp_path, server.base_url, tmp_path / "run.jsonl")

    assert again(browser).total == 25
    assert statuses(again(browser)) == "o" * 25


def test_a_run_that_has_stopped_shows_pending_rows_with_what_they_will_be_asked(tmp_path, browse):
    with simulating() as server:
        run = made(
            tmp_path,
            server.base_url,
            ROWS,
            limits={"max_cost": 0.0021, "concurrency": 1},
            request={"max_tokens": 300},
        )
    browser = browse(run)

    found = page(browser)
    pending = [line.row_id for line in found.lines if line.status == "pending"]

    assert 0 < len(pending) < 40
    assert all(
        line.texts.asked.text == f"Say it shorter: The {line.row_id}th remark." for line in found.lines
    )
    assert ids(page(browser, status="pending")) == pending
    assert ids(page(browser, where="n>=38")) == [38, 39]
    assert ids(page(browser, q="The 39th")) == [39]
    detail = browser.row(39).json()
    assert (detail["status"], detail["answer"], detail["inputs"]["n"]) == ("pending", None, 39)
    assert detail["asked"][0]["text"] == "Say it shorter: The 39th remark."

    (tmp_path / "run.jsonl").unlink()
    browser = browse(run)
    found = page(browser)
    assert [line.texts.asked is None for line in found.lines] == [
        line.row_id >= 10 * (pending[0] // 10) for line in found.lines
    ]
    assert browser.row(39).json()["problem"] == "What was asked cannot be made again."


def test_a_journal_of_another_kind_does_no_harm(growing, browse):
    from batchlab.store.journals.journal import encode

    shard = growing.open_shard(growing.manifest.plan.shards[0])
    shard.append(answered(0))
    shard.close()
    [journal] = growing.layout.journal_files(0)
    strange = [
        b'{"t":"completion","v":{}}',
        b'{"t":"completion","v":7}',
        b'{"t":"failure"}',
        b'{"t":"failure","v":{"row_id":"x","custom_id":1,"error_class":[],"error_message":3,"request_hash":""}}',
        b'{"t":"failure","v":{"row_id":1,"custom_id":[],"error_class":{},"error_message":3,"request_hash":""}}',
        b'{"t":"failure","v":{"row_id":99,"custom_id":"","error_class":"x","error_message":"","request_hash":""}}',
        b'{"t":"later kind"}',
    ]
    with journal.open("ab") as file:
        file.write(b"no record at all\n" + b"".join(encode(one) for one in strange))

    browser = browse(growing.path)

    assert statuses(page(browser))[0] == "o"
    assert browser.row(0).json()["answer"]["text"] == "answer 0"
    assert browser.matching(RowQuery.of({"q": "answer"})) == [0]

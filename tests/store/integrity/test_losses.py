"""What a run must hold and does not: found, named, brought back or given up, and never paid twice in silence."""

from __future__ import annotations

import json
import shutil

import pytest

from batchlab.errors import CorruptRun
from batchlab.records import Shard
from batchlab.store.integrity.checksums import ChecksumLog, Checksums, given_up_record
from batchlab.store.integrity.losses import find_losses, give_up, loss_text, take_back
from batchlab.store.integrity.verify import verify
from batchlab.store.locked import LockedRun
from batchlab.store.shard import OpenShard
from batchlab.totals import Totals
from tests.store.journals.test_journal import completion, failure
from tests.store.test_run_dir import INPUT, SHARD, filled, manifest, moved

PART = "completions/part-000000.parquet"


@pytest.fixture
def run(tmp_path):
    store = LockedRun.create(tmp_path / "run", manifest(SHARD))
    yield store
    store.close()


def lost(run: LockedRun) -> list[str]:
    return [loss.name for loss in find_losses(run)]


def test_a_part_that_is_gone_is_named_with_what_it_had(run):
    before = filled(run).totals()
    assert lost(run) == []

    run.layout.part(0).unlink()

    (loss,) = find_losses(run)
    assert (loss.name, loss.why, loss.rows) == (PART, "gone", 5)
    assert loss.waste.cost_wasted_usd == before.cost_usd
    assert loss.waste.wasted_completion_tokens == before.completion_tokens
    assert verify(run, [SHARD]).problems == [f"{run.path}/{loss_text(loss)}"]


def test_a_crash_before_a_part_is_published_is_no_loss(run, monkeypatch):
    opened = run.open_shard(SHARD)
    for row in range(5):
        opened.append(completion(row))
    monkeypatch.setattr(run.fence, "publish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        opened.seal(INPUT)
    opened.close()

    assert run.noted().parts[run.layout.part(0).name].is_due
    assert lost(run) == []
    assert verify(run, [SHARD]).problems == []


def test_the_journals_are_durable_before_a_part_is_noted(run, monkeypatch):
    """Else a power loss leaves the note alone, and the next run would take it for a loss."""
    order = []
    monkeypatch.setattr(run.publisher, "note", lambda *_: order.append("noted"))
    real = run._group.flush
    monkeypatch.setattr(run._group, "flush", lambda: (order.append("synced"), real()))

    filled(run)

    assert order[:2] == ["synced", "noted"]


def test_of_a_part_that_was_being_asked_again_and_is_gone_the_journal_is_no_substitute(run):
    filled(run, results=[failure(0), *(completion(row) for row in range(1, 5))])
    opened = run.open_shard(SHARD, retry=lambda _: True)
    opened.append(completion(0))
    opened.close()

    run.layout.part(0).unlink()

    (loss,) = find_losses(run)
    assert (loss.name, loss.rows) == (PART, 4)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 another run's PAR1", None])
def test_a_file_of_other_bytes_in_its_place_is_found_by_its_size(run, content):
    filled(run)
    good = run.layout.part(0).read_bytes()

    run.layout.part(0).write_bytes(good[:-9] if content is None else content)

    (loss,) = find_losses(run)
    assert loss.why.startswith("not the part that was written: ")
    assert (loss.rows, loss.is_strange) == (5, False)


def test_a_part_that_nothing_was_noted_of_may_be_another_run_s(run):
    filled(run)
    (run.path / "checksums.log").unlink()

    (loss,) = find_losses(run)

    assert loss.is_strange
    assert loss.waste == Totals()


def test_what_is_given_up_stays_in_the_books_through_a_new_generation(run):
    paid = filled(run).totals().spent_usd
    run.layout.part(0).unlink()

    give_up(run, find_losses(run))

    assert lost(run) == []
    assert verify(run, [SHARD]).problems == []
    assert (run.totals().rows, run.totals().spent_usd, run.totals().wasted_usd) == (0, paid, paid)
    assert run.standing([SHARD])[0] == run.totals()
    filled(run)
    assert (run.totals().rows, run.totals().spent_usd) == (5, pytest.approx(2 * paid))
    assert moved(run, [0, 1, 2, 3, 4]) == 5
    assert run.totals().spent_usd == pytest.approx(2 * paid)
    assert lost(run) == []


def test_the_same_loss_counts_once_when_a_crash_comes_between_the_two_logs(run, monkeypatch):
    paid = filled(run).totals().spent_usd
    run.layout.part(0).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(ChecksumLog, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            give_up(run, find_losses(run))

    give_up(run, find_losses(run))

    assert run.totals().spent_usd == paid


def test_a_file_in_the_place_of_a_lost_part_is_kept_beside_it(run):
    filled(run)
    run.layout.part(0).write_bytes(b"not it")

    give_up(run, find_losses(run))

    assert run.layout.part(0).with_name("part-000000.parquet.damaged").read_bytes() == b"not it"
    assert run.sealed() == set()


def test_a_part_that_was_given_up_and_is_there_again_is_taken_back(run, tmp_path):
    before = filled(run).totals()
    kept = shutil.copy(run.layout.part(0), tmp_path)
    run.layout.part(0).unlink()
    give_up(run, find_losses(run))
    shutil.copy(kept, run.layout.part(0))
    assert "given up" in verify(run, [SHARD]).problems[0]

    assert take_back(run) == [PART]

    assert (run.totals(), lost(run)) == (before, [])
    assert verify(run, [SHARD]).problems == []
    assert take_back(run) == []


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_journal_that_was_left_in_order_must_be_there_as_it_was(run, damage):
    opened = run.open_shard(SHARD)
    for row in range(3):
        opened.append(completion(row))
        opened.flush()
    opened.close()
    run.note_left()
    assert lost(run) == []
    (journal,) = run.layout.journal_files(0)
    lines = journal.read_bytes().splitlines(keepends=True)

    match damage:
        case "gone":
            journal.unlink()
        case "cut":
            journal.write_bytes(b"".join(lines[:-1]))
        case "changed":
            journal.write_bytes(lines[0] + lines[2] + lines[1] + lines[3])

    (loss,) = find_losses(run)
    assert loss.name == "journal/000000.1.log"
    assert loss.rows == {"gone": 3, "cut": 1, "changed": 0}[damage]
    give_up(run, [loss])
    assert lost(run) == []
    assert run.totals().rows == 3 - loss.rows


def test_a_journal_may_grow_and_go_when_its_shard_is_sealed(run):
    opened = run.open_shard(SHARD)
    opened.append(completion(0))
    opened.close()
    run.note_left()

    opened = run.open_shard(SHARD)
    opened.append(completion(1))
    opened.flush()
    assert lost(run) == []
    for row in (2, 3, 4):
        opened.append(completion(row))
    opened.seal(INPUT)

    assert lost(run) == []


def test_a_journal_of_another_shard_is_refused(run):
    opened = run.open_shard(SHARD)
    opened.append(completion(0))
    opened.close()
    (journal,) = run.layout.journal_files(0)
    journal = journal.rename(run.path / "journal/000001.1.log")

    with pytest.raises(CorruptRun, match="the journal of shard 0, which is not its shard"):
        run.open_shard(Shard(1, 5, 5))
    journal.write_bytes(
        b"".join(journal.read_bytes().splitlines(keepends=True)[1:])
    )  # as an earlier version's
    with pytest.raises(CorruptRun, match="row 0, which is not in its shard"):
        run.open_shard(Shard(1, 5, 5))


def test_an_earlier_version_s_notes_say_less_and_are_read(run):
    """No bytes, at first no totals: a part that is gone is known, what it had cost is not."""
    filled(run)
    record = Checksums(run.path).last(
        "part-000000.parquet", run.noted().parts["part-000000.parquet"].digests[0]
    )
    assert record is not None
    (run.path / "checksums.log").unlink()
    ChecksumLog(run.path).append({"part": record["part"], "blake2b": record["blake2b"]})
    assert lost(run) == []
    run.layout.part(0).unlink()

    (loss,) = find_losses(run)

    assert "of unknown cost" in loss_text(loss)
    assert loss.waste.unpriced == 5
    ChecksumLog(run.path).append(given_up_record(record["part"]), json.loads('{"of": "the future"}'))
    assert lost(run) == []


def test_opened_shards_are_not_noted_when_nothing_is_open(run):
    filled(run)
    size = (run.path / "checksums.log").stat().st_size

    run.note_left()

    assert (run.path / "checksums.log").stat().st_size == size
    assert isinstance(run.open_shard(SHARD), OpenShard)

"""Journals that a killed process has left: what they lack of what was synced, and whose they are."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from batchlab.errors import CorruptRun
from batchlab.records import Completion, Usage
from batchlab.store.integrity.checksums import ChecksumLog
from batchlab.store.integrity.losses import find_losses, give_up, loss_text
from batchlab.store.integrity.verify import verify
from batchlab.store.journals import due as due_module
from batchlab.store.journals.due import DUE_BYTES, Tally, read_due
from batchlab.store.journals.journal import decode
from batchlab.store.locked import LockedRun
from batchlab.store.view import RunView
from batchlab.totals import Totals, totals_of
from tests.store.journals.test_journal import completion, failure
from tests.store.manifests import manifest
from tests.store.test_run_dir import INPUT, SHARD, filled

JOURNAL = "journal/000000.1.log"
OWN = dataclasses.replace(manifest(SHARD), run_id="own")


@pytest.fixture
def run(tmp_path):
    store = LockedRun.create(tmp_path / "run", OWN)
    yield store
    store.close()


def killed(run: LockedRun, results=None) -> list[bytes]:
    """Leaves rows in a journal as a killed process does, synced; its lines."""
    opened = run.open_shard(SHARD)
    for result in results or [completion(row) for row in range(4)]:
        opened.append_sent(result.row_id, 1)
        opened.append(result)
        opened.flush()
    run._group.flush()
    opened._journals.drop()
    return (run.path / JOURNAL).read_bytes().splitlines(keepends=True)


def test_a_whole_journal_is_no_loss_and_may_have_more_than_was_noted(run):
    lines = killed(run)
    assert find_losses(run) == []
    due = read_due(run.layout.due(0, 1))
    assert due is not None
    assert due.size == sum(map(len, lines))
    assert due.tally.totals.rows == 4

    with (run.path / JOURNAL).open("ab") as file:
        file.write(lines[-1])
        file.write(b"half of a rec")

    assert find_losses(run) == []


def test_a_journal_that_ends_before_is_found_wherever_it_was_cut(run):
    """At the end of a record as a partial copy may be, and inside of one."""
    lines = killed(run, [failure(0), *(completion(row) for row in range(1, 4))])
    paid = run.totals()
    path = run.path / JOURNAL
    for count in range(len(lines)):
        for more in (0, len(lines[count]) // 2):
            content = b"".join(lines)[: sum(map(len, lines[:count])) + more]
            path.write_bytes(content)

            (loss,) = find_losses(run)

            left = run.totals()
            assert loss.name == JOURNAL
            assert loss.why == f"ends after {len(content):,} bytes, and {sum(map(len, lines)):,} were written"
            assert loss.rows == 4 - left.rows
            assert loss.waste.spent_usd == pytest.approx(paid.spent_usd - left.spent_usd)
            assert not loss.is_strange
            assert verify(run, [SHARD]).problems[0] == f"{run.path}/{loss_text(loss)}"


@pytest.mark.parametrize("damage", ["gone", "another one", "zeros"])
def test_a_journal_that_is_not_the_one_is_found(run, damage):
    lines = killed(run)
    path = run.path / JOURNAL
    match damage:
        case "gone":
            path.unlink()
        case "another one":
            path.write_bytes(b"".join([*lines[:-2], *lines[-1:], *lines[-2:-1]]))
        case "zeros":
            path.write_bytes(bytes(len(b"".join(lines))))

    (loss,) = find_losses(run)

    assert (loss.name, loss.why.split(":")[0]) == (
        JOURNAL,
        "gone" if damage == "gone" else "not the journal that was written",
    )
    assert loss.rows == (0 if damage == "another one" else 4)


def test_a_loss_that_is_given_up_stays_in_the_books_and_is_no_loss_any_more(run):
    lines = killed(run)
    paid = run.totals().spent_usd
    (run.path / JOURNAL).write_bytes(b"".join(lines[:-2]))

    give_up(run, find_losses(run))

    assert find_losses(run) == []
    assert verify(run, [SHARD]).problems == []
    assert (run.totals().rows, run.totals().spent_usd) == (3, pytest.approx(paid))
    opened = run.open_shard(SHARD)
    opened.append(completion(3))
    opened.append(completion(4))
    opened.seal(INPUT)
    assert find_losses(run) == []
    assert run.totals().spent_usd == pytest.approx(paid + 0.5)


@pytest.mark.parametrize("left_in_order", [False, True])
def test_it_counts_once_when_a_crash_comes_between(run, monkeypatch, left_in_order):
    lines = killed(run)
    if left_in_order:
        run.note_left()
    paid = run.totals().spent_usd
    (run.path / JOURNAL).write_bytes(b"".join(lines[:-2]))
    with monkeypatch.context() as patch:
        patch.setattr(ChecksumLog, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            give_up(run, find_losses(run))

    give_up(run, find_losses(run))

    assert run.totals().spent_usd == pytest.approx(paid)
    assert find_losses(run) == []


def test_two_journals_of_a_shard_that_lack_something_are_one_loss(run):
    killed(run, [completion(0), completion(1)])
    killed(run, [completion(2), completion(3)])
    for number in (1, 2):
        path = run.path / f"journal/000000.{number}.log"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))

    (loss,) = find_losses(run)

    assert (loss.rows, loss.waste.spent_usd) == (2, 0.5)
    give_up(run, [loss])
    assert find_losses(run) == []


def test_nothing_is_due_before_it_is_synced(run):
    opened = run.open_shard(SHARD)
    run._group._thread = object()  # no group is synced but by us
    opened.append(completion(0))
    opened.flush()
    assert read_due(run.layout.due(0, 1)) is None
    run._group._sync()
    size = (run.path / JOURNAL).stat().st_size
    opened.append(completion(1))
    opened.flush()

    due = read_due(run.layout.due(0, 1))

    assert due is not None
    assert (due.size, due.tally.rows) == (size, 1)
    opened.close()
    run._group._thread = None


@pytest.mark.parametrize("content", [b"", b"\0" * DUE_BYTES, b"x" * DUE_BYTES, None])
def test_a_note_that_is_none_says_nothing(run, content):
    """A power loss may leave it so; and an earlier version's journals have none."""
    killed(run)
    note = run.layout.due(0, 1)
    assert note.stat().st_size == DUE_BYTES
    note.write_bytes(note.read_bytes()[:-9] if content is None else content)
    (run.path / JOURNAL).unlink()

    assert read_due(note) is None
    assert find_losses(run) == []


def test_a_disk_that_refuses_the_note_is_no_trouble_of_the_run_s(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(due_module, "write_at", full)
    killed(run)
    assert (read_due(run.layout.due(0, 1)), find_losses(run), run.totals().rows) == (None, [], 4)


def test_a_note_goes_with_its_journal_and_one_that_is_left_behind_is_no_loss(run):
    killed(run)
    kept = run.layout.due(0, 1).read_bytes()
    opened = run.open_shard(SHARD)
    opened.append(completion(4))
    opened.seal(INPUT)
    assert list((run.path / "journal").iterdir()) == []

    run.layout.due(0, 1).write_bytes(kept)

    assert find_losses(run) == []
    assert verify(run, [SHARD]).problems == []


def test_what_a_retry_had_got_is_due_although_the_shard_has_a_part(run):
    filled(run, results=[failure(0), *(completion(row) for row in range(1, 5))])
    opened = run.open_shard(SHARD, retry=lambda _: True)
    opened.append_sent(0, 1)
    opened.append(completion(0))
    opened.flush()
    run._group.flush()
    opened._journals.drop()
    assert find_losses(run) == []

    (run.path / JOURNAL).unlink()

    (loss,) = find_losses(run)
    assert (loss.why, loss.rows, loss.waste.cost_wasted_usd) == ("gone", 0, 0.25)


def test_a_tally_has_what_totals_have():
    wasted = {"wasted_prompt_tokens": 7, "wasted_completion_tokens": 1}
    results = [
        completion(0),
        failure(1),
        completion(2, cost_usd=None),
        completion(3, **wasted, cost_wasted_usd=0.5, attempts=3),
        completion(4, **wasted),
        dataclasses.replace(failure(5), **wasted, attempts=2),
    ]
    tally = Tally()
    for result in results:
        assert isinstance(result, Completion) == (result.row_id not in (1, 5))
        tally.count(result)
    changed = Tally()
    changed.change(totals_of(results))

    waste = totals_of(results).as_waste()

    assert Tally(*tally.sums(6)).totals.as_waste() == waste
    assert tally.sums(6)[0] == 6
    assert changed.totals.as_waste() == waste
    assert waste.waste_without_cost == 3
    assert Tally().totals == Totals()


def test_what_was_found_and_what_was_wasted_before_is_in_the_tally(run):
    """A second process: the first one's answers, and a row whose request it had paid in vain."""
    opened = run.open_shard(SHARD)
    opened.append(completion(0))
    opened.append_sent(1, 1)
    opened.append_back(1, Usage(prompt_tokens=10, completion_tokens=20), 0.125)
    opened.close()
    opened = run.open_shard(SHARD)
    opened.append_sent(1, 2)
    opened.append(completion(1))
    opened.flush()
    run._group.flush()

    due = read_due(run.layout.due(0, 2))

    assert due is not None
    assert due.tally.totals.as_waste() == run.totals().as_waste()
    opened.close()


# --- whose it is


def test_a_journal_begins_with_whose_it_is(run):
    lines = killed(run)

    assert decode(lines[0]) == {"t": "of", "run": "own", "generation": 1, "shard": 0, "journal": 1}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (dataclasses.replace(OWN, run_id="other"), "the journal of another run"),
        (dataclasses.replace(OWN, run_id=""), "the journal of another run"),
        (dataclasses.replace(OWN, generation=2), "the journal of generation 2, and the run is at 1"),
    ],
)
@pytest.mark.parametrize("had_one", [False, True])
def test_a_journal_of_another_run_is_never_taken_for_its_own(run, tmp_path, other, why, had_one):
    if had_one:
        killed(run)
    with_it = LockedRun.create(tmp_path / "other", other)
    killed(with_it, [completion(row, "a stranger's") for row in range(2)])
    with_it.close()
    shutil.copy(with_it.path / JOURNAL, run.path / JOURNAL)

    (loss,) = find_losses(run)

    assert (loss.name, loss.why) == (JOURNAL, why)
    assert (loss.is_strange, loss.rows) == (not had_one, 4 if had_one else 0)
    assert run.totals().rows == 0
    assert verify(run, [SHARD]).problems == [f"{run.path}/{loss_text(loss)}"]
    with pytest.raises(CorruptRun, match=why):
        run.open_shard(SHARD)
    if had_one:
        give_up(run, [loss])
        assert find_losses(run) == []
        assert run.open_shard(SHARD).pending == 5
        assert (run.path / f"{JOURNAL}.damaged").exists()


def test_a_second_copy_of_a_journal_is_told(run):
    killed(run)
    shutil.copy(run.path / JOURNAL, run.path / "journal/000000.2.log")

    (loss,) = find_losses(run)

    assert (loss.is_strange, loss.why) == (True, "a copy of the shard's journal 1")


def test_a_journal_without_an_origin_goes_on_as_an_earlier_version_s(run):
    lines = killed(run)
    (run.path / JOURNAL).write_bytes(b"".join(lines[1:]))
    run.layout.due(0, 1).unlink()

    assert find_losses(run) == []
    assert RunView.open(run.path).totals().rows == 4
    assert run.open_shard(SHARD).pending == 1


def test_a_run_keeps_its_id_when_it_is_planned_again_and_an_earlier_version_s_has_none():
    job, plan = OWN.job, OWN.plan

    again = dataclasses.replace(OWN, generation=3).planned_again(job, plan, generation=4)

    assert (again.run_id, again.generation) == ("own", 4)
    assert dataclasses.replace(OWN, run_id="").planned_again(job, plan, generation=1).run_id == ""
    assert type(OWN).of(job, plan).run_id != type(OWN).of(job, plan).run_id

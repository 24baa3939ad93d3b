"""Shards, parts, generations and the lock, on real files."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchlab.errors import UsageError
from batchlab.records import ChatRequest, Shard, Usage
from batchlab.result_columns import RESULT_COLUMNS, columns_since
from batchlab.store import parts
from batchlab.store.asking import AskAgain
from batchlab.store.generations import Generation
from batchlab.store.integrity.verify import verify
from batchlab.store.journals.journal import AskedInVain, encode
from batchlab.store.layout import foreign_files
from batchlab.store.locked import LockedRun
from batchlab.store.parts import part_results, part_totals
from batchlab.store.swap import swap_pending
from batchlab.store.view import RunView
from batchlab.store.working import WorkingRun
from batchlab.totals import RunningTotals, totals_of
from tests.store.journals.test_journal import completion, failure
from tests.store.manifests import manifest
from tests.store.shard_results import shard_results

SHARD = Shard(0, 0, 5)
MANIFEST = manifest(SHARD)
INPUT = pa.table({"text": [f"t{row}" for row in range(5)]})


@pytest.fixture
def run(tmp_path):
    store = LockedRun.create(tmp_path / "run", MANIFEST)
    yield store
    store.close()


def filled(run: LockedRun, shard: Shard = SHARD, results=None) -> LockedRun:
    opened = run.open_shard(shard)
    for result in results or [completion(shard.first_row + index) for index in range(shard.rows)]:
        opened.append_sent(result.row_id, 1)
        opened.append(result)
    opened.seal(INPUT)
    return run


def test_long_answers_are_written_and_read_some_at_a_time_also_when_they_are_sealed_again(run, monkeypatch):
    """A row group has as many rows as it may have bytes, and at least one; of short rows there are 2,000."""
    monkeypatch.setattr(parts, "GROUP_BYTES", 11_000)
    long, part = "x" * 4_000, run.part(0)
    answers = [completion(row, f"{row}{long}") for row in range(4)]
    filled(run, results=[*answers, failure(4)])
    assert parts.group_rows(part) == [2, 3]  # a failure is short

    again = run.open_shard(SHARD, retry=lambda _: True)
    again.append(completion(4, "4" + 3 * long))
    again.seal(INPUT)

    assert parts.group_rows(part)[-1] == 1
    assert max(parts.group_rows(part)) < 4
    assert [result.reply.completion[0] for result in part_results(part, "")] == list("01234")
    assert max(table.num_rows for table in parts.part_tables(part)) < 5
    assert verify(run, [SHARD]).problems == []


def test_a_sealed_shard_holds_input_and_results_in_order_and_no_journal(run):
    opened = run.open_shard(SHARD)
    for row in (3, 1, 4, 0, 2):
        opened.append(completion(row))
    totals = opened.seal(INPUT)

    table = pq.read_table(run.layout.part(0))
    assert table.column_names == ["text", *RESULT_COLUMNS]
    assert table["row_id"].to_pylist() == [0, 1, 2, 3, 4]
    assert list(part_results(run.layout.part(0), "")) == [completion(row) for row in range(5)]
    assert part_totals(run.layout.part(0)) == totals
    assert run.sealed() == {0}
    assert not list((run.path / "journal").iterdir())


def test_the_schema_of_a_part_without_errors_is_that_of_one_with_errors(run):
    filled(run)
    filled(run, Shard(1, 5, 5), [failure(5 + index) for index in range(5)])

    schemas = [pq.read_schema(run.layout.part(index)) for index in (0, 1)]

    assert schemas[0].equals(schemas[1])


def test_a_reopened_shard_knows_what_it_has_and_what_was_in_flight(run):
    opened = run.open_shard(SHARD)
    opened.append_sent(0, 1)
    opened.append(completion(0))
    opened.append_sent(1, 1)
    opened.append_sent(2, 1)
    opened.append_back(2, None)
    opened.close()

    again = run.open_shard(SHARD)

    assert [again.done(row) for row in range(5)] == [True, False, False, False, False]
    assert run.standing([SHARD])[1] == 1
    again.close()


def test_a_request_of_a_batch_has_come_back_in_the_record_that_tells_of_it(run):
    usage = Usage(prompt_tokens=7, completion_tokens=4, total_tokens=11)
    opened = run.open_shard(SHARD)
    opened.append_asked(AskedInVain(1, 1, "bl0-a", came_back=True))
    opened.append_asked(AskedInVain(2, 1, "bl0-a", came_back=True, usage=usage, usd=0.25))
    opened.append_asked(AskedInVain(3, 1, "bl0-a", came_back=False))
    opened.append_sent(4, 1)
    opened.close()

    again = run.open_shard(SHARD)

    assert [again.asked_by(row) for row in range(5)] == ["", "bl0-a", "bl0-a", "bl0-a", ""]
    assert [again.attempts(row) for row in range(5)] == [0, 1, 1, 1, 1]
    assert again.in_flight == 2  # that of row 3 may be billed, too
    again.close()
    totals = run.totals()
    assert (totals.attempts, totals.cut_off, totals.wasted_completion_tokens) == (4, 2, 4)
    assert totals.cost_wasted_usd == 0.25


def test_what_was_paid_before_a_crash_is_in_the_books_of_the_row_that_is_asked_again(run):
    usage = Usage(prompt_tokens=7, completion_tokens=4, total_tokens=11)
    opened = run.open_shard(SHARD)
    opened.append_sent(2, 1)
    opened.append_back(2, usage, 0.25)  # paid, and not kept
    opened.append_sent(2, 2)  # and then a crash
    opened.close()
    assert (run.totals().wasted_completion_tokens, run.totals().cut_off, run.totals().rows) == (4, 1, 0)

    again = run.open_shard(SHARD)
    running = RunningTotals()
    again.append(completion(2), running)
    again.flush()
    change = running.totals
    stored = next(result for result in shard_results(again) if result is not None)
    again.close()

    assert (stored.attempts, stored.cut_off, stored.wasted_prompt_tokens) == (3, 1, 7)
    assert stored.cost_wasted_usd == 0.25
    assert (change.rows, change.attempts, change.wasted_prompt_tokens) == (1, 1, 0)
    assert run.totals() == totals_of([stored])


def test_a_failed_row_that_is_asked_again_keeps_what_its_attempts_have_cost(run):
    paid = {"wasted_prompt_tokens": 5, "wasted_completion_tokens": 6, "cost_wasted_usd": 0.5, "cut_off": 1}
    failed = dataclasses.replace(failure(0), **paid)
    filled(run, results=[failed, *(completion(row) for row in range(1, 5))])
    before = run.totals()

    opened = run.open_shard(SHARD, retry=lambda _: True)
    opened.append_sent(0, 1)
    running = RunningTotals()
    opened.append(completion(0), running)
    opened.seal(INPUT)
    change = running.totals

    after = run.totals()
    assert (after.wasted_prompt_tokens, after.wasted_completion_tokens, after.cut_off) == (5, 6, 1)
    assert after.cost_wasted_usd == 0.5
    assert (after.failed, after.attempts) == (0, before.attempts + 1)
    assert before + change == after


def test_the_totals_of_sealed_shards_are_known_without_opening_a_part(run):
    filled(run, results=[failure(0), *(completion(row) for row in range(1, 5))])
    expected = run.totals()

    run.layout.part(0).write_bytes(b"not read")

    assert run.totals() == expected
    assert run.shards_to_ask(AskAgain()) == {0}


def test_a_run_whose_log_has_no_totals_takes_them_from_the_footers(run):
    """As an earlier version wrote it."""
    filled(run)
    expected = run.totals()
    log = run.path / "checksums.log"
    log.write_bytes(encode(b'{"part": "part-000000.parquet", "blake2b": "x"}'))

    assert run.totals() == expected
    assert expected.rows == 5


def test_the_totals_of_a_shard_sealed_twice_are_those_of_the_second_time(run):
    filled(run, results=[failure(0), *(completion(row) for row in range(1, 5))])

    opened = run.open_shard(SHARD, retry=lambda _: True)
    opened.append(completion(0))
    opened.seal(INPUT)

    assert (run.totals().failed, run.totals().rows) == (0, 5)
    assert run.totals() == part_totals(run.layout.part(0))


@pytest.mark.parametrize("retry", [None, lambda _: True])
def test_where_a_run_goes_on_is_what_a_reader_sees_of_it(run, retry):
    """A sealed shard, one that was sealed and is asked again, and four with journals only."""
    shards = [Shard(index, 5 * index, 5) for index in range(6)]
    filled(run, shards[0])
    filled(run, shards[1], [failure(5), *(completion(row) for row in range(6, 10))])
    opened = run.open_shard(shards[1], retry=lambda _: True)
    opened.append_sent(5, 2)
    opened.close()
    for shard in shards[2:]:
        opened = run.open_shard(shard)
        opened.append_sent(shard.first_row, 1)
        opened.append(failure(shard.first_row))
        opened.append_sent(shard.first_row, 2)
        opened.append(completion(shard.first_row))
        opened.append(failure(shard.first_row + 1))
        opened.append_sent(shard.first_row + 2, 1)
        opened.append_back(shard.first_row + 2, Usage(7, 4, 11), 0.25)
        opened.append_sent(shard.first_row + 3, 1)
        opened.close()

    totals, in_flight = run.standing(shards, retry=retry)

    assert totals == run.totals()
    assert in_flight == 1 + 4
    for shard in shards[2:]:
        again = run.open_shard(shard, retry=retry)
        assert again.done(shard.first_row)
        assert again.done(shard.first_row + 1) == (retry is None)
        again.close()


def test_a_later_answer_replaces_a_failure_but_never_an_answer(run):
    filled(run, results=[failure(0), *(completion(row) for row in range(1, 5))])

    opened = run.open_shard(SHARD, retry=lambda one: one.error_class == "server")
    assert [opened.done(row) for row in range(5)] == [False, True, True, True, True]
    assert opened.reopened == 1
    opened.append(completion(1, "another"))
    opened.append(completion(0, "at last"))
    opened.seal(INPUT)

    texts = [result.reply.completion for result in part_results(run.layout.part(0), "")]
    assert texts == ["at last", "answer", "answer", "answer", "answer"]


def half(row: int, **more):
    """A row whose answer was cut off."""
    return replace(completion(row), status="truncated", **more)


ONLY_TRUNCATED = AskAgain(("truncated",), max_tokens=400)


def test_a_cut_off_answer_is_replaced_by_a_retry_that_names_it_and_its_cost_is_waste(run):
    filled(run, results=[half(0, cost_usd=0.5), failure(1), *(completion(row) for row in range(2, 5))])
    before = run.totals()
    assert run.shards_to_ask(AskAgain()) == run.shards_to_ask(ONLY_TRUNCATED) == {0}
    assert run.shards_to_ask(AskAgain(("empty",))) == set()
    assert run.open_shard(SHARD, retry=AskAgain()).reopened == 1  # the failed one

    opened = run.open_shard(SHARD, retry=ONLY_TRUNCATED)
    assert [opened.asks_again(row) for row in range(5)] == [True, False, False, False, False]
    running = RunningTotals()
    opened.append_sent(0, 1)
    opened.append(completion(0, "whole"), running)
    opened.seal(INPUT)

    after = run.totals()
    stored = next(part_results(run.layout.part(0), ""))
    assert (stored.status, stored.reply.completion) == ("ok", "whole")
    assert (stored.attempts, stored.cost_wasted_usd) == (half(0).attempts + completion(0).attempts, 0.5)
    assert (after.truncated, after.ok, after.failed) == (0, 4, 1)
    assert after.wasted_completion_tokens == half(0).reply.usage.completion_tokens
    assert before + running.totals == after


def test_a_row_that_fails_when_it_is_asked_again_keeps_the_answer_that_was_paid(run):
    filled(run, results=[half(0, cost_usd=0.5), *(completion(row) for row in range(1, 5))])
    before = run.totals()
    paid = replace(failure(0), wasted_completion_tokens=3, wasted_prompt_tokens=0, cost_wasted_usd=0.25)

    opened = run.open_shard(SHARD, retry=ONLY_TRUNCATED)
    running = RunningTotals()
    opened.append_sent(0, 1)
    opened.append(paid, running)
    opened.close()
    read = run.open_results(0)
    run.open_shard(SHARD).seal(INPUT)

    stored = next(part_results(run.layout.part(0), ""))
    assert (stored.status, stored.cost_usd, stored.cost_wasted_usd) == ("truncated", 0.5, 0.25)
    assert stored.attempts == half(0).attempts + paid.attempts
    assert stored.wasted_completion_tokens == 3
    assert read.by_row[0] == stored
    assert run.totals() == before + running.totals == read.totals()


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("was_answered", [True, False])
def test_a_retry_that_is_killed_leaves_the_truth_and_is_not_gone_on_with_by_a_plain_run(
    run, is_sealed, was_answered
):
    usage = Usage(prompt_tokens=7, completion_tokens=4, total_tokens=11)
    results = [half(0, cost_usd=0.5), *(completion(row) for row in range(1, 5))]
    if is_sealed:
        filled(run, results=results)
    else:
        opened = run.open_shard(SHARD)
        for result in results:
            opened.append(result)
        opened.close()

    opened = run.open_shard(SHARD, retry=ONLY_TRUNCATED)
    opened.append_sent(0, 1)
    opened.append_back(0, usage, 0.25)
    opened.append_sent(0, 2)
    if was_answered:
        opened.append(replace(completion(0, "whole"), attempts=2, wasted_prompt_tokens=7,
                              wasted_completion_tokens=4, cost_wasted_usd=0.25))  # fmt: skip
    opened.close()  # and no more
    journals = {path: path.read_bytes() for path in run.layout.journal_files(0)}
    seen = run.totals()

    again = run.open_shard(SHARD)
    assert again.complete
    assert (again.reopened, again.found) == (0, seen)
    again.seal(INPUT)

    stored = next(part_results(run.layout.part(0), ""))
    assert run.totals() == part_totals(run.layout.part(0)) == seen
    assert stored.status == ("ok" if was_answered else "truncated")
    assert stored.attempts == half(0).attempts + 2
    assert stored.cost_wasted_usd == (0.75 if was_answered else 0.25)
    assert stored.cut_off == (0 if was_answered else 1)
    if was_answered:  # the part was published, and a crash left the journal
        for path, content in journals.items():
            path.write_bytes(content)
        run.open_shard(SHARD).seal(INPUT)
        assert next(part_results(run.layout.part(0), "")) == stored


def test_a_retry_after_one_that_was_killed_asks_what_is_not_answered_yet(run):
    filled(run, results=[half(0), half(1), *(completion(row) for row in range(2, 5))])
    opened = run.open_shard(SHARD, retry=ONLY_TRUNCATED)
    opened.append(completion(0, "whole"))
    opened.append_sent(1, 1)
    opened.close()

    again = run.open_shard(SHARD, retry=ONLY_TRUNCATED)
    assert [again.done(row) for row in range(5)] == [True, False, True, True, True]
    assert again.reopened == 1
    stored = again.append(completion(1, "whole, too"))
    again.seal(INPUT)

    assert (stored.cut_off, stored.attempts) == (1, half(1).attempts + 1 + completion(1).attempts)
    assert run.totals() == part_totals(run.layout.part(0))
    assert run.totals().truncated == 0


def test_a_crash_between_publishing_a_part_and_deleting_its_journal_is_harmless(run):
    opened = run.open_shard(SHARD)
    for row in range(5):
        opened.append(completion(row))
    opened.flush()
    journal = next((run.path / "journal").iterdir())
    content = journal.read_bytes()
    opened.seal(INPUT)
    journal.write_bytes(content)  # as if the unlink had never happened

    again = run.open_shard(SHARD)
    assert again.complete
    again.seal(INPUT)

    assert list(part_results(run.layout.part(0), "")) == [completion(row) for row in range(5)]
    assert run.sealed() == {0}


def test_verify_accepts_a_good_run_and_counts_pending_rows(run):
    filled(run)
    opened = run.open_shard(Shard(1, 5, 5))
    opened.append(completion(5))
    opened.flush()

    report = verify(run, [SHARD, Shard(1, 5, 5), Shard(2, 10, 5)])
    opened.close()

    assert report.problems == []
    assert (report.totals.rows, report.pending) == (6, 9)


def test_verify_finds_a_flipped_bit_a_missing_row_and_a_stranger(run):
    filled(run)
    path = run.layout.part(0)
    good = path.read_bytes()
    for place in range(0, len(good), 97):
        damaged = bytearray(good)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert verify(run, [SHARD]).problems, f"byte {place}"

    path.write_bytes(good)
    assert verify(run, [replace(SHARD, rows=6)]).problems
    assert "no input row belongs to" in verify(run, []).problems[0]


def test_what_must_not_be_called_is_not_there(run):
    """A reader leaves all as it is, and a worker can only open shards."""
    filled(run)
    opened = run.open_shard(Shard(1, 5, 5))
    opened.append(completion(5))
    opened.close()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    view = RunView.open(run.path)

    assert view.totals().rows == 6
    assert (view.sealed(), view.unsealed(), view.shards_to_ask(AskAgain())) == ({0}, {1}, set())
    assert [len(list(view.shard_results(index))) for index in (0, 1, 2)] == [5, 1, 0]
    assert len(list(view.all_results())) == 6
    assert [table.num_rows for table in view.shard_tables(SHARD, lambda: INPUT)] == [5]
    assert (view.error_counts(), view.lock_holder(), view.roll()) == ({}, os.getpid(), None)
    assert list(view.noted().parts) == [view.part(0).name]
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before

    def offers(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert offers(WorkingRun) - offers(RunView) == {"check_disk", "close", "open_shard", "synced_results"}
    assert offers(LockedRun) - offers(WorkingRun) >= {"create", "write_manifest", "take_next", "write_roll"}


def test_the_run_directory_is_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        run = filled(LockedRun.create(tmp_path / "run", MANIFEST))
        run.close()
    finally:
        os.umask(old)

    modes = {
        path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")
    }
    assert all(mode == (0o700 if (tmp_path / name).is_dir() else 0o600) for name, mode in modes.items()), (
        modes
    )


def _try_lock(path: Path, barrier, outcomes) -> None:
    barrier.wait()
    try:
        LockedRun.open(path)
    except UsageError as error:
        outcomes.put(str(error))
    else:
        outcomes.put("locked")
    barrier.wait()


def test_of_two_processes_exactly_one_gets_the_run(tmp_path):
    LockedRun.create(tmp_path / "run", MANIFEST).close()
    context = multiprocessing.get_context("spawn")
    barrier, outcomes = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_try_lock, args=(tmp_path / "run", barrier, outcomes)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    said = sorted(outcomes.get() for _ in range(2))

    assert said.count("locked") == 1
    assert "in use by process" in said[0]
    assert os.uname().nodename in said[0]


def request(row: int, like: int) -> ChatRequest:
    """Row `row` asking what row `like` asked before."""
    return ChatRequest(
        row_id=row, custom_id=f"new-{row}", body={}, request_hash=like.to_bytes(16, "big"), prompt_bytes=1
    )


def moved(run: LockedRun, likes: list[int]) -> int:
    """Moves the run to a plan whose rows ask what `likes` says; returns how many answers were kept."""
    shard = Shard(0, 0, len(likes))
    moved_to = manifest(shard, generation=run.manifest.generation + 1)
    table = pa.table({"text": [f"u{like}" for like in likes]})
    with Generation(run, moved_to) as generation:
        generation.add_shard(
            shard,
            iter([request(row, like) for row, like in enumerate(likes)]),
            lambda: table,
        )
        generation.commit()
        return generation.kept


def test_a_new_generation_keeps_answers_by_request_and_each_answer_once(run):
    filled(run)

    kept = moved(run, [4, 0, 9, 0])

    assert kept == 2  # row 9 is new, and the second 0 is a row of its own
    opened = run.open_shard(Shard(0, 0, 4))
    assert [opened.done(row) for row in range(4)] == [True, True, False, False]
    opened.close()
    assert (run.path / "previous/1/completions/part-000000.parquet").exists()


def test_going_back_finds_the_answers_of_an_earlier_generation(run):
    filled(run)
    assert moved(run, [9, 9]) == 0

    assert moved(run, [0, 1, 2, 3, 4]) == 5
    assert moved(run, [0, 0]) == 1
    assert run.totals().rows == 1


def test_a_crash_at_any_step_of_the_swap_is_finished_by_the_next_lock(tmp_path, monkeypatch):
    """Raises at the n-th rename, for growing n, until the swap runs through."""
    real = Path.rename
    for step in range(1, 40):
        run = filled(LockedRun.create(tmp_path / f"run{step}", MANIFEST))
        left = step

        def failing(self, target):
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", failing)
            try:
                moved(run, [4, 0, 9])
                finished = True
            except KeyboardInterrupt:
                finished = False
        run.close()

        again = LockedRun.open(run.path)
        kept = again.totals().rows
        if swap_pending(run.path) or again.manifest.generation == 1:
            assert kept == 5, f"step {step}: the old generation is whole"
        else:
            assert kept == 2, f"step {step}: the new generation is whole"
        again.close()
        if finished:
            return
    pytest.fail("the swap never ran through")


@pytest.mark.parametrize("written_as", [1, 2])
def test_a_part_of_an_earlier_batchlab_is_read_with_nulls_for_later_columns(run, written_as):
    """Its input may even have a column of such a name, which is no result."""
    later = set(columns_since(written_as))
    taken = min(later)
    inputs = INPUT.append_column(taken, pa.array(["mine"] * 5))
    opened = run.open_shard(SHARD)
    for row in range(5):
        opened.append(completion(row))
    opened.seal(INPUT)
    path = run.layout.part(0)
    table = pq.read_table(path)
    old = table.select([name for name in RESULT_COLUMNS if name not in later])
    for name in reversed(inputs.column_names):
        old = old.add_column(0, inputs.field(name), inputs[name])
    metadata = {**pq.read_metadata(path).metadata, b"batchlab.format": b"%d" % written_as}
    pq.write_table(old.replace_schema_metadata(metadata), path)

    assert list(part_results(path, "")) == [completion(row) for row in range(5)]
    for name in sorted(later):
        old = old.drop_columns(name) if name in old.column_names else old
    pq.write_table(old.replace_schema_metadata(metadata), path)
    (whole,) = run.shard_tables(SHARD, lambda: INPUT)
    assert whole.column_names == ["text", *RESULT_COLUMNS]
    assert whole[taken].null_count == 5


def test_what_a_kill_leaves_of_a_run_that_was_being_made_is_not_foreign_to_the_next(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LockedRun, "write_manifest", killed)
    monkeypatch.setattr(LockedRun, "close", lambda self: None)  # nobody tidies up

    with pytest.raises(KeyboardInterrupt):
        LockedRun.create(tmp_path / "r", MANIFEST)

    assert (tmp_path / "r/ballast").exists()
    assert foreign_files(tmp_path / "r") == []

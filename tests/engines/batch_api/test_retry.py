"""Rows that are asked again by batches which nobody waits for: ordered once, taken home, and no row forgotten."""

from __future__ import annotations

import pytest

SHORT, LONG = ("--max-tokens", "5"), ("--only", "truncated", "--max-tokens", "4000")


@pytest.fixture
def cut_off(lane, rows_file):
    """A run whose answers were all cut off, at a service whose later batches take a while."""

    def start(rows: int, *words: str, **batch):
        at = lane("openai", batch={"seconds": 60.0, **batch})
        assert at.run(rows_file(rows), *SHORT, "--detach", *words).code == 3
        at.server.forward(100)
        while at.command("collect", str(at.directory)).code == 3:
            at.server.forward(100)
        return at

    return start


def test_a_retry_is_left_to_its_service_and_taken_home(cut_off):
    at = cut_off(12)

    left = at.command("retry", str(at.directory), *LONG, "--detach")
    told, listed = at.command("status", str(at.directory)), at.command("ls")
    early = at.command("collect", str(at.directory))
    at.server.forward(100)
    done = at.command("collect", str(at.directory))
    after = at.command("collect", str(at.directory))

    assert (left.code, early.code, done.code, after.code) == (3, 3, 0, 0), done.err
    assert "out: 1 batch of 12 rows" in left.err
    assert "--detach" not in left.err.partition("to go on, and wait: ")[2]
    assert "waiting for 1 batch" in told.out
    assert "to take home what has ended: batchlab collect" in told.out
    assert "waiting for 1 batch" in listed.out
    assert at.sizes() == [12, 12]
    at.check(answered=12)


def test_what_had_no_room_is_ordered_by_collect_and_each_row_once(cut_off):
    at = cut_off(40, "--shard-rows", "2")

    assert at.command("retry", str(at.directory), *LONG, "--detach").code == 3
    first = len(at.log().out)
    at.server.forward(100)
    then = at.command("collect", str(at.directory))
    at.server.forward(100)
    done = at.command("collect", str(at.directory))

    assert (first, then.code, done.code) == (16, 3, 0), then.err + done.err
    assert at.sizes() == [2] * 40
    at.check(answered=40)


def test_lines_that_expired_go_out_again_as_the_retry_asked_for_them(cut_off):
    at = cut_off(10, faults=[{"kind": "batch_expires", "every": 2, "share": 0.5}])

    assert at.command("retry", str(at.directory), *LONG, "--detach").code == 3
    at.server.forward(90_000)
    again = at.command("collect", str(at.directory))
    at.server.forward(100)
    done = at.command("collect", str(at.directory))

    assert (again.code, done.code) == (3, 0), again.err + done.err
    assert at.sizes() == [5, 10, 10]
    print(
        [
            (b.key, b.rows, b.is_retry, b.max_tokens, b.step, b.phase, b.answered, b.failed)
            for b in at.log().by_key.values()
        ],
        again.err,
        done.err,
    )
    at.check(answered=10)


def test_what_fails_again_is_asked_no_more_by_a_cron_table(lane, rows_file):
    fault = {"kind": "status_error", "status": 400, "rows": ["The 3th remark", "The 9th remark"], "times": 9}
    at = lane("openai", batch={"seconds": 60.0}, faults=[fault])
    once = ("--max-tokens", "4000", "--max-attempts", "1")
    assert at.run(rows_file(12), *once, "--detach").code == 3
    at.server.forward(100)
    assert at.command("collect", str(at.directory)).code == 1

    assert at.command("retry", str(at.directory), "--detach").code == 3
    at.server.forward(100)
    codes = [at.command("collect", str(at.directory)).code for _ in range(3)]

    assert codes == [1, 1, 1]
    assert at.sizes() == [2, 12]


def test_a_retry_that_was_called_off_is_not_ordered_again(cut_off):
    at = cut_off(12)

    assert at.command("retry", str(at.directory), *LONG, "--detach").code == 3
    assert at.command("cancel", str(at.directory)).code == 0
    after = at.command("collect", str(at.directory))

    assert after.code == 0, after.err
    assert at.sizes() == [12, 12]
    assert not at.log().out


def test_a_retry_without_batches_cannot_be_left(lane, rows_file):
    at = lane("openai")
    assert at.run(rows_file(4), *SHORT, "--lane", "live").code == 0

    refused = at.command("retry", str(at.directory), *LONG, "--detach")

    assert refused.code == 2
    assert "leaves batches to their service" in refused.err


@pytest.mark.parametrize("command", ["retry", "collect", "cancel"])
def test_a_flag_that_a_command_does_not_take_is_told_to_be_another_s(cut_off, monkeypatch, command):
    """Messages name settings, which commands that go on with a run have no flags for."""
    at = cut_off(4)
    noted = at.command("retry", str(at.directory), *LONG, "--detach")
    monkeypatch.delenv("SIMULATOR_KEY")

    told = at.command(command, str(at.directory))

    assert noted.code == 3
    assert told.code == 2
    assert "--api-key-file FILE (of batchlab run)" in told.err

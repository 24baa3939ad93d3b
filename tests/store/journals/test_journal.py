"""The journal: torn is told from damaged, and nothing is silently wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.errors import CorruptRun
from batchlab.records import Completion, Failure, Reply, Timing, Usage
from batchlab.run_end import RunStopped
from batchlab.store.disk.files import AppendFile
from batchlab.store.journals.journal import (
    JournalScan,
    back_record,
    decode,
    encode,
    repaired_records,
    result_of,
    result_record,
    sent_record,
)


def completion(row: int, text: str = "answer", **more) -> Completion:
    reply = Reply(
        completion=text,
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, raw="{}"),
    )
    timing = Timing(
        started_at=1_700_000_000.25 + row, finished_at=1_700_000_001.5 + row, latency_ms=1250.0, queue_ms=2.0
    )
    fields = {"status": "ok", "attempts": 1, "cost_usd": 0.25} | more
    return Completion(
        row_id=row,
        custom_id=f"id-{row}",
        request_hash=row.to_bytes(16, "big"),
        reply=reply,
        timing=timing,
        **fields,
    )


def failure(row: int, error_class: str = "server") -> Failure:
    return Failure(
        row_id=row,
        custom_id=f"id-{row}",
        error_class=error_class,
        error_message="no",
        error_code=503,
        request_hash=row.to_bytes(16, "big"),
        attempts=6,
    )


def scanned(path) -> tuple[JournalScan, list]:
    scan = JournalScan(path)
    return scan, [record.data for record in scan.records()]


@given(text=st.text(), row=st.integers(0, 2**40))
def test_a_result_comes_back_as_it_was(text, row):
    for result in (completion(row % 2**63, text.encode("utf-8", "replace").decode()), failure(row)):
        data = decode(result_record(result))

        assert data is not None
        assert result_of(data) == result


def test_a_journal_cut_at_any_byte_loses_at_most_its_last_record(tmp_path):
    records = [result_record(completion(row)) for row in range(6)]
    whole = b"".join(records)
    ends = [len(b"".join(records[: count + 1])) for count in range(6)]
    path = tmp_path / "000000.1.log"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])

        kept = list(repaired_records(path))

        assert len(kept) == sum(end <= cut for end in ends)
        assert path.stat().st_size == (ends[len(kept) - 1] if kept else 0)


def test_a_flipped_bit_anywhere_is_never_a_silently_wrong_row(tmp_path):
    originals = [completion(row) for row in range(4)]
    whole = b"".join(map(result_record, originals))
    path = tmp_path / "000000.1.log"
    for bit in range(0, len(whole) * 8, 5):  # each byte once or twice
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)

        scan, kept = scanned(path)

        results = [result_of(data) for data in kept]
        assert all(result in originals for result in results)
        assert len(results) >= 2 if damaged.count(b"\n") != 4 else len(results) == 3
        assert scan.damaged or scan.torn_bytes


def test_damage_before_a_good_record_stops_once_keeps_a_copy_and_goes_on(tmp_path):
    records = [result_record(completion(row)) for row in range(3)]
    path = tmp_path / "000000.1.log"
    damaged = records[0] + records[1].replace(b"answer", b"ansWer") + records[2]
    path.write_bytes(damaged)

    with pytest.raises(CorruptRun, match="damaged"):
        list(repaired_records(path))

    assert (tmp_path / "000000.1.log.damaged").read_bytes() == damaged
    assert [result_of(record.data).row_id for record in repaired_records(path)] == [0, 2]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"deadbeef 12 {}", b"\n\n", b"0" * 100])
def test_what_a_crash_leaves_at_the_end_is_cut_off(tmp_path, tail):
    path = tmp_path / "000000.1.log"
    good = result_record(completion(0))
    path.write_bytes(good + tail)

    assert len(list(repaired_records(path))) == 1
    assert path.read_bytes() == good


@given(st.binary(max_size=300))
def test_no_line_however_strange_raises(line):
    decode(line)


def test_a_full_disk_takes_back_the_half_written_record_and_stops_the_run(tmp_path):
    """RLIMIT_FSIZE makes the kernel write a part, then refuse: what a full disk does."""
    code = f"""
import resource, sys
from pathlib import Path
from batchlab.run_end import RunStopped
from batchlab.store.disk.files import AppendFile
from batchlab.store.journals.journal import encode
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
file = AppendFile(Path({str(tmp_path / "x.log")!r}))
try:
    for number in range(100):
        file.append(encode(b'"' + b"x" * 90 + b'"'))
except RunStopped as error:
    print(number, error.reason, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "disk" in done.stdout, done.stderr

    lines = (tmp_path / "x.log").read_bytes().splitlines(keepends=True)
    assert len(lines) == int(done.stdout.split()[0])
    assert all(line == encode(b'"' + b"x" * 90 + b'"') for line in lines)


def test_p1_every_acknowledged_record_survives_sigkill(tmp_path):
    code = f"""
from pathlib import Path
from batchlab.store.disk.files import AppendFile
from batchlab.store.journals.journal import sent_record
file = AppendFile(Path({str(tmp_path / "x.log")!r}))
for row in range(10_000_000):
    file.append(sent_record(row, 1))
    print(row, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(300):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        said = process.stdout.read().split()
    last = int(said[-1]) if said else 299

    rows = [record.data["row"] for record in JournalScan(tmp_path / "x.log").records()]

    assert rows[: last + 1] == list(range(last + 1))


def test_what_the_records_of_attempts_say():
    usage = Usage(prompt_tokens=3, completion_tokens=2)

    assert decode(sent_record(7, 2)) == {"t": "sent", "row": 7, "attempt": 2}
    assert decode(back_record(7, None, None)) == {"t": "back", "row": 7, "usage": None, "usd": None}
    back = decode(back_record(7, usage, 0.5))
    assert back is not None
    assert Usage(**back["usage"]) == usage
    assert result_of({"t": "sent", "row": 7}) is None
    assert decode(encode(b"[1]")) is None
    assert decode(encode(b"no json")) is None
    assert decode(sent_record(7, 2)[:-1]) is None


def test_zeros_for_a_write_that_a_power_loss_dropped_hide_no_other_record(tmp_path):
    path = tmp_path / "000000.1.log"
    records = [result_record(completion(row)) for row in range(4)]
    path.write_bytes(records[0] + bytes(len(records[1])) + records[2] + bytes(900) + records[3] + bytes(70))

    found = list(repaired_records(path))

    assert [record.data["v"]["row_id"] for record in found] == [0, 2, 3]
    content = path.read_bytes()
    assert [content[record.offset :][: record.length] for record in found] == [
        records[0],
        records[2],
        records[3],
    ]
    assert content.endswith(records[3])  # the zeros at the end are a torn tail


def test_append_returns_where_the_record_begins(tmp_path):
    file = AppendFile(tmp_path / "x.log")
    first, second = sent_record(1, 1), sent_record(2, 1)

    assert [file.append(first), file.append(second)] == [0, len(first)]
    assert file.read(len(first), len(second)) == second
    assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o600
    file.close()


def test_a_directory_that_is_gone_stops_the_run_with_one_line(tmp_path):
    with pytest.raises(RunStopped, match="x.log"):
        AppendFile(tmp_path / "nowhere" / "x.log")


def test_a_scan_says_where_the_damage_is_and_how_long_the_torn_end(tmp_path):
    one, two, three = (result_record(completion(row)) for row in range(3))
    broken = two.replace(b"answer", b"ansWer")
    path = tmp_path / "000000.1.log"
    path.write_bytes(one + broken + three + b"torn")

    scan, _ = scanned(path)

    assert scan.damaged == [(len(one), len(broken))]
    assert scan.good_bytes == len(one + broken + three)
    assert scan.torn_bytes == 4


def test_an_empty_journal_has_no_good_byte(tmp_path):
    path = tmp_path / "000000.1.log"
    path.write_bytes(b"xyz")

    scan, kept = scanned(path)

    assert (kept, scan.good_bytes, scan.torn_bytes, scan.damaged) == ([], 0, 3, [])

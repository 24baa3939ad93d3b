"""What is known of each row while a plan is made: exact, however much of it is on disk."""

from __future__ import annotations

import json
import tempfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.costs.lengths import EXACT, Lengths, coarse
from batchlab.errors import UsageError
from batchlab.inputs import plan as planning
from batchlab.inputs import spill as spilling
from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.spill import Spill
from batchlab.job.file import job_from

HASHES = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)


@pytest.fixture(params=[1, 2, 3, 1 << 17], ids=lambda rows: f"blocks of {rows}")
def block_rows(request, monkeypatch) -> int:
    monkeypatch.setattr(spilling, "BLOCK_ROWS", request.param)
    monkeypatch.setattr(planning, "BLOCK_ROWS", request.param)
    return request.param


@given(st.lists(st.tuples(HASHES, st.integers(-(2**63), 2**63 - 1)), max_size=60), st.integers(1, 20))
def test_every_record_comes_back_once_beside_those_of_its_hash_in_their_order(records, block):
    spill = Spill(2)
    for number, record in enumerate(records):
        spill.add(*record)
        if number % block == 0:
            spill.write_block()

    groups = [group.tolist() for group in spill.groups()]
    spill.close()

    assert Counter(tuple(one) for group in groups for one in group) == Counter(records)
    for wanted in {hash_ for hash_, _ in records}:
        [group] = [group for group in groups if any(one[0] == wanted for one in group)]
        assert [one[1] for one in group if one[0] == wanted] == [v for h, v in records if h == wanted]


def test_no_room_for_it_is_one_line_with_the_remedy(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    spill = Spill(1)
    spill.add(1)

    with pytest.raises(UsageError, match=r"No space left on device.*set TMPDIR"):
        spill.write_block()


def test_memory_does_not_grow_with_the_records():
    spill = Spill(1)
    for _ in range(10):
        spill.pending.extend(range(1 << 17))
        spill.write_block()

    assert len(spill.pending) == 0
    assert max(len(group) for group in spill.groups()) < (10 << 17) // 100
    spill.close()


@given(st.lists(st.integers(0, 1 << 24)))
def test_sizes_are_counted_each_and_large_ones_near_each_other_together(sizes):
    lengths = Lengths()
    for size in sizes:
        lengths.add(size)

    counts = lengths.counts()

    assert list(counts) == sorted(counts)
    assert counts == Counter(map(coarse, sizes))
    for size in sizes:
        assert coarse(size) == size if size < EXACT else size * 0.999 <= coarse(size) <= size
    assert [coarse(size) for size in sorted(sizes)] == sorted(map(coarse, sizes))


def planned(tmp_path, rows, *, details=True, **own):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = job_from(
        {"input": {"path": str(path), **own}, "request": {"model": "m", "prompt": "{text}", "system": "s"}}
    )
    return plan_input(job, open_source(str(path)), details=details)


@pytest.mark.parametrize("own", [{}, {"id": "id"}, {"row_params": "own"}])
def test_repeated_requests_and_sizes_are_exact(tmp_path, block_rows, own):
    texts = [f"t{number % 7}" * (number % 3) for number in range(50)]
    rows = [{"id": f"r{n}", "text": text, "own": {"seed": 1}} for n, text in enumerate(texts)]

    found = planned(tmp_path, rows, **own)

    assert found.problems == []
    assert found.repeated == len(texts) - len(set(texts))
    assert found.lengths == Counter(len(text) + 1 for text in texts)
    assert planned(tmp_path, rows, details=False, **own).repeated == 0


def test_duplicate_ids_are_named_with_both_rows_the_first_20_of_them(tmp_path, block_rows):
    rng = np.random.default_rng(7)
    ids = [str(number) for number in range(300)]
    again = sorted(rng.choice(np.arange(150, 300), 30, replace=False).tolist())
    for row in again:
        ids[row] = ids[int(rng.integers(0, 150))]
    seen: dict[str, int] = {}
    wanted = []
    for number, one in enumerate(ids, 1):
        if one in seen:
            wanted.append((seen[one], number))
        seen[one] = number

    found = planned(tmp_path, [{"id": one, "text": "t"} for one in ids], id="id")

    said = [
        str(problem).partition(": rows ")[2].partition(" have the same id")[0] for problem in found.problems
    ]
    assert said == [f"{first} and {second}" for first, second in wanted[:20]]


def test_ids_whose_hashes_are_equal_are_still_two(tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr(
        planning, "hash", lambda text: len(text) if "\0" not in text else hash(text), raising=False
    )

    found = planned(tmp_path, [{"id": str(number), "text": "t"} for number in range(100)], id="id")

    assert found.problems == []

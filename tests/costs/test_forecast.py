"""What a pilot says of the rows that it did not send."""

from __future__ import annotations

import random

import numpy as np
import pytest

from batchlab.costs.forecast import Forecast, Measured, Stratum, forecast, strata, total_range
from batchlab.costs.pilot_pace import SeenPace, seen_pace
from tests.proofs.costs.coverage import JOBS, coverage


@pytest.mark.parametrize("name", JOBS)
def test_the_interval_contains_the_truth_at_least_85_times_in_100(name):
    """The short form of `python -m tests.proofs.costs.coverage`; fixed seeds, so it never wavers."""
    found = coverage(JOBS[name], jobs=60, rows=1_000, pilot=100)

    assert min(share for share, _ in found.values()) >= 0.8, found  # 60 jobs: 85 % ± 5 %


def test_a_sample_has_rows_of_every_size_and_none_twice():
    sizes = {row: row for row in range(1_000)}

    found = strata(sizes, 50, random.Random(1))

    sampled = [row for stratum in found for row in stratum.sampled]
    assert len(sampled) == len(set(sampled)) == 50
    assert sum(stratum.rows for stratum in found) == 1_000
    assert sum(stratum.size for stratum in found) == sum(sizes.values())
    assert all(
        200 * number <= row < 200 * (number + 1) for number, one in enumerate(found) for row in one.sampled
    )


def test_a_sample_of_all_rows_leaves_nothing_open():
    sizes = dict.fromkeys(range(12), 4)
    found = strata(sizes, 12, random.Random(1))
    measured = {row: Measured(10, row, 0.5, 1.0) for row in range(12)}

    made = forecast(found, measured, concurrency=4, seen=None, rpm=None, tpm=None)

    assert (made.completion_tokens.low, made.completion_tokens.high) == (66, 66)
    assert made.cost_usd is not None
    assert made.cost_usd.low == made.cost_usd.high == pytest.approx(6.0)
    assert Forecast.from_json(made.to_json()) == made


def test_rows_that_are_all_alike_leave_nothing_open_either():
    found = total_range([np.full(10, 3.0)], [1_000])

    assert (found.low, found.middle, found.high) == (3_000, 3_000, 3_000)


def test_one_row_without_a_price_makes_the_cost_unknown():
    found = strata(dict.fromkeys(range(20), 4), 10, random.Random(1))
    measured = {row: Measured(1, 1, None, 1.0) for row in range(20)}

    assert forecast(found, measured, concurrency=4, seen=None, rpm=None, tpm=None).cost_usd is None


def test_the_time_is_bound_by_whatever_is_slowest():
    found = strata(dict.fromkeys(range(600), 4), 60, random.Random(1))
    measured = {row: Measured(100, 100, 0.0, 1.0) for row in range(600)}

    fast = forecast(found, measured, concurrency=100, seen=None, rpm=None, tpm=None)
    paced = forecast(found, measured, concurrency=100, seen=None, rpm=60, tpm=None)
    metered = forecast(found, measured, concurrency=100, seen=None, rpm=None, tpm=6_000)

    assert fast.duration_s.low == pytest.approx(6.0)
    assert fast.bound_by == "concurrency 100"
    assert paced.duration_s.low == pytest.approx(600)
    assert (metered.duration_s.middle, metered.bound_by) == (pytest.approx(1_200), "tpm 6000")


def test_one_huge_prompt_that_was_not_sampled_is_in_the_forecast():
    sizes = {row: 40 + row for row in range(200)} | {200: 60_000}
    rng = random.Random(3)
    answers = {row: rng.randint(20, 60) for row in sizes}
    found = [one for one in strata(sizes, 20, random.Random(2)) if 200 not in one.sampled]
    assert sum(one.rows for one in found) == 201, "the seed sampled the huge row"
    measured = {
        row: Measured(sizes[row] // 4 + 3, answers[row], (sizes[row] // 4 + 3) * 1e-6 + answers[row] * 3e-6)
        for row in sizes
    }

    made = forecast(found, measured, concurrency=4, seen=None, rpm=None, tpm=None)

    assert made.cost_usd is not None
    truth = sum(one.cost_usd or 0 for one in measured.values())
    assert made.cost_usd.low <= truth <= made.cost_usd.high
    assert (
        made.prompt_tokens.low
        <= sum(one.prompt_tokens for one in measured.values())
        <= made.prompt_tokens.high
    )


def spans_of(parallel: int, rows: int, *, at_once: int, latency_s: float = 1.0) -> list[tuple[float, float]]:
    """Requests of a client that has `at_once` in flight, at a server that works on `parallel` and queues the rest."""
    free, out, spans = [0.0] * parallel, [0.0] * at_once, []
    for _ in range(rows):
        out.sort()
        free.sort()
        sent = out.pop(0)
        done = max(sent, free.pop(0)) + latency_s
        free.append(done)
        out.append(done)
        spans.append((sent, done))
    return spans


def test_a_provider_that_refuses_holds_the_run_to_the_pace_that_was_seen():
    found = strata(dict.fromkeys(range(600), 4), 60, random.Random(1))
    measured = {row: Measured(100, 100, 0.0, 1.0) for row in range(600)}
    seen = SeenPace(5.0, limited=12)

    held = forecast(found, measured, concurrency=64, seen=seen, rpm=None, tpm=None)
    free = forecast(found, measured, concurrency=64, seen=SeenPace(5.0), rpm=None, tpm=None)

    assert held.duration_s.middle == pytest.approx(120, rel=0.01)
    assert held.bound_by == "the provider: about 5 at once; the pilot met 12 rate limits"
    assert free.bound_by == "concurrency 64"
    assert free.duration_s.low == pytest.approx(600 / 64)
    assert free.duration_s.high >= 120  # it may be held later: no slower than the sample


@pytest.mark.parametrize(("parallel", "at_once"), [(4, 4), (4, 40), (2, 16), (16, 16)])
def test_the_pace_is_the_server_s_however_many_are_sent(parallel, at_once):
    spans = spans_of(parallel, 60, at_once=at_once)
    seen = seen_pace(spans, 0)
    assert seen is not None

    mean = sum(end - start for start, end in spans) / len(spans)
    assert seen.at_once / mean == pytest.approx(parallel, rel=0.25)  # rows a second
    assert seen.queues == (at_once > parallel)


def test_random_latencies_are_no_queue_and_few_requests_no_pace():
    rng = random.Random(5)
    for _ in range(50):
        spans = [(n / 10, n / 10 + rng.lognormvariate(0, 0.6)) for n in range(40)]
        seen = seen_pace(spans, 0)
        assert seen is not None
        assert not seen.queues
    assert seen_pace(spans[:5], 0) is None


def sampled_from_a_list(sizes: dict[int, int], wanted: int, rng: random.Random) -> list[Stratum]:
    """What `strata` does, with all rows held and sorted."""
    rows = sorted(sizes, key=lambda row: (sizes[row], row))
    wanted = min(wanted, len(rows))
    count = max(1, min(5, wanted // 8))
    found = []
    for number in range(count):
        group = rows[len(rows) * number // count : len(rows) * (number + 1) // count]
        share = wanted * (number + 1) // count - wanted * number // count
        drawn = tuple(sorted(rng.sample(group, min(share, len(group)))))
        found.append(
            Stratum(len(group), sum(sizes[row] for row in group), drawn, tuple(sizes[row] for row in drawn))
        )
    return found


@pytest.mark.parametrize("rows", [1, 7, 40, 999])
@pytest.mark.parametrize("wanted", [1, 10, 39, 200])
@pytest.mark.parametrize("largest", [1, 30, 60_000])
def test_the_sample_is_that_of_a_sorted_list_without_one(rows, wanted, largest):
    rng = random.Random(rows * wanted * largest)
    sizes = {row: rng.randint(0, largest) for row in range(rows)}

    assert strata(sizes, wanted, random.Random(3)) == sampled_from_a_list(sizes, wanted, random.Random(3))


def test_prompts_of_megabytes_are_of_the_largest_group():
    sizes = {row: 10 if row % 2 else 1_000_000 + row for row in range(100)}

    first, *_, last = strata(sizes, 40, random.Random(3))

    assert set(first.sizes) == {10}
    assert min(last.sizes) >= 1_000_000
    assert sum(one.size for one in strata(sizes, 40, random.Random(3))) == sum(sizes.values())

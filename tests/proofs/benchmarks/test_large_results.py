"""A batch with large results: the short version of `python -m tests.proofs.benchmarks.large_results`."""

from __future__ import annotations

from tests.proofs.benchmarks.large_results import PEAK_MB, measured


def test_the_results_of_a_batch_are_fetched_merged_and_sealed_in_flat_memory():
    found = measured(2_500, 3)

    assert found.problems == []
    assert found.results_mb > 50
    assert found.peak_mb <= PEAK_MB - 30

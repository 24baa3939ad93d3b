"""Many rows in batches: the short version of `python -m tests.proofs.benchmarks.batch_rows`."""

from __future__ import annotations

from tests.proofs.benchmarks.batch_rows import PEAK_MB, measured


def test_many_rows_in_batches_are_whole_and_the_books_are_the_services():
    found = measured(5_000, "openai", 7, lines=400, median_s=0.5)

    assert found.problems == []
    assert found.peak_mb <= PEAK_MB
    assert found.lines["200"] == 5_000
    assert found.lines["503"]
    assert found.lines["expired"]

"""The short form of `python -m tests.proofs.faults.mixed_faults`."""

from __future__ import annotations

import pytest

from tests.proofs.faults.mixed_faults import run


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_books_of_a_faulty_run_equal_the_providers_to_the_token(stream):
    found = run(250, stream=stream, seed=11)

    assert found["exit"] in {0, 1}, found["said"]
    assert found["verified"]
    assert found["leaks"] == []
    assert found["rows"] == 250
    assert found["kinds"] >= 20
    assert found["ours"] == found["theirs"]

"""Batches in a Python program: left to their service, taken home, called off."""

from __future__ import annotations

import pytest

import batchlab
from batchlab.errors import UsageError
from tests.api.test_python import ask, frame_of, home

__all__ = ["ask", "home"]  # fixtures

AT = {"batch_api": "openai", "lane": "batch", "shard_rows": 10}


@pytest.fixture
def night(ask, rows_file) -> dict:
    """A call whose batches take a minute, by a clock that tests set ahead."""
    return {**ask(batch={"seconds": 60}), **AT, "input": rows_file(25), "run_dir": "runs/night"}


def test_a_job_is_left_and_its_rows_are_collected(night):
    server = night.pop("server")

    left = batchlab.run(**night, detach=True)
    early = batchlab.collect("runs/night")
    server.forward(120)
    done = batchlab.collect("runs/night")

    assert (left.stopped, left.batches_out, left.rows_out) == ("detached", 3, 25)
    assert (early.stopped, early.exit_code) == ("detached", 3)
    assert (done.stopped, done.totals.ok, done.exit_code) == (None, 25, 0)
    assert len(server.batches()["batches"]) == 3


def test_a_frame_comes_back_with_its_rows_pending_and_then_answered(ask):
    call = {**ask(batch={"seconds": 60}), **AT}
    server, frame = call.pop("server"), frame_of(12)

    left = batchlab.run(frame, **call, quiet=True, detach=True)
    server.forward(120)
    batchlab.collect(left.attrs["batchlab"]["run_dir"])
    done = batchlab.run(frame, **call, quiet=True)

    assert set(left["status"]) == {"pending"}
    assert left.attrs["batchlab"]["stopped"] == "detached"
    assert set(done["lane"]) == {"batch"}
    assert set(done["status"]) == {"ok"}


def test_cancelled_batches_keep_what_they_had(night):
    server = night.pop("server")
    batchlab.run(**night, detach=True)
    server.forward(30)

    gone = batchlab.cancel("runs/night", wait="1m")

    assert (gone.stopped, gone.batches_out, gone.exit_code) == ("cancelled", 0, 0)
    with pytest.raises(UsageError, match="there is nothing to cancel"):
        batchlab.cancel("runs/night")
    with pytest.raises(UsageError, match="its batches were cancelled"):
        batchlab.collect("runs/night")


def test_what_cannot_be_is_said_in_keywords(night):
    night.pop("server")
    with pytest.raises(UsageError, match="detach=True leaves batches .* pass lane='?\"?batch"):
        batchlab.run(**{**night, "lane": "live"}, detach=True)
    with pytest.raises(UsageError, match="wait='soon'"):
        batchlab.cancel("runs/night", wait="soon")
    with pytest.raises(UsageError):
        batchlab.collect("runs/nowhere")

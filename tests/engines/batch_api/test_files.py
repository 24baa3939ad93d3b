"""What is left in a service's files: those of lines are deleted where a service holds few."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

import pytest

from tests.conftest import CANARY


def files_at(server) -> list[str]:
    """What each file that is there was uploaded or made for."""
    asked = Request(f"{server.base_url}/files", headers={"Authorization": f"Bearer {CANARY}"})
    with urlopen(asked, timeout=10) as response:
        return sorted(one["purpose"] for one in json.load(response)["data"])


@pytest.mark.parametrize("dialect", ["azure", "moonshot"])
def test_files_of_lines_are_deleted_once_their_results_are_here(lane, rows_file, dialect):
    at = lane(dialect)

    done = at.run(rows_file(25), "--shard-rows", "10")

    assert done.code == 0, done.err
    assert "batch" not in files_at(at.server)
    assert files_at(at.server).count("batch_output") >= 3
    at.check(answered=25)


def test_they_stay_at_a_service_that_holds_many(lane, rows_file):
    at = lane("openai")

    assert at.run(rows_file(10)).code == 0
    assert files_at(at.server) == ["batch", "batch_output"]


def test_files_of_batches_that_found_no_room_are_deleted_too(lane, rows_file):
    at = lane("azure", batch={"enqueued_tokens": 150, "seconds": 0.5})

    done = at.run(rows_file(20), "--shard-rows", "5")

    assert done.code == 0, done.err
    assert "its queue is full" in done.err
    assert "batch" not in files_at(at.server)
    at.check(answered=20)


@pytest.mark.parametrize("kind", ["batch_error", "batch_reset", "batch_reset_after"])
def test_a_file_that_cannot_be_deleted_is_no_trouble(lane, rows_file, kind):
    at = lane("azure", {"kind": kind, "step": "delete"})

    done = at.run(rows_file(10))

    assert done.code == 0, done.err
    at.check(answered=10)

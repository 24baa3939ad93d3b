"""The page of runs at a URL whose store goes away while somebody looks."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.page.conftest import serving
from tests.remote.test_looking import URL, away, made

__all__ = ["away", "made"]


@pytest.fixture
def refusing(memory, monkeypatch):
    """Takes the store down until the end of the block."""

    @contextlib.contextmanager
    def down():
        def refuse(*_: object, **__: object):
            raise ConnectionError("the store is down")

        with monkeypatch.context() as patch:
            for name in (
                "_open",
                "cat_file",
                "ls",
                "info",
                "find",
                "glob",
                "exists",
                "pipe_file",
                "isdir",
                "isfile",
            ):
                patch.setattr(type(memory), name, refuse)
            yield

    return down


@pytest.mark.parametrize("place", [URL, URL.rpartition("/")[0]], ids=["run", "folder"])
def test_a_store_that_is_down_is_said_at_each_question_and_keeps_nobody_waiting(made, away, refusing, place):
    assert made().code == 0
    away()
    with serving(place) as page:
        with refusing():
            for what in ("runs", "run?run=x", "rows?run=x", "charts?run=x", "acts?run=x&q=remark&status=failed",
                         "sample?run=x&n=5&seed=1", "row?run=x&row=3", "labels?run=x", "facets?run=x"):  # fmt: skip
                got = page.ask(f"/api/{what}")  # within the client's 30 s
                assert got.status in (200, 400, 404), what
                said = got.json()
                assert "Traceback" not in json.dumps(said)
                if got.status != 200:
                    assert "the store is down" in got.error or "store" in got.error, what
        assert page.get("rows", run="x", limit=3)["total"] == 50

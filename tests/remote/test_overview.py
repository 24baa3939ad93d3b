"""The overview and the charts of a run at a URL, where it was made and elsewhere."""

from __future__ import annotations

from batchlab.looking.browse.index import RowIndex
from batchlab.looking.opening import open_run
from batchlab.looking.overview.charts import Charter
from batchlab.looking.overview.of_run import overview_of
from tests.remote.test_looking import URL, away, made

__all__ = ["away", "made"]


def test_a_run_at_a_url_has_its_numbers_here_and_elsewhere(made, away, memory):
    assert made().code == 0
    for place in ("here", "elsewhere"):
        if place == "elsewhere":
            away()
        run = open_run(URL)
        index = RowIndex(run)
        index.refresh()
        page, charts = overview_of(run).json(), Charter().charts(index).json()
        assert (page["stage"], page["rows"], page["counts"]["ok"], page["problems"]) == (
            "finished",
            50,
            50,
            [],
        )
        assert page["name"].endswith("x")
        assert [one["how"] for one in page["sessions"]] == ["finished"]
        assert charts["upto"] == 50
        assert sum(done or 0 for done in charts["over_time"]["done"]) == 50
        assert charts["problems"] == []

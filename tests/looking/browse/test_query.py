"""What stands in the page's address, read as which rows are meant."""

from __future__ import annotations

import pytest

from batchlab.errors import UsageError
from batchlab.looking.browse.query import RowQuery


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, RowQuery()),
        ({"run": "x", "offset": "50", "limit": "9", "row": "7", "texts": "1"}, RowQuery()),
        ({"status": "failed, ok"}, RowQuery(statuses=frozenset({"failed", "ok"}))),
        ({"error": "timeout,none"}, RowQuery(errors=frozenset({"timeout", None}))),
        (
            {"finish": "stop", "lane": "batch"},
            RowQuery(finishes=frozenset({"stop"}), lanes=frozenset({"batch"})),
        ),
        ({"label": "good%2C but long,100%25"}, RowQuery(labels=frozenset({"good, but long", "100%"}))),
        ({"label": "none, %6Eone"}, RowQuery(labels=frozenset({None, "none"}))),
        ({"error": "%2C,,%20"}, RowQuery(errors=frozenset({","}))),
        ([("where", "n>3"), ("where", "topic=a,b")], RowQuery(where=("n>3", "topic=a,b"))),
        ({"where": ["n>3", "n<9"]}, RowQuery(where=("n>3", "n<9"))),
        ({"q": "a, b", "in": "answer"}, RowQuery(text="a, b", inside=("answer",))),
        ({"q": "", "status": ""}, RowQuery()),
        ({"sort": "-cost_usd"}, RowQuery(sort="cost_usd", is_descending=True)),
        ({"sort": "row"}, RowQuery()),
        ({"rows": "3,20-29,90-"}, RowQuery(ranges=((3, 3), (20, 29), (90, None)))),
        ({"odd": "1", "first": "20"}, RowQuery(odd=True, most=20)),
        ({"odd": "0"}, RowQuery()),
    ],
)
def test_an_address_says_which_rows_are_meant(params, expected):
    assert RowQuery.of(params) == expected


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"status": "faild"}, "did you mean failed?"),
        ({"sort": "latency"}, "did you mean latency_ms?"),
        ({"in": "prompts"}, "did you mean prompt?"),
        ({"rows": "9-3"}, "a range goes upwards"),
        ({"rows": "x"}, "is no row"),
        ({"first": "-1"}, "expected a number"),
        ({"stauts": "ok"}, "did you mean status?"),
        ({"q": "x" * 1_001}, "1,000 characters at most"),
        ([("where", f"n>{n}") for n in range(21)], "20 conditions at most"),
    ],
)
def test_what_means_no_rows_is_said_in_a_line(params, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")) as refused:
        RowQuery.of(params)

    assert "\n" not in str(refused.value)

"""Which rows a retry names by their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.store.asking import AskAgain, joined_ranges, ranges_text, ranges_without, row_ranges


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", ()),
        ("17", ((17, 17),)),
        ("20-39,17", ((17, 17), (20, 39))),
        ("3,1,2,2", ((1, 3),)),
        ("0-5, 4-9 ,11", ((0, 9), (11, 11))),
    ],
)
def test_ranges_are_read_in_order_and_joined(text, ranges):
    assert row_ranges(text) == ranges
    assert row_ranges(ranges_text(ranges)) == ranges


@pytest.mark.parametrize("text", [",", "x", "-1", "5-3", "1-", "1.5", "1;2", "9" * 16, "1-2-3", "٣"])
def test_what_is_no_row_is_refused(text):
    if text == "٣":  # a digit elsewhere; a number all the same
        assert row_ranges(text) == ((3, 3),)
        return
    with pytest.raises(ValueError, match="row|range"):
        row_ranges(text)


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(0, 20))
def test_a_range_is_touched_when_it_has_one_of_the_rows(rows, first, more):
    ranges = joined_ranges((row, row) for row in rows)
    again = AskAgain(rows=ranges)

    assert again.touches(first, first + more) is (
        not rows or any(first <= row <= first + more for row in rows)
    )
    assert sum(last - first + 1 for first, last in ranges) == len(rows)


ROWS = st.sets(st.integers(0, 40))


@given(ROWS, ROWS)
def test_what_is_left_of_ranges_is_what_is_left_of_their_rows(rows, others):
    ranges, without = (joined_ranges((row, row) for row in some) for some in (rows, others))

    assert ranges_without(ranges, without) == joined_ranges((row, row) for row in rows - others)

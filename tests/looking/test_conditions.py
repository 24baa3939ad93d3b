"""Conditions on columns of any name and any type, as `show --where` and the page take them."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from batchlab.errors import UsageError
from batchlab.looking.rows.conditions import condition_of

NUMBERS = pa.table(
    {
        "whole": [2**60, 2**60 + 9, None],
        "large": pa.array([2**63 + 5, 1, 2], pa.uint64()),
        "small": pa.array([1, 2, 3], pa.int8()),
        "part": [0.5, 1e300, 2.0],
        "money": pa.array([Decimal("1.50"), None, Decimal("99.90")], pa.decimal128(9, 2)),
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("whole>1152921504606846980", [1]),
        ("whole=1152921504606846976", [0]),
        ("whole>1.5", [0, 1]),
        ("whole!=5", [0, 1, 2]),
        ("whole=", [2]),
        ("whole<99999999999999999999", [0, 1]),
        ("large>9223372036854775807", [0]),
        ("large=9223372036854775813", [0]),
        ("large>1e18", [0]),
        ("large>-1", [0, 1, 2]),
        ("small>300", []),
        ("small<1e30", [0, 1, 2]),
        ("small=2.0", [1]),
        ("part>1152921504606846980", [1]),
        ("part=2", [2]),
        ("money=1.5", [0]),
        ("money>1", [0, 2]),
        ("money<12345678901234567890", [0, 2]),
    ],
)
def test_numbers_of_any_size_are_compared_with_columns_of_any_type(condition, rows):
    mask = condition_of(condition, NUMBERS.schema, "").mask(NUMBERS)
    assert [row for row, found in enumerate(mask.to_pylist()) if found] == rows


NAMED = pa.table(
    {name: ["yes", "=no", "b=yes"] for name in ("a", "a=b", "n>=3", " s ", "x ~", "<b>", "p_status")}
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("a==no", []),  # `==` is `=`
        ("a=yes", [0]),
        ("a = yes", [0]),
        (" a=yes", [0]),
        ("a=b=yes", [0]),  # the longest name with which it begins
        ("a!=yes", [1, 2]),
        ("n>=3=yes", [0]),
        ("n>=3>=yes", [0]),
        (" s =yes", [0]),
        ("x ~~no", [1]),
        ("<b>=b=yes", [2]),
        ("status=yes", [0]),
        ("p_status=yes", [0]),
    ],
)
def test_a_column_may_be_called_what_it_likes(condition, rows):
    mask = condition_of(condition, NAMED.schema, "p_").mask(NAMED)
    assert [row for row, found in enumerate(mask.to_pylist()) if found] == rows


NESTED = pa.table(
    {
        "tags": [["Red", "blue"], [], None],
        "meta": [{"at": "Oslo", "n": [7]}, {"at": None, "n": []}, None],
        "raw": [b"a", b"b", None],
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"), [("tags~red", [0]), ("meta~oslo", [0]), ("meta~7", [0]), ("tags=", [2])]
)
def test_a_text_is_found_in_lists_and_objects(condition, rows):
    mask = condition_of(condition, NESTED.schema, "").mask(NESTED)
    assert [row for row, found in enumerate(mask.to_pylist()) if found] == rows


@pytest.mark.parametrize(
    ("condition", "said"),
    [("raw~a", "raw holds binary, which has no text to look for"), ("tags=red", "which cannot be compared")],
)
def test_what_cannot_be_asked_of_a_column_is_said(condition, said):
    with pytest.raises(UsageError, match=said):
        condition_of(condition, NESTED.schema, "")

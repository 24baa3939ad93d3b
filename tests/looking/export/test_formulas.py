"""What a spreadsheet would run, and what only begins like it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.looking.export.formulas import is_formula

NUMBERS = [
    "-5", "-0.25", "-.5", "-5.", "+1", "-1e-9", "+1.5E+10", "-1,234.5", "-1.234,5", "-12,34,567.89", "-1'234.50",
    "-1 234,5", "-1_000", "+3 %", "-5%", "-3 ‰", "-$5", "-$1,234.50", "-US$5", "- 5", "-5 €", "-€5", "-5 USD",
    "-USD 5", "-inf", "-Infinity", "+nan", "\uff0d5", "-007",
]  # fmt: skip
TEXTS = [
    "", "-", "+", "---", "- item", "- item\n- another (of two)", "+ plus", "-- a", "- [ ] to do", "-5 °C",
    "-5 degrees", "+49 kg", "-3 apples = few", "\n- item", "  - nested", "\tindented", "hello =1", "1=1", "'quoted'",
    '"said"', "a@b.org", "\u22125", "- 3 > 2", "- a | b",
]  # fmt: skip
FORMULAS = [
    "=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\0=1", '"=1', "'=1", "\ufeff=1", "-1+1", "+1-1",
    "-SUM(A1)", "+SUM(1)", "-foo", "--x", "+-=1", "\uff1d1", "\uff20x", "\uff0bA1", "-ABC123", "-1,2,3", "-1-555-1234",
    "-2+3+cmd|' /C calc'!A0", "+cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', "-5(1)",
    # after what looks like a bullet or the beginning of a sentence
    "- =1", "- @x", "- HYPERLINK(\"http://x\")", "- cmd|'/C calc'!A0", "-5 SUM(A1)", "- a\n- b & WEBSERVICE(A1)",
]  # fmt: skip


@pytest.mark.parametrize("text", [*NUMBERS, *TEXTS])
def test_numbers_and_texts_stay_as_they_are(text):
    assert not is_formula(text)


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_is_told(text):
    assert is_formula(text)


@given(st.one_of(st.floats(), st.integers(), st.decimals(allow_nan=False)))
def test_whatever_python_reads_as_a_number_is_one(number):
    for text in (str(number), f"{number:+}", f" {number} ", f"{number:e}", f"{number:,}"):
        assert not is_formula(text)


@pytest.mark.parametrize(
    "text",
    ["-5{} !", "-{}x", "- |{}!", "-1{}x", "{}x", "- {}a."],
)
@pytest.mark.parametrize("filling", [" ", "|", " 11", "a.", "-", "1", "\n", ",1", "("])
def test_a_cell_of_a_megabyte_takes_no_time(text, filling):
    """A pattern that tries each way to split a run of blanks would take hours."""
    began = time.process_time()
    is_formula(text.format(filling * (10**6 // len(filling))))

    assert time.process_time() - began < 5

"""Excel workbooks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import zipfile

import pyarrow as pa
import pytest

from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.templates import RowFault
from batchlab.records import Shard
from tests.inputs.sources.reading import read, refused

openpyxl = pytest.importorskip("openpyxl")


def book(path, **sheets):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


ROWS = [
    ["id", "prompt", "score", "day", "at", "ok", "mixed"],
    [1, "a", 1.5, dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5), True, 1],  # noqa: DTZ001
    [],
    [2, "é\n", None, None, None, False, "x"],
    [3, "1+1", 2, dt.date(2026, 1, 3), dt.time(1, 2), True, None],
]


def test_a_sheet_is_rows_below_its_header(tmp_path):
    plan, table, rows, notes = read(book(tmp_path / "x.xlsx", Sheet1=ROWS))

    assert table.schema.field("id").type == pa.int64()
    assert table.schema.field("score").type == pa.float64()
    assert table["score"].to_pylist() == [1.5, None, 2.0]
    assert table["day"].to_pylist() == ["2026-01-02", None, "2026-01-03"]
    assert table["at"].to_pylist() == ["2026-01-02T03:04:05", None, "01:02:00"]
    assert table["ok"].to_pylist() == [True, False, True]
    assert [row.values["mixed"] for row in rows] == [1, "x", None]
    assert (plan.rows, notes) == (3, [])


def test_a_sheet_is_named_after_two_colons_and_empty_ones_do_not_count(tmp_path):
    two = [["prompt"], ["b"]]
    path = book(tmp_path / "x.xlsx", Empty=[], One=[["prompt"], ["a"]])
    assert [row.values["prompt"] for row in read(path)[2]] == ["a"]

    path = book(tmp_path / "y.xlsx", One=[["prompt"], ["a"]], Two=two)
    assert "has the sheets One, Two" in refused(path)
    assert [row.values["prompt"] for row in read(f"{path}::Two")[2]] == ["b"]
    assert "no sheet 'Three'" in refused(f"{path}::Three")


def test_cells_without_a_column_s_name_are_told(tmp_path):
    path = book(tmp_path / "x.xlsx", S=[["prompt", None, "n"], ["a", "lost", 1], ["b", None, 2]])

    _, table, _, notes = read(path)

    assert table.to_pylist() == [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]
    assert "cells in columns without a name are left out (1 row)" in notes[0]


def test_what_the_library_warns_of_is_not_said(tmp_path):
    """Other people's writers leave the default style out, which is a line of Python's on standard error."""
    whole, path = book(tmp_path / "whole.xlsx", S=[["prompt"], ["a"]]), tmp_path / "x.xlsx"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "xl/styles.xml":
                data = re.sub(rb"<cellStyles.*</cellStyles>", b"", data)
            new.writestr(name, data)
    with pytest.warns(UserWarning, match="no default style"):
        openpyxl.load_workbook(path, read_only=True)

    assert [row.values["prompt"] for row in read(path)[2]] == ["a"]


def test_bad_workbooks_are_one_line(tmp_path):
    path = book(tmp_path / "x.xlsx", S=[["a", "a"], [1, 2]])
    assert ":1: two columns are named 'a'" in refused(path)

    (tmp_path / "cut.xlsx").write_bytes(path.read_bytes()[:-200])
    assert "damaged Excel workbook" in refused(tmp_path / "cut.xlsx")

    with zipfile.ZipFile(tmp_path / "odd.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<nope")
    assert "damaged Excel workbook" in refused(tmp_path / "odd.xlsx")

    entry = path.read_bytes().index(b"PK\x01\x02")  # of the archive's list; the version that it needs is at 6
    for ending in ("xlsx", "zip"):
        later = bytearray(path.read_bytes())
        later[entry + 6] = 84
        (tmp_path / f"later.{ending}").write_bytes(later)
    assert "damaged Excel workbook (zip file version 8.4)" in refused(tmp_path / "later.xlsx")
    assert "is a zip archive" in refused(tmp_path / "later.zip")

    (tmp_path / "old.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    assert "encrypted or an old Excel workbook" in refused(tmp_path / "old.xlsx")


def test_a_workbook_is_known_by_its_content(tmp_path):
    path = book(tmp_path / "x.xlsx", S=[["prompt"], ["a"]])
    path.rename(tmp_path / "x.data")

    assert read(tmp_path / "x.data")[0].rows == 1


# --- formulas


def edited(path, *changes):
    """A workbook whose first sheet's XML has been changed, as other writers have it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    xml = members["xl/worksheets/sheet1.xml"]
    for before, after in changes:
        assert before in xml, xml
        xml = xml.replace(before, after)
    members["xl/worksheets/sheet1.xml"] = xml
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


FORMULA_ROWS = [["id", "prompt", "n"], [1, "a", "=1+1"], [2, '="b"&A3', 5], [3, "c", 6], [None, '="d"', None]]


def test_a_formula_that_nothing_has_computed_is_the_fault_of_a_row_that_is_asked_about_it(tmp_path):
    plan, table, rows, notes = read(book(tmp_path / "x.xlsx", S=FORMULA_ROWS))

    assert plan.rows == 4  # a row with nothing else is one, too
    assert table["n"].to_pylist() == [None, 5, 6, None]
    assert table["prompt"].to_pylist() == ["a", None, "c", None]
    assert table.schema.field("n").type == pa.int64()
    assert len(notes) == 1
    assert "formulas of which the file holds no value, as programs write them (3 rows)" in notes[0]
    assert "Excel or LibreOffice" in notes[0]
    for row, name in ((0, "n"), (1, "prompt"), (3, "prompt")):
        with pytest.raises(RowFault, match=f"column '{name}': a formula of which the file holds no value"):
            rows[row].values[name]
        with pytest.raises(RowFault):
            rows[row].values.get(name)
    assert (rows[0].values["prompt"], rows[2].values["n"]) == ("a", 6)
    assert (len(rows[0].values), "prompt" in rows[1].values) == (3, True)


@pytest.mark.parametrize(
    ("formula", "stored", "expected"),
    [
        (b"<f>1+1</f><v/>", b"<f>1+1</f><v>2</v>", 2),
        (b"<f>1+1</f><v/>", b'<f t="shared" ref="B2:B3" si="0">1+1</f><v>2</v>', 2),
    ],
)
def test_a_formula_with_a_value_is_that_value(tmp_path, formula, stored, expected):
    path = book(tmp_path / "x.xlsx", S=[["prompt", "n"], ["a", "=1+1"]])

    _, table, rows, notes = read(edited(path, (b"<v />", b"<v/>"), (formula, stored)))

    assert table["n"].to_pylist() == [expected]
    assert rows[0].values["n"] == expected
    assert notes == []


@pytest.mark.parametrize(("is_computed", "expected"), [(True, [0, 2]), (False, [None, 2])])
def test_a_zero_of_a_formula_counts_unless_the_file_says_that_nothing_was_computed(
    tmp_path, is_computed, expected
):
    """XlsxWriter stores 0 for what it cannot compute, and what its caller says for the others."""
    made = openpyxl.Workbook()
    made.active.append(["prompt", "n"])
    made.active.append(["a", "=1-1"])
    made.active.append(["b", "=1+1"])
    made.calculation.fullCalcOnLoad = not is_computed
    made.save(tmp_path / "x.xlsx")
    zero, two = (b"<f>1-1</f><v />", b"<f>1-1</f><v>0</v>"), (b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>")

    _, table, rows, notes = read(edited(tmp_path / "x.xlsx", zero, two))

    assert table["n"].to_pylist() == expected
    assert rows[1].values["n"] == 2
    assert len(notes) == (0 if is_computed else 1)


def test_a_formula_that_was_computed_to_an_empty_text_is_no_fault(tmp_path):
    """`=IF(A2="","",A2)` of an empty cell, as Excel stores it."""
    path = book(tmp_path / "x.xlsx", S=[["prompt", "n"], ["a", "=1+1"]])

    stored = b'<c r="B2" t="str"><f>1+1</f><v></v></c>'
    _, table, rows, notes = read(edited(path, (b'<c r="B2"><f>1+1</f><v /></c>', stored)))

    assert table["n"].to_pylist() == [None]
    assert (rows[0].values["n"], notes) == (None, [])


def test_a_formula_whose_element_has_a_prefix_is_seen(tmp_path):
    """As the Open XML SDK writes sheets."""
    path = book(tmp_path / "x.xlsx", S=[["prompt", "n"], ["a", "=1+1"]])
    with zipfile.ZipFile(path) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml")
    prefixed = re.sub(rb"<(/?)(?=[a-zA-Z])", rb"<\1x:", xml).replace(b"xmlns=", b"xmlns:x=")

    _, table, _, notes = read(edited(path, (xml, prefixed)))

    assert table["n"].to_pylist() == [None]
    assert "programs write them (1 row)" in notes[0]


def test_a_column_s_name_that_is_a_formula_without_a_value_is_refused(tmp_path):
    path = book(tmp_path / "x.xlsx", S=[["prompt", '="n"'], ["a", 1]])

    assert ":1: the name of a column is a formula of which the file holds no value" in refused(path)


def test_a_plan_of_an_earlier_version_keeps_the_rows_that_it_counted(tmp_path):
    """It skipped rows that have nothing but formulas without a value: their answers stay where they are."""
    path = book(tmp_path / "x.xlsx", S=[["prompt"], ['="a"'], ["b"], ['="c"'], ["d"]])
    source = open_source(str(path))
    plan = source.scan(10)
    assert plan.shards[0].position == {"row": 0, "formulas": 1}

    earlier = dataclasses.replace(plan, rows=2, shards=(Shard(0, 0, 2, {"row": 0}),))

    assert [row.values["prompt"] for row in source.rows(earlier.shards[0], earlier)] == ["b", "d"]

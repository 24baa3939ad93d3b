"""Excel workbooks."""

from __future__ import annotations

import datetime as dt
import re
import zipfile

import pyarrow as pa
import pytest

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
    [3, "=1+1", 2, dt.date(2026, 1, 3), dt.time(1, 2), True, None],
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
    assert "1 rows have cells in columns without a name" in notes[0]


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

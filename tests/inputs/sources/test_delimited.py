"""CSV as people have it: other delimiters, other encodings, stray quotes."""

from __future__ import annotations

import pytest

from batchlab.inputs.sources.opening import open_source
from tests.inputs.sources.reading import read, refused

LATIN = "id;prompt\n1;café, ja\n2;naïve\n".encode("cp1252")


def values_of(path, **options):
    return [dict(row.values) for row in read(path, **options)[2]]


@pytest.mark.parametrize(
    ("name", "text", "delimiter"),
    [
        ("x.csv", "id;prompt\n1;hello, you\n2;bye\n", ";"),
        ("x.csv", "id;price;prompt\n1;2,50;a\n2;3,10;b\n", ";"),
        ("x.csv", "id\tprompt\n1\ta, b\n2\tc\n", "tab"),
        ("x.csv", "id|prompt\n1|a, b\n2|c\n", "|"),
        ("x.tsv", "id,prompt\n1,a\n2,c\n", ","),
        ("x.csv", 'sep=;\nid;prompt\n1;"a;b"\n2;c\n', ";"),
    ],
)
def test_a_delimiter_is_found_and_said(tmp_path, name, text, delimiter):
    (tmp_path / name).write_text(text)

    plan, table, rows, notes = read(tmp_path / name)

    assert table.column_names[0] == "id"
    assert table.column_names[-1] == "prompt"
    assert plan.malformed_count == 0
    assert [row.values["id"] for row in rows] == ["1", "2"]
    (note,) = notes
    assert note.startswith(f"{tmp_path / name}: cells are taken to be separated by {delimiter},")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("prompt\nhello; you\nbye; you\n", ["prompt"]),
        ("prompt\na\tb\n", ["prompt"]),
        ("id,prompt\n1,a;b;c\n2,d\n", ["id", "prompt"]),
        ("a;b,c\n1;2,3\n", ["a;b", "c"]),
        ("id,prompt\n1\n2,x\n3,y,z\n", ["id", "prompt"]),
    ],
)
def test_the_usual_delimiter_stays_where_it_may_be_meant(tmp_path, text, columns):
    (tmp_path / "x.csv").write_text(text)

    _, table, _, notes = read(tmp_path / "x.csv")

    assert (table.column_names, notes) == (columns, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.txt", "x.json"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding, name):
    prompt = "café 🧣 " + "é" * 70_000
    text = {
        "x.csv": f"prompt\n{prompt}\n",
        "x.jsonl": f'{{"prompt": "{prompt}"}}\n',
        "x.txt": f"{prompt}\n",
        "x.json": f'[{{"prompt": "{prompt}"}}]',
    }[name]
    (tmp_path / name).write_bytes(text.encode(encoding))

    _, table, _, notes = read(tmp_path / name)

    assert table.to_pylist() == [{"prompt": prompt}]
    assert len(notes) == (encoding != "utf-8-sig")


def test_another_encoding_is_named_by_the_job(tmp_path):
    (tmp_path / "x.csv").write_bytes(LATIN)

    assert values_of(tmp_path / "x.csv", encoding="windows-1252", delimiter=";")[0]["prompt"] == "café, ja"
    assert "no encoding 'latin-99'" in refused(tmp_path / "x.csv", encoding="latin-99")
    assert "no encoding 'rot13'" in refused(tmp_path / "x.csv", encoding="rot13")


def test_a_byte_that_is_no_utf8_fails_its_row_and_names_the_way_out(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"id,prompt\n1,a\n2,caf\xe9\n3,b\n")

    plan, table, _, notes = read(tmp_path / "x.csv")

    assert table["prompt"].to_pylist() == ["a", None, "b"]
    assert plan.malformed == ((3, "byte 6 (0xe9) of line 3 is not UTF-8 text"),)
    (note,) = notes
    assert note.startswith(f"{tmp_path}/x.csv:3: 1 of 3 rows is not UTF-8 text.")
    assert "pass {input.encoding=cp1252}, which reads '2,café' there" in note


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.txt"])
def test_many_rows_that_are_no_utf8_tell_of_another_encoding_and_of_which(tmp_path, name):
    """Half a file of Latin-1 is readable; to send that half would pay for what nobody wants."""
    line = {"x.csv": "%d,%s\n", "x.jsonl": '{"id": %d, "prompt": "%s"}\n', "x.txt": "%d %s\n"}[name]
    head = "id,prompt\n" if name == "x.csv" else ""
    words = ["plain" if number % 2 else "café" for number in range(40)]
    text = head + "".join(line % pair for pair in enumerate(words))
    (tmp_path / name).write_bytes(text.encode("cp1252"))

    said = refused(tmp_path / name)

    assert "20 of 40 rows are not UTF-8 text, so the file is in another encoding" in said
    assert "pass {input.encoding=cp1252}, which reads" in said
    assert "café" in said
    assert "With {input.encoding=utf-8} these rows fail, and the others are asked." in said
    plan, _, _, _ = read(tmp_path / name, encoding="utf-8")  # who names it is taken at his word
    assert plan.malformed_count == 20
    plan, _, _, _ = read(tmp_path / name, encoding="cp1252")
    assert plan.malformed_count == 0


@pytest.mark.parametrize(("bad", "is_refused"), [(1, False), (2, False), (3, True)])
def test_a_few_rows_that_are_no_utf8_are_their_own_trouble(tmp_path, bad, is_refused):
    lines = [b"caf\xe9\n"] * bad + [b"plain\n"] * (40 - bad)
    (tmp_path / "x.csv").write_bytes(b"prompt\n" + b"".join(lines))

    if is_refused:
        assert f"{bad} of 40 rows are not UTF-8" in refused(tmp_path / "x.csv")
    else:
        assert read(tmp_path / "x.csv")[0].malformed_count == bad


def test_only_rows_within_the_limit_tell_of_the_encoding(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"prompt\na\n" + b"caf\xe9\n" * 9)

    assert open_source(str(tmp_path / "x.csv")).scan(3, limit=1).malformed_count == 0


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ansi", "cp1252"),
        ("Excel", "cp1252"),
        ("win-1252", "cp1252"),
        ("Unicode", "utf-16"),
        ("UTF-8 with BOM", "utf-8"),
        ("latn1", "latin-1"),
        ("shiftjsi", "shift-jis"),
        ("nonsense", "cp1252"),
    ],
)
def test_an_encoding_that_is_called_otherwise_here_is_named(tmp_path, name, meant):
    (tmp_path / "x.csv").write_bytes(LATIN)

    assert f"{{input.encoding={meant}}}" in refused(tmp_path / "x.csv", encoding=name)


def test_utf16_without_a_mark_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(LATIN)
    assert "has no byte order mark of UTF-16" in refused(tmp_path / "x.csv", encoding="utf-16")

    (tmp_path / "x.csv").write_bytes("id,prompt\n1,a\n".encode("utf-16-be"))
    assert read(tmp_path / "x.csv", encoding="utf-16")[1]["prompt"].to_pylist() == ["a"]


def test_a_header_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes("né,prompt\n1,a\n".encode("cp1252"))

    said = refused(tmp_path / "x.csv")
    assert "not UTF-8" in said
    assert "pass {input.encoding=cp1252}, which reads 'né,prompt' there" in said


def test_utf16_without_a_mark_is_told_from_a_table(tmp_path):
    (tmp_path / "x.csv").write_bytes("id,prompt\n1,hello\n".encode("utf-16-le"))

    assert "utf-16-le" in refused(tmp_path / "x.csv")
    assert values_of(tmp_path / "x.csv", encoding="utf-16-le") == [{"id": "1", "prompt": "hello"}]


def rows_with(bad: dict[int, str], rows: int = 3_000) -> str:
    return "id,prompt\n" + "".join(f"{bad.get(n, f'{n},word {n}')}\n" for n in range(rows))


@pytest.mark.parametrize(
    ("bad", "first", "last"),
    [
        ({1_000: '1000,"ere we go'}, 1002, 3001),  # to the end of the file
        (
            {1_000: '1000,"ere we go', 2_000: '2000,"x" y'},
            1002,
            2002,
        ),  # to the next quote, not at a cell's end
        (
            {1_000: '1000,"ere we go', 2_000: '2000,over there"'},
            1002,
            2002,
        ),  # to one at a cell's end: valid CSV
    ],
)
def test_a_quote_that_takes_in_many_lines_is_refused_with_their_numbers(tmp_path, bad, first, last):
    (tmp_path / "x.csv").write_text(rows_with(bad))

    said = refused(tmp_path / "x.csv")

    assert f"x.csv:{first}: lines {first} to {last} would be one row" in said
    assert "{input.quotes=false}" in said


def test_a_quote_that_takes_in_a_few_lines_fails_its_row_and_names_them(tmp_path):
    (tmp_path / "x.csv").write_text(rows_with({10: '10,"a', 12: '12,"b" c'}, rows=20))

    plan, _, _, notes = read(tmp_path / "x.csv")

    assert plan.rows == 18
    assert plan.malformed[0][0] == 12
    assert "(lines 12 to 14)" in plan.malformed[0][1]
    assert "20 lines are 18 rows: 1 row has several lines (the longest: lines 12 to 14)" in notes[0]


def test_cells_of_several_lines_are_counted_and_stay(tmp_path):
    long = "\n".join(f"line {n}; still the same" for n in range(200))
    (tmp_path / "x.csv").write_text(f'id,prompt\n1,"{long}"\n2,a\n')

    _, table, _, notes = read(tmp_path / "x.csv")

    assert table["prompt"].to_pylist() == [long, "a"]
    assert "201 lines are 2 rows" in notes[0]


def test_the_ends_of_lines_of_an_old_mac_are_told(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"id,prompt\r1,a\r2,b\r")

    assert "CR alone" in refused(tmp_path / "x.csv")


def test_json_lines_that_are_called_csv_are_json_lines(tmp_path):
    (tmp_path / "x.csv").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')

    assert values_of(tmp_path / "x.csv") == [{"prompt": "a"}, {"prompt": "b"}]


def test_a_text_is_a_prompt_a_line_as_it_stands(tmp_path):
    (tmp_path / "x.txt").write_bytes(b'\xef\xbb\xbfSay "hi"\r\n\n  {x}, y \n\xff\n<b>last')

    plan, table, rows, _ = read(tmp_path / "x.txt")

    assert table["prompt"].to_pylist() == ['Say "hi"', "  {x}, y ", None, "<b>last"]
    assert [number for number, _ in plan.malformed] == [4]
    assert rows[2].problem is not None

"""What is not read is named for what it is, with the one command that makes a table of it."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile

import pytest

from tests.inputs.sources.reading import refused


def zipped(**files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return target.getvalue()


def tarred():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x.csv"))
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "libreoffice --headless --convert-to xlsx"),
        ("x.ods", zipped(content_dot_xml="<x/>"), "libreoffice"),
        ("x.docx", zipped(word__document_dot_xml="<x/>"), "pandoc"),
        ("x.zip", zipped(x_dot_csv="a\n1\n"), "unzip"),
        ("x.csv", zipped(x_dot_csv="a\n1\n"), "unzip"),
        ("x.tar", tarred(), "tar -xf"),
        ("x.pdf", b"%PDF-1.7\n", "pdftotext"),
        ("x.txt", b"%PDF-1.7\n", "pdftotext"),
        ("x.pkl", pickle.dumps([1]), "read_pickle"),
        ("x.orc", b"ORC\0", "read_orc"),
        ("x.avro", b"Obj\x01", "read_avro"),
        ("x.h5", b"\x89HDF\r\n\x1a\n", "read_hdf"),
        ("x.npy", b"\x93NUMPY\x01", "numpy"),
        ("x.dta", b"x", "read_stata"),
        ("x.csv", b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        ("x.jsonl", b"<html>404</html>", "web page"),
        ("x.parquet", b"<html>404</html>", "web page"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        ("x.xml", b"<?xml version='1.0'?><a/>", "read_xml"),
        ("x.yaml", b"- a: 1\n", "yq -o json"),
        ("x.jsonl.lz4", b"\x04\x22\x4d\x18", "lz4 -d"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "7z x"),
        ("x.png", b"\x89PNG\r\n", "{request.image=COLUMN}"),
        ("x.md", b"# Title\n", "pandoc"),
        ("x.parquet", b"", "is empty"),
        ("x.parquet", b"PARE" + b"\0" * 20, "encrypted Parquet"),
        ("x.parquet", b"PAR1" + b"\0" * 20, "not a Parquet file"),
        ("x.arrow", b"ARROW1\0\0" + b"\0" * 20, "damaged Arrow file"),
        ("x.feather", b"FEA1" + b"\0" * 20, "Feather file of version 1"),
        ("x.weird", b"hello\n", "unknown kind of input. Use .jsonl"),
        ("x", b"hello\n", "unknown kind of input"),
    ],
)
def test_each_is_one_line_with_the_way_out(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)

    assert said in refused(tmp_path / name)


def test_a_cut_arrow_stream_is_refused(tmp_path):
    import pyarrow as pa

    table = pa.table({"prompt": ["a" * 100] * 50})
    with pa.ipc.new_stream(tmp_path / "x.arrow", table.schema) as writer:
        for batch in table.to_batches(max_chunksize=5):
            writer.write_batch(batch)
    whole = (tmp_path / "x.arrow").read_bytes()
    for size in (len(whole) - 8, len(whole) - 4, len(whole) // 2):
        (tmp_path / "x.arrow").write_bytes(whole[:size])
        assert "cut-off Arrow stream" in refused(tmp_path / "x.arrow")

"""Files that are not read, and the one command that makes a file of them which is."""

from __future__ import annotations

import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path

from batchlab.errors import InputError
from batchlab.inputs.sources.source import InputFile

_OFFICE = "libreoffice --headless --convert-to xlsx {path}"
_PANDAS = "python -c \"import pandas; pandas.{read}({path!r}).to_parquet('rows.parquet')\""
_CFB = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _pandas(read: str) -> str:
    return _PANDAS.replace("{read}", read)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of file that is not read.

    Attributes:
        what: as in "is …".
        command: what to do, with the file's path as {path}.
        magic: how it begins; () where only its ending tells it.
    """

    what: str
    command: str
    endings: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()
    magic_at: int = 0


_KINDS = (
    _Kind(
        "a Git LFS pointer, not the file itself",
        "git lfs pull",
        magic=(b"version https://git-lfs.github.com/spec/",),
    ),
    _Kind("an old Excel workbook", _OFFICE, (".xls", ".xlt")),
    _Kind("a binary Excel workbook", _OFFICE, (".xlsb",)),
    _Kind("an encrypted or an old Excel workbook", _OFFICE, (".xlsx", ".xlsm"), (_CFB,)),
    _Kind(
        "an old Word or Outlook file",
        "libreoffice --headless --convert-to txt {path}",
        (".doc", ".msg"),
        (_CFB,),
    ),
    _Kind("a spreadsheet of LibreOffice", _OFFICE, (".ods", ".fods")),
    _Kind("a Numbers spreadsheet", "Numbers' own export to CSV", (".numbers",)),
    _Kind(
        "a document",
        "pandoc --to plain --wrap none {path} -o prompts.txt",
        (".docx", ".odt", ".rtf", ".epub", ".md", ".rst", ".tex"),
        (b"{\\rtf",),
    ),
    _Kind("a PDF", "pdftotext -layout {path} prompts.txt", (".pdf",), (b"%PDF-",)),
    _Kind(
        "a pickle",
        _pandas("read_pickle"),
        (".pkl", ".pickle", ".p"),
        tuple(bytes((0x80, n)) for n in (2, 3, 4, 5)),
    ),
    _Kind(
        "an ORC file",
        _pandas("read_orc"),
        (".orc",),
        (b"ORC\0", b"ORC\x01", b"ORC\x03", b"ORC\x08", b"ORC\x0a"),
    ),
    _Kind(
        "an Avro file",
        "duckdb -c \"LOAD avro; COPY (FROM read_avro({path!r})) TO 'rows.parquet'\"",
        (".avro",),
        (b"Obj\x01",),
    ),
    _Kind("an HDF5 file", _pandas("read_hdf"), (".h5", ".hdf5", ".hdf"), (b"\x89HDF\r\n\x1a\n",)),
    _Kind("a Stata file", _pandas("read_stata"), (".dta",)),
    _Kind("a SAS file", _pandas("read_sas"), (".sas7bdat", ".xpt")),
    _Kind("an SPSS file", _pandas("read_spss"), (".sav", ".zsav")),
    _Kind(
        "a file of R",
        "Rscript -e \"arrow::write_parquet(readRDS({path!r}), 'rows.parquet')\"",
        (".rds", ".rdata", ".rda"),
    ),
    _Kind(
        "an array of NumPy",
        "python -c \"import numpy as n, pandas as p; p.DataFrame(n.load({path!r})).to_csv('rows.csv')\"",
        (".npy", ".npz"),
        (b"\x93NUMPY",),
    ),
    _Kind(
        "a Feather file of version 1",
        "pyarrow before 24: pyarrow.feather.read_table({path!r}), then write_feather",
        (),
        (b"FEA1",),
    ),
    _Kind(
        "a web page, not data: what fetched it was given a page",
        "the file itself: download it again, signed in",
        (".html", ".htm"),
        (b"<!DOCTYPE html", b"<!doctype html", b"<html", b"<HTML"),
    ),
    _Kind("XML", _pandas("read_xml"), (".xml",), (b"<?xml",)),
    _Kind("YAML", "yq -o json {path} > rows.json", (".yaml", ".yml")),
    _Kind("a TOML file", "yq -o json {path} > rows.json", (".toml",)),
    _Kind("a tar archive", "tar -xf {path}", (".tar", ".tgz"), (b"ustar",), 257),
    _Kind("an lz4 file", "lz4 -d {path}", (".lz4",), (b"\x04\x22\x4d\x18",)),
    _Kind("a snappy file", "snzip -d {path}", (".snappy", ".sz"), (b"\xff\x06\x00\x00sNaPpY",)),
    _Kind("a Brotli file", "brotli -d {path}", (".br",)),
    _Kind("a file of compress", "uncompress {path}", (".z",), (b"\x1f\x9d",)),
    _Kind("a 7z archive", "7z x {path}", (".7z",), (b"7z\xbc\xaf\x27\x1c",)),
    _Kind("a RAR archive", "unrar x {path}", (".rar",), (b"Rar!\x1a\x07",)),
    _Kind(
        "an image",
        "a table whose column names it, with {request.image=COLUMN}",
        (".png", ".jpg", ".jpeg", ".webp", ".gif"),
        (b"\x89PNG", b"\xff\xd8\xff", b"GIF8"),
    ),
    _Kind("program text", "what it makes, as JSON Lines", (".py", ".ipynb", ".js", ".sql")),
    _Kind("a zip archive", "unzip {path}", (".zip",), (b"PK\x03\x04", b"PK\x05\x06")),
)
# what a zip archive is, by a file in it
_IN_ZIP = {"word/": "a document", "ppt/": "a presentation", "content.xml": "a spreadsheet of LibreOffice"}


def foreign(file: InputFile, head: bytes, shown_as: str, *, by_ending: bool) -> None:
    """Raises InputError where a file is of a kind that is not read.

    Args:
        by_ending: its ending counts, too: it is none of those that are read.
    """
    suffix = file.suffix.lower()
    found = [kind for kind in _KINDS if any(head[kind.magic_at :].startswith(magic) for magic in kind.magic)]
    own = next((kind for kind in found if suffix in kind.endings), None)
    if own is None and by_ending:
        own = next((kind for kind in _KINDS if suffix in kind.endings), None)
    own = own or (found[0] if found else None)
    if own is None:
        return
    if own.what == "a zip archive":
        own = _in_zip(file) or own
    path = shlex.quote(shown_as)
    command = own.command.replace("{path!r}", repr(shown_as)).replace("{path}", path)
    raise InputError(shown_as, f"is {own.what}", f"Use {command}.")


def zip_names(file: InputFile) -> list[str] | None:
    """The names in an archive; None where it is damaged, or of a version that Python does not read."""
    try:
        with file.open("rb") as opened, zipfile.ZipFile(opened) as archive:
            return archive.namelist()
    except (OSError, ValueError, NotImplementedError, EOFError, zipfile.BadZipFile):
        return None


def _in_zip(file: InputFile) -> _Kind | None:
    names = zip_names(file) if isinstance(file, Path) else None
    if names is None:
        return None
    what = next(
        (what for part, what in _IN_ZIP.items() if any(name.startswith(part) for name in names)), None
    )
    return next((kind for kind in _KINDS if kind.what == what), None)

"""The formats that are read, and which of them a file has: by its content first, then by its ending.

A new one is a module with a source, and a line in `FORMATS`.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from batchlab.counts import counted
from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.ipc import FILE_MAGIC, STREAM_MAGIC, IpcSource
from batchlab.inputs.sources.arrow_files.parquet import ENCRYPTED, ParquetSource
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.json_files.document import JsonSource
from batchlab.inputs.sources.json_files.items import CutOffError, Item, json_items
from batchlab.inputs.sources.json_files.lines import JsonlSource
from batchlab.inputs.sources.refusals import foreign, zip_names
from batchlab.inputs.sources.source import AGAIN, InputFile, Reading, Source, file_size
from batchlab.inputs.sources.tables.duck import MAGIC as DUCK_MAGIC
from batchlab.inputs.sources.tables.duck import MAGIC_OFFSET, DuckSource
from batchlab.inputs.sources.tables.sheet import SheetSource
from batchlab.inputs.sources.tables.sqlite import MAGIC as SQLITE_MAGIC
from batchlab.inputs.sources.tables.sqlite import SqliteSource
from batchlab.inputs.sources.text_files.compression import ENDINGS, Packing, packing_of
from batchlab.inputs.sources.text_files.delimited import DelimitedSource
from batchlab.inputs.sources.text_files.encoding import encoding_by_mark, unmarked_utf16
from batchlab.inputs.sources.text_files.file import TextFile, head_of
from batchlab.inputs.sources.text_files.lines import TextSource
from batchlab.remote.storage import RemoteFile

LOOK_LINES = 20
_LIST_OF_OBJECTS = re.compile(rb"\s*\[\s*\{\s*\"")


class MakeSource(Protocol):
    """A source's class."""

    def __call__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> Source: ...


@dataclass(frozen=True, slots=True)
class Format:
    """One way to hold rows.

    Attributes:
        endings: of such files.
        source: reads one or several of them.
        magic: how they begin, from `magic_at` on; () for text.
        several: whether more than one can be one input.
        inside: what a path may name inside of one, after `::`; "" for nothing.
        weak: others of its ending are often no rows, as README.txt beside a table.
    """

    name: str
    endings: tuple[str, ...]
    source: MakeSource
    magic: tuple[bytes, ...] = ()
    magic_at: int = 0
    several: bool = True
    inside: str = ""
    weak: bool = False


JSON_LINES = Format("JSON Lines", (".jsonl", ".ndjson", ".jsonlines"), JsonlSource)
JSON = Format("JSON", (".json", ".geojson"), JsonSource, weak=True)
CSV = Format("CSV", (".csv", ".tsv", ".tab", ".psv"), DelimitedSource)
TEXT = Format("plain text", (".txt", ".text", ".lst"), TextSource, weak=True)
PARQUET = Format("Parquet", (".parquet", ".pq", ".parq"), ParquetSource, (b"PAR1",))
ARROW = Format("Arrow", (".arrow", ".feather", ".ipc", ".arrows"), IpcSource, (FILE_MAGIC, STREAM_MAGIC))
XLSX = Format("Excel", (".xlsx", ".xlsm"), SheetSource, (b"PK\x03\x04",), several=False, inside="a sheet")
SQLITE = Format(
    "SQLite",
    (".db", ".sqlite", ".sqlite3"),
    SqliteSource,
    (SQLITE_MAGIC,),
    several=False,
    inside="a table or a query",
)
DUCKDB = Format(
    "DuckDB",
    (".duckdb", ".ddb"),
    DuckSource,
    (DUCK_MAGIC,),
    MAGIC_OFFSET,
    several=False,
    inside="a table or a query",
)
FORMATS = (JSON_LINES, JSON, CSV, TEXT, PARQUET, ARROW, XLSX, SQLITE, DUCKDB)
SUPPORTED = (
    ".jsonl, .ndjson, .json, .csv, .tsv, .txt (each also .gz, .zst, .bz2, .xz), .parquet, .arrow, .feather, "
    ".xlsx, .db (SQLite), .duckdb, a directory or glob of those, or -"
)


def format_by_name(name: str) -> tuple[Format | None, Packing | None]:
    """What a file's ending says."""
    parts = name.lower().split(".")
    packing = ENDINGS.get(f".{parts[-1]}") if len(parts) > 1 else None
    if packing is not None:
        parts.pop()
    ending = f".{parts[-1]}" if len(parts) > 1 else ""
    return next((one for one in FORMATS if ending in one.endings), None), packing


def format_of(file: InputFile, shown_as: str, encoding: str | None = None) -> Format:
    """The format of a file.

    Raises:
        InputError: it has none of those that are read; says by what command it gets one.
    """
    named, packed = format_by_name(file.name)
    if isinstance(file, RemoteFile) and named is not None and packed is None and named.magic:
        return named  # what a request to a store costs is not worth a look
    raw = head_of(file, shown_as, None)
    packing = packing_of(raw)
    if packing is None and packed is not None and raw and not _as_if_unpacked(raw, named):
        raise InputError(shown_as, f"damaged file: it is not {packed.name}", AGAIN)
    head = raw if packing is None else head_of(file, shown_as, packing)
    if packing is not None and (again := packing_of(head)) is not None:
        raise InputError(
            shown_as,
            f"is a {again.name} file inside of a {packing.name} file",
            f"Unpack it first: {packing.command} {shlex.quote(shown_as)}.",
        )
    binary = _binary(None if packing is not None else file, head, shown_as)
    if binary is not None:
        if packing is not None:
            raise InputError(
                shown_as,
                f"is {_a(binary.name)} file inside of a {packing.name} file",
                f"Unpack it first: {packing.command} {shlex.quote(shown_as)}.",
            )
        return binary
    if named is not TEXT or not head.startswith(b"<"):  # a prompt may well begin like a page
        foreign(file, head, shown_as, by_ending=named is None)
    if named is not None and named.magic:
        problem, remedy = f"not {_a(named.name)} file", AGAIN
        if not head:
            problem = "is empty"
        elif _is_text(head):
            problem, remedy = f"is text, and no {named.name} file", "Name it .csv, .jsonl or .txt, as it is."
        raise InputError(shown_as, problem, remedy)
    if head and not head.strip(b"\0"):
        raise InputError(shown_as, "holds nothing but zero bytes: its content was lost", AGAIN)
    if encoding is None and encoding_by_mark(head) is None and (guess := unmarked_utf16(head)) is not None:
        raise InputError(
            shown_as, "is UTF-16 text without a mark that says so", f"Pass {guess} as {{input.encoding}}."
        )
    return _of_text(named, TextFile.at(file, shown_as, encoding).head(), shown_as)


def _as_if_unpacked(head: bytes, named: Format | None) -> bool:
    """Whether a file that is called compressed is the text itself: what fetched it unpacked it."""
    if named is None or named.magic:
        return True
    if named in (JSON_LINES, JSON):
        return _start(head) in (b"{", b"[")
    return b"\0" not in head


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AE' else 'a'} {name}"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(head):  # and not only a character that the look has cut
            return False
        text = head[: error.start].decode("utf-8")
    return text.replace("\t", "").replace("\r", "").replace("\n", "").isprintable()


def _binary(file: InputFile | None, head: bytes, shown_as: str) -> Format | None:
    """The format that `head` begins; `file` is None where it is packed, and not looked into."""
    if head.startswith(ENCRYPTED):
        raise InputError(shown_as, "is an encrypted Parquet file", "Write it again without encryption.")
    for one in FORMATS:
        if any(head[one.magic_at :].startswith(magic) for magic in one.magic):
            return one if one is not XLSX or file is None or _is_workbook(file) else None
    return None


def _is_workbook(file: InputFile) -> bool:
    """Whether an archive is a workbook: documents and plain archives begin in the same way."""
    names = zip_names(file)
    if names is None:
        return file.suffix.lower() in XLSX.endings  # its reader says what is wrong with it
    return any(name.startswith("xl/") for name in names)


def _of_text(named: Format | None, head: bytes, shown_as: str) -> Format:
    """Which of the formats of text a file has, as its ending may not say all."""
    start = _start(head)
    lines = [line for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    if named is None and start not in (b"{", b"["):
        raise InputError(shown_as, "unknown kind of input", f"Use {SUPPORTED}.")
    if named in (CSV, TEXT):
        if start == b"{" and _is_object(lines[0]):
            return JSON_LINES
        return JSON if _LIST_OF_OBJECTS.match(head) else named
    if start == b"[":
        # a list in the first line, and an object in the second: a malformed line
        lists = len(lines) > 1 and _is_whole(lines[0]) and _start(lines[1]) == b"{"
        return JSON_LINES if lists else JSON
    if start != b"{":
        return named or JSON
    if _is_object(lines[0]):
        # an object that is alone in a `.json` may hold the list that is meant
        return JSON if named is not JSON_LINES and len(lines) == 1 else JSON_LINES
    if any(map(_is_object, lines[1:LOOK_LINES])):
        return JSON_LINES
    return JSON if named is not JSON_LINES or _first_is_object(head) else JSON_LINES


def _start(text: bytes) -> bytes:
    return text.lstrip(b"\xef\xbb\xbf \t\r\n\x1e")[:1]


def _first_is_object(head: bytes) -> bool:
    """Whether a text begins with an object that may be over several lines, or beside another in its line."""
    try:
        first = next(json_items(io.BytesIO(head), 0, inside=False), None)
    except CutOffError:
        return not _is_line_long(head)
    return isinstance(first, Item) and _is_object(first.text)


def _is_line_long(head: bytes) -> bool:
    return b"\n" not in head.strip()


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False


def _is_whole(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def formats_of(
    files: Sequence[DataFile], shown_as: str, reading: Reading
) -> tuple[Format, list[DataFile], list[str]]:
    """The one format of the files of a directory or a glob, those that have it, and a note on the others.

    Raises:
        InputError: there is none, or they have several.
    """
    named = [(one, format_by_name(one.file.name)[0]) for one in files]
    known = [(one, kind) for one, kind in named if kind is not None]
    if any(not kind.weak for _, kind in known):  # README.txt and metadata.json beside a table
        known = [(one, kind) for one, kind in known if not kind.weak]
    full = [(one, kind) for one, kind in known if kind.magic or file_size(one.file)]
    if not full:
        what = f"no file with rows there, only {files[0]}" if files else "no file there"
        raise InputError(shown_as, what, f"Use {SUPPORTED}.")
    found = [(one, format_of(one.file, str(one), reading.encoding)) for one, _ in full]
    kind = _common([kind for _, kind in found])
    if kind is None:
        (first, one), (second, other) = found[0], next(pair for pair in found if pair[1] is not found[0][1])
        raise InputError(
            shown_as,
            f"has files of several formats: {first} is {one.name}, {second} is {other.name}",
            "Name those that are meant by a glob.",
        )
    if not kind.several and len(found) > 1:
        raise InputError(
            shown_as,
            f"has {counted(len(found), 'file')} of {kind.name}, and one is read at a time",
            f"Name one: {found[0][0]}.",
        )
    taken = [one for one, _ in found]
    left = [one for one in files if one not in taken]
    notes = []
    if left:
        named_so = ", ".join(one.file.name for one in left[:3])
        notes = [f"{shown_as}: {counted(len(taken), f'{kind.name} file')}; left out: {named_so}"]
        if len(left) > 3:
            notes = [f"{notes[0]} and {len(left) - 3:,} more"]
    return kind, taken, notes


def _common(kinds: Sequence[Format]) -> Format | None:
    if all(kind is kinds[0] for kind in kinds):
        return kinds[0]
    # a file of one row may look like a document
    return JSON if all(kind in (JSON, JSON_LINES) for kind in kinds) else None

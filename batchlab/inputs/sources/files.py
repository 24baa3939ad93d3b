"""The files that a directory or a glob means, in name order, and what their folders' names say."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote

from batchlab.errors import InputError
from batchlab.inputs.sources.source import InputFile, unreadable
from batchlab.remote.storage import RemoteFile, below, is_directory, matching

GLOB = "*?["
NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
INT64_MAX = 2**63 - 1

# folders of tables whose log says which of their files count: reading all of them gives deleted rows again
_LOGGED = {
    "_delta_log": ("a Delta table", "COPY (FROM delta_scan('{path}')) TO 'rows.parquet' in DuckDB"),
    ".hoodie": ("a Hudi table", 'spark.read.format("hudi").load("{path}").write.parquet("rows")'),
}
_ICEBERG = "COPY (FROM iceberg_scan('{path}')) TO 'rows.parquet' in DuckDB"

KeyValue: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of an input.

    Attributes:
        keys: columns that its folders' names, `key=value`, give to each of its rows.
    """

    file: InputFile
    keys: dict[str, KeyValue] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.file)


def is_glob(path: str) -> bool:
    """Whether a path names files by a pattern."""
    return any(character in path for character in GLOB)


def files_of_directory(path: str) -> list[DataFile]:
    """All files below a local directory but those that Spark, Hive and pyarrow take for none of the data.

    Raises:
        InputError: it cannot be listed, or is a table that more than its files belong to.
    """
    root = Path(path)
    _refuse_logged(path, root)
    return _with_keys([Path(name) for name in sorted(_walk(root, path), key=_order)], root.parts)


def files_of_glob(pattern: str) -> list[DataFile]:
    """The files that a local pattern matches; of a directory that it matches, those below.

    Raises InputError.
    """
    fixed = PurePath(pattern).parts
    fixed = fixed[: next(index for index, part in enumerate(fixed) if is_glob(part))]
    asked = any(_is_hidden(part) for part in PurePath(pattern).parts[len(fixed) :])
    found: list[str] = []
    for name in glob.glob(_with_literals(pattern), recursive=True):  # noqa: PTH207 - a string stays as it was written
        if not asked and any(_is_hidden(part) for part in Path(name).parts[len(fixed) :]):
            continue
        found += _walk(Path(name), pattern) if Path(name).is_dir() else [name]
    return _with_keys([Path(name) for name in sorted(set(found), key=_order)], fixed)


def _with_literals(pattern: str) -> str:
    """The pattern with its first folders as they are where they are there: `[2026] answers/*.csv`."""
    parts = PurePath(pattern).parts
    for count in range(len(parts) - 1, 0, -1):
        start = os.path.join(*parts[:count])
        if not {"*", "?"} & set(start) and os.path.isdir(start):  # noqa: PTH112
            return os.path.join(glob.escape(start), *parts[count:])
    return pattern


def files_at_url(url: str) -> list[DataFile] | None:
    """The objects that are meant where a URL is a directory or a glob; None where it is one object.

    Raises StorageError.
    """
    if is_glob(url):
        start = url[: min(url.index(character) for character in GLOB if character in url)].rpartition("/")[0]
        found: Sequence[RemoteFile] = matching(url)
    elif is_directory(url):
        start, found = url.rstrip("/"), below(url)
    else:
        return None
    inside = len(PurePosixPath(start).parts)
    kept = [one for one in found if not any(map(_is_hidden, PurePosixPath(str(one)).parts[inside:]))]
    return _with_keys(kept, PurePosixPath(start).parts)


def _order(name: str) -> tuple[str, ...]:
    return Path(name).parts


def _is_hidden(name: str) -> bool:
    """As Hadoop's listing has it, and what Windows and Office leave behind; a folder that is a key may
    begin with an underscore."""
    return (
        name.startswith((".", "~$"))
        or (name.startswith("_") and "=" not in name)
        or name.lower() in {"thumbs.db", "desktop.ini"}
    )


def _walk(root: Path, shown_as: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise unreadable(str(error.filename or shown_as), error) from error

    found = []
    ways = {str(root): frozenset({os.path.realpath(root)})}  # where a folder really is, and those it is in
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        way, kept = ways.pop(folder), []
        for name in filterfalse(_is_hidden, folders):
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if not any(Path(one).is_relative_to(real) for one in way):  # a link back would never end
                kept.append(name)
                ways[path] = way | {real}
        folders[:] = kept
        found += [os.path.join(folder, name) for name in names if not _is_hidden(name)]
    # a link to what is gone stays: reading it says so
    return [name for name in found if os.path.isfile(name) or _is_dangling(name)]  # noqa: PTH113


def _is_dangling(name: str) -> bool:
    return os.path.islink(name) and not os.path.exists(name)  # noqa: PTH110, PTH114


def _refuse_logged(path: str, root: Path) -> None:
    for name, (what, command) in _LOGGED.items():
        if (root / name).is_dir():
            raise InputError(
                path,
                f"is {what}, whose log says which of its files count",
                f"Use {command.format(path=path)}.",
            )
    if (root / "data").is_dir() and any(root.glob("metadata/*.metadata.json")):
        raise InputError(
            path,
            "is an Iceberg table, whose metadata say which of its files count",
            f"Use {_ICEBERG.format(path=path)}.",
        )


def _with_keys(files: Sequence[InputFile], root: tuple[str, ...]) -> list[DataFile]:
    """Each file with the keys of the folders below `root` that it is in."""
    texts = [dict(_keys(PurePath(str(file)).parts[len(root) : -1])) for file in files]
    names = dict.fromkeys(name for one in texts for name in one)
    whole = {name: _all_whole(one.get(name) for one in texts) for name in names}
    return [
        DataFile(
            file,
            {
                name: int(text) if whole[name] and (text := one.get(name)) is not None else one.get(name)
                for name in names
            },
        )
        for file, one in zip(files, texts, strict=True)
    ]


def _keys(folders: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for folder in folders:
        name, equals, text = folder.partition("=")
        if equals and name:
            yield unquote(name), None if text == NULL_KEY else unquote(text)


def _all_whole(texts: Iterable[str | None]) -> bool:
    """Whether all of a key's values are whole numbers that are written as numbers are."""
    seen = [text for text in texts if text is not None]
    return bool(seen) and all(
        len(text) < 20
        and text.removeprefix("-").isascii()
        and text.removeprefix("-").isdigit()
        and str(int(text)) == text
        and abs(int(text)) <= INT64_MAX
        for text in seen
    )

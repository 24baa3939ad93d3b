"""`[input]`: what is read, and how."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.job.setting import MEDIA, Asks, at_least, setting

ROWS = "rows"  # what a message calls input that has no path
INSIDE = "::"  # between a file's path and what is meant inside of it: a sheet, a table, a query
MEMORY = "memory:"  # an input path's beginning: rows of a program, in a file of the run directory


@dataclass(frozen=True, slots=True)
class InputJob:
    """What is read. `path` is also `memory:FILE`, for rows of a program."""

    path: str = setting(
        "",
        flags="-i --input --input-file",
        unit="ROWS",
        is_path=True,
        own_keyword="input",
        help="Prompts: .jsonl, .ndjson, .json, .csv, .tsv, .txt (also .gz, .zst, .bz2, .xz), .parquet, .arrow, "
        ".feather, .xlsx, SQLite or DuckDB (FILE::TABLE, 'FILE::SELECT …'), a directory or glob of files, an "
        "s3://, gs://, az:// or hf:// URL of those, or - for standard input (JSONL).",
    )
    id: str | None = setting(
        None,
        flags="--id-column",
        unit="COLUMN",
        shown="the row's position",
        help="Column for custom_id.",
    )
    delimiter: str | None = setting(
        None, flags="--delimiter", unit="CHAR", shown="found in the file", help="CSV delimiter."
    )
    encoding: str | None = setting(
        None,
        flags="--encoding",
        unit="NAME",
        shown="utf-8, or what a byte order mark says",
        help="Encoding of a text file, such as cp1252 (Windows, Excel).",
    )
    quotes: bool = setting(
        True,
        flags="--quotes/--no-quotes",
        help="Whether CSV cells may be quoted; not when quotes are plain text.",
    )
    row_params: str | None = setting(
        None,
        flags="--row-params",
        unit="COLUMN",
        asks=Asks.ALWAYS,
        help="Column with a JSON object of parameters for its row, merged over the job's.",
    )
    model: str | None = setting(
        None,
        flags="--model-column",
        unit="COLUMN",
        asks=Asks.ALWAYS,
        help="Column that names a row's model; {request.model} where it is null.",
    )
    endpoint: str | None = setting(
        None,
        flags="--endpoint-column",
        unit="COLUMN",
        asks=Asks.ALWAYS,
        help="Column that names the [[endpoint]] a row must go to; any where it is null.",
    )
    null_as: str | None = setting(
        None,
        flags="--null-as",
        unit="TEXT",
        asks=Asks.ALWAYS,
        shown="a null is an error",
        help="What a null becomes in a template.",
    )
    allow_files_under: str | None = setting(
        None,
        flags="--allow-files-under",
        group=MEDIA,
        unit="DIR",
        is_path=True,
        shown="none is read",
        help="Read the files that rows name, if they are in DIR; relative paths are relative to it.",
    )
    limit: int | None = setting(
        None, flags="-n --limit", unit="N", check=at_least(1), help="Only the first N rows."
    )
    strict: bool = setting(
        False,
        flags="--strict",
        help="Refuse to start when a line is malformed, instead of failing that row.",
    )

    @property
    def may_be_batch_lines(self) -> bool:
        """Whether rows may be lines of a batch file, by what the path tells: they are in JSON."""
        name = self.path.lower()
        return bool(name) and not any(
            ending in name for ending in (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".pq")
        )

    @property
    def shown_as(self) -> str:
        """What a message calls it."""
        return ROWS if self.path.startswith(MEMORY) else self.path

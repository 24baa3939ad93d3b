"""`[output]`: where results go, which are taken over, and what is told of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchlab.job.setting import MONEY, SCHEMA, WATCHING, at_least, setting
from batchlab.job.values import listed_words

SHARD_ROWS = 10_000  # ~8 MB parts at 800 B a row
FAIL_ON = ("truncated", "filtered", "empty")  # what may make an exit code 1; counts of `totals.Totals`

# formats of an output file or directory, and the endings that name one
FORMATS = ("parquet", "csv", "jsonl", "openai-batch", "hf")
ENDINGS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}

# of the cells of a CSV file, by what a person writes for it
DELIMITERS = {",": ",", ";": ";", "|": "|", "tab": "\t"}


@dataclass(frozen=True, slots=True)
class OutputJob:
    """Where results go.

    Attributes:
        run_dir: a directory of this machine. A URL given for it becomes `remote`, and `run_dir` the
            directory where the journal of that run is kept.
        to: what the name of `file` and the input say when None.
        shard_rows: None for `SHARD_ROWS`, or fewer when several processes, or batches that may be taken back, need more.
    """

    run_dir: str = setting(
        "",
        flags="--run-dir",
        unit="DIR",
        is_path=True,
        complete="runs",
        shown="runs/NAME",
        help="Where the run keeps its journal and parts; at a URL the parts, with the journal in runs/.",
    )
    remote: str | None = setting(
        None,
        flags="--remote",
        unit="URL",
        help="Copy each finished part of the run directory to this URL.",
    )
    file: str | None = setting(
        None,
        flags="-o --output --output-file",
        unit="FILE",
        is_path=True,
        own_keyword="output",
        help="Also write one .parquet, .csv or .jsonl file at the end, here or at a URL, or a Hugging Face data "
        "set to a directory (DIR/): one row per input row, in input order.",
    )
    to: str | None = setting(
        None,
        flags="--to",
        unit="format",
        choices=FORMATS,
        shown="by its ending; openai-batch for the .jsonl of a batch file",
        help="Format of the output.",
    )
    errors: str | None = setting(
        None,
        flags="--errors",
        unit="FILE",
        is_path=True,
        shown="beside the others",
        help="Where openai-batch puts the lines of failed rows.",
    )
    overwrite: bool = setting(
        False,
        flags="--overwrite",
        help="Replace an output file that another program or run has written; what this run wrote is replaced anyway.",
    )
    csv_raw: bool = setting(
        False,
        flags="--csv-raw",
        help="Do not put ' before CSV cells that a spreadsheet would run as a formula.",
    )
    csv_delimiter: str = setting(
        ",",
        flags="--csv-delimiter",
        unit="CHAR",
        choices=tuple(DELIMITERS),
        help="What separates the cells of a CSV file; Excel wants ; where the decimal sign is a comma.",
    )
    csv_encoding: str = setting(
        "utf-8",
        flags="--csv-encoding",
        unit="NAME",
        choices=("utf-8", "utf-8-sig"),
        help="Encoding of a CSV file; utf-8-sig begins it with the byte order mark by which Excel knows UTF-8.",
    )
    prefix: str = setting("", flags="--prefix", unit="TEXT", help="Put before the names of result columns.")
    expand: bool = setting(
        False,
        flags="--expand/--no-expand",
        group=SCHEMA,
        help="Also a typed column for each top-level property of the schema.",
    )
    expand_prefix: str = setting(
        "",
        flags="--expand-prefix",
        unit="TEXT",
        group=SCHEMA,
        help="Put before the names of those columns.",
    )
    shard_rows: int | None = setting(
        None,
        flags="--shard-rows",
        unit="N",
        check=at_least(1),
        shown=f"{SHARD_ROWS}; fewer for several processes, or `cheapest` with a deadline",
        help="Rows a part.",
    )
    reuse: tuple[str, ...] = setting(
        (),
        flags="--reuse",
        group=MONEY,
        unit="RUN",
        is_path=True,
        help="Take over the ok answers that another run has to identical requests, unpaid; repeatable.",
    )
    dedupe: bool = setting(
        False,
        flags="--dedupe/--no-dedupe",
        group=MONEY,
        help="Send identical requests once and copy the answer; only those with temperature 0 and for embeddings.",
    )
    accept_lost_parts: bool = setting(
        False,
        flags="--accept-lost-parts",
        help="Ask again for rows whose paid results are gone from the run directory; their cost stays in its books.",
    )
    metrics_file: str | None = setting(
        None,
        flags="--metrics-file",
        unit="FILE.prom",
        group=WATCHING,
        is_path=True,
        help="Replace FILE every 10 s and at the end by the run's numbers in Prometheus text format.",
    )
    log_file: str | None = setting(
        None,
        flags="--log-file",
        unit="FILE",
        group=WATCHING,
        is_path=True,
        help="Append what happens to FILE, one JSON object a line.",
    )
    otel: bool = setting(
        False,
        flags="--otel",
        group=WATCHING,
        help="Send OpenTelemetry spans as the OTEL_* variables say; needs pip install 'batchlab[otel]'.",
    )
    on_end: str | None = setting(
        None,
        flags="--on-end",
        unit="COMMAND",
        group=WATCHING,
        help="Run this by the shell when the run ends or stops: the summary is JSON on its standard input, "
        "and in variables such as BATCHLAB_EXIT_CODE.",
    )
    fail_on: tuple[str, ...] = setting(
        (),
        flags="--fail-on",
        unit="WORD[,WORD]",
        group=WATCHING,
        read=listed_words,
        complete="fail_on",
        shown="for failed and invalid rows only",
        help="End a finished run with exit code 1 when it has such answers, of truncated, filtered, empty.",
    )


def output_format(file: str, to: str | None, *, batch: bool) -> str | None:
    """The format of an output file, one of FORMATS; None when nothing tells.

    Args:
        to: what the user said.
        batch: the input is a batch file: then `.jsonl` is what the Batch API and vLLM write.
    """
    if to is not None:
        return to
    if file.endswith("/"):
        return "hf"
    ending = ENDINGS.get(Path(file).suffix.lower())
    return "openai-batch" if batch and ending == "jsonl" else ending

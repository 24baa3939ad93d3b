"""Options of `[input]` and `[output]`: files, how rows are read, what results are taken over and kept."""

from __future__ import annotations

import click

from batchlab.cli.completion import fail_on_words, run_dirs
from batchlab.cli.options.option import option
from batchlab.job import FORMATS

# where rows come from and results go to
FILES = dict(
    [
        option(
            "input.path",
            "-i",
            "--input",
            "--input-file",
            metavar="ROWS",
            type=click.Path(),
            help="Prompts: .jsonl, .ndjson, .csv, .tsv (also .gz, .jsonl.zst), .parquet, a directory or glob of Parquet files, an s3://, gs://, az:// or hf:// URL of those, or - for standard input (JSONL).",
        ),
        option(
            "output.file",
            "-o",
            "--output",
            "--output-file",
            metavar="FILE",
            type=click.Path(),
            help="Also write one .parquet, .csv or .jsonl file at the end, here or at a URL, or a Hugging Face data set to a directory (DIR/): one row per input row, in input order.",
        ),
        option(
            "output.to",
            "--to",
            type=click.Choice(FORMATS),
            help="Format of the output. [default: by its ending; openai-batch for the .jsonl of a batch file]",
        ),
        option(
            "output.errors",
            "--errors",
            metavar="FILE",
            type=click.Path(),
            help="Where openai-batch puts the lines of failed rows. [default: beside the others]",
        ),
        option(
            "output.run_dir",
            "--run-dir",
            metavar="DIR",
            type=click.Path(),
            shell_complete=run_dirs,
            help="Where the run keeps its journal and parts; at a URL the parts, with the journal in runs/. [default: runs/NAME]",
        ),
        option(
            "output.remote",
            "--remote",
            metavar="URL",
            help="Copy each finished part of the run directory to this URL.",
        ),
    ]
)

# how rows are read
ROWS = dict(
    [
        option(
            "input.id",
            "--id-column",
            metavar="COLUMN",
            help="Column for custom_id. [default: the row's position]",
        ),
        option(
            "input.row_params",
            "--row-params",
            metavar="COLUMN",
            help="Column with a JSON object of parameters for its row.",
        ),
        option(
            "input.model",
            "--model-column",
            metavar="COLUMN",
            help="Column that names a row's model; --model where it is null.",
        ),
        option(
            "input.endpoint",
            "--endpoint-column",
            metavar="COLUMN",
            help="Column that names the [[endpoint]] a row must go to; any where it is null.",
        ),
        option(
            "input.null_as",
            "--null-as",
            metavar="TEXT",
            help="What a null becomes in a template. [default: a null is an error]",
        ),
        option(
            "input.delimiter",
            "--delimiter",
            metavar="CHAR",
            help="CSV delimiter. [default: , or tab for .tsv]",
        ),
        option(
            "input.quotes",
            "--quotes/--no-quotes",
            default=None,
            help="Whether CSV cells may be quoted; --no-quotes when quotes are plain text. [default: --quotes]",
        ),
        option("input.limit", "-n", "--limit", type=int, metavar="N", help="Only the first N rows."),
        option(
            "input.strict",
            "--strict",
            is_flag=True,
            default=None,
            help="Refuse to start when a line is malformed, instead of failing that row.",
        ),
    ]
)

# which answers are taken over, and how results are laid out
RESULTS = dict(
    [
        option(
            "output.reuse",
            "--reuse",
            multiple=True,
            metavar="RUN",
            help="Take over the ok answers that another run has to identical requests, unpaid; repeatable.",
        ),
        option(
            "output.dedupe",
            "--dedupe/--no-dedupe",
            default=None,
            help="Send identical requests once and copy the answer; only those with temperature 0 and for embeddings. [default: --no-dedupe]",
        ),
        option("output.prefix", "--prefix", metavar="TEXT", help="Put before the names of result columns."),
        option(
            "output.shard_rows",
            "--shard-rows",
            type=int,
            metavar="N",
            help="Rows a part. [default: 10000; fewer for several processes]",
        ),
    ]
)

# what machines are told of a run
WATCHING = dict(
    [
        option(
            "output.metrics_file",
            "--metrics-file",
            metavar="FILE.prom",
            type=click.Path(),
            help="Replace FILE every 10 s and at the end by the run's numbers in Prometheus text format.",
        ),
        option(
            "output.log_file",
            "--log-file",
            metavar="FILE",
            type=click.Path(),
            help="Append what happens to FILE, one JSON object a line.",
        ),
        option(
            "output.otel",
            "--otel",
            is_flag=True,
            default=None,
            help="Send OpenTelemetry spans as the OTEL_* variables say; needs pip install 'batchlab[otel]'.",
        ),
        option(
            "output.fail_on",
            "--fail-on",
            metavar="WORD[,WORD]",
            shell_complete=fail_on_words,
            help="End a finished run with exit code 1 when it has such answers, of truncated, filtered, empty. [default: for failed and invalid rows only]",
        ),
    ]
)

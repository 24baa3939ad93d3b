"""The options that describe a job, shared by `run`, `plan` and `check`, and how they become one."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from batchlab.cli.completion import endpoint_words, preset_names, run_dirs
from batchlab.errors import UsageError
from batchlab.job import FORMATS, SCHEMA_MODES, TASK_PATHS, Job
from batchlab.job_file import job_from, load_job

F = TypeVar("F", bound=Callable[..., Any])


def _option(key: str, *names: str, **kwargs: Any) -> tuple[str, Callable[[F], F]]:
    parameter = key.replace(".", "__")
    return parameter, click.option(*names, parameter, **kwargs)


class _Processes(click.ParamType[Any]):
    """A number, or `auto`; what is neither is told with the job's other problems."""

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        del param, ctx
        return int(value) if isinstance(value, str) and value.isdecimal() else value


# dotted job key ↔ option; help states the default and the unit
_OPTIONS = dict(
    [
        _option(
            "input.path",
            "-i",
            "--input",
            "--input-file",
            metavar="ROWS",
            type=click.Path(),
            help="Prompts: .jsonl, .ndjson, .csv, .tsv (also .gz, .jsonl.zst), .parquet, a directory or glob of Parquet files, an s3://, gs://, az:// or hf:// URL of those, or - for standard input (JSONL).",
        ),
        _option(
            "output.file",
            "-o",
            "--output",
            "--output-file",
            metavar="FILE",
            type=click.Path(),
            help="Also write one .parquet, .csv or .jsonl file at the end, here or at a URL, or a Hugging Face data set to a directory (DIR/): one row per input row, in input order.",
        ),
        _option(
            "output.to",
            "--to",
            type=click.Choice(FORMATS),
            help="Format of the output. [default: by its ending; openai-batch for the .jsonl of a batch file]",
        ),
        _option(
            "output.errors",
            "--errors",
            metavar="FILE",
            type=click.Path(),
            help="Where openai-batch puts the lines of failed rows. [default: beside the others]",
        ),
        _option(
            "output.run_dir",
            "--run-dir",
            metavar="DIR",
            type=click.Path(),
            shell_complete=run_dirs,
            help="Where the run keeps its journal and parts; at a URL the parts, with the journal in runs/. [default: runs/NAME]",
        ),
        _option(
            "output.remote",
            "--remote",
            metavar="URL",
            help="Copy each finished part of the run directory to this URL.",
        ),
        _option(
            "request.model",
            "-m",
            "--model",
            envvar="BATCHLAB_MODEL",
            show_envvar=True,
            metavar="MODEL",
            help="Model name, sent as written.",
        ),
        _option(
            "request.prompt",
            "-p",
            "--prompt",
            metavar="TEXT",
            help="User message; {column} is replaced by the row's value.",
        ),
        _option(
            "request.prompt_file",
            "--prompt-file",
            metavar="FILE.j2",
            type=click.Path(),
            help="Jinja2 template of the user message, instead of --prompt.",
        ),
        _option(
            "request.system",
            "-s",
            "--system",
            metavar="TEXT",
            help="System message; {column} works here too.",
        ),
        _option(
            "request.history",
            "--history-column",
            metavar="COLUMN",
            help="Column with earlier turns, a list of messages, put before the user message.",
        ),
        _option(
            "request.image",
            "--image-column",
            multiple=True,
            metavar="COLUMN",
            help="Column with images for the user message: URLs, paths, bytes, or lists of them; repeatable.",
        ),
        _option(
            "request.audio",
            "--audio-column",
            multiple=True,
            metavar="COLUMN",
            help="Column with WAV or MP3 sounds for the user message: data URLs, paths, bytes, or lists of them; repeatable.",
        ),
        _option(
            "input.allow_files_under",
            "--allow-files-under",
            metavar="DIR",
            help="Read the files that rows name, if they are in DIR; relative paths are relative to it. [default: none is read]",
        ),
        _option(
            "request.image_detail",
            "--image-detail",
            metavar="LEVEL",
            help="Detail of the images, such as low or high. [default: not sent]",
        ),
        _option(
            "request.image_max_side",
            "--image-max-side",
            type=int,
            metavar="PIXELS",
            help="Scale larger images down; needs pip install 'batchlab[images]'. [default: sent as they are]",
        ),
        _option(
            "request.max_image_bytes",
            "--max-image-bytes",
            type=int,
            metavar="BYTES",
            help="Largest image, before base64; a larger one fails its row. [default: 20971520]",
        ),
        _option(
            "request.max_audio_bytes",
            "--max-audio-bytes",
            type=int,
            metavar="BYTES",
            help="Largest sound, before base64; a larger one fails its row. [default: 20971520]",
        ),
        _option(
            "request.task",
            "--task",
            type=click.Choice(list(TASK_PATHS)),
            help="What is asked: a chat, a text completion, or a vector for each row. [default: chat; a batch file's lines say theirs]",
        ),
        _option(
            "request.batch_rows",
            "--batch-rows",
            type=int,
            metavar="N",
            help="Most rows in one request for embeddings. [default: 64]",
        ),
        _option(
            "request.batch_tokens",
            "--batch-tokens",
            type=int,
            metavar="N",
            help="Most tokens, as estimated, in one request for embeddings. [default: 100000]",
        ),
        _option(
            "endpoint.base_url",
            "--base-url",
            envvar="BATCHLAB_BASE_URL",
            show_envvar=True,
            metavar="URL",
            shell_complete=endpoint_words,
            help="Endpoint, or 'simulator', 'local', 'local:FILE.gguf'. [default: ModelsLab]",
        ),
        _option(
            "endpoint.preset",
            "--preset",
            metavar="NAME",
            shell_complete=preset_names,
            help="A known service instead of --base-url: openai, groq, ollama, ...; batchlab check --list shows them.",
        ),
        _option(
            "endpoint.api_key_env",
            "--api-key-env",
            metavar="NAME",
            help="Variable with the API key. [default: the service's usual one, such as MODELSLAB_API_KEY]",
        ),
        _option(
            "endpoint.api_key_file",
            "--api-key-file",
            metavar="FILE",
            type=click.Path(),
            help="File with the API key; refused when others can read it.",
        ),
        _option(
            "endpoint.api_key_keyring",
            "--api-key-keyring",
            metavar="SERVICE[:USER]",
            help="Entry of the system's keyring with the API key; needs pip install 'batchlab[keyring]'.",
        ),
        _option(
            "endpoint.ca_bundle",
            "--ca-bundle",
            metavar="FILE",
            type=click.Path(),
            help="Certificates (PEM) to trust instead of the system's.",
        ),
        _option(
            "endpoint.insecure",
            "--insecure",
            is_flag=True,
            default=None,
            help="Do not verify TLS certificates; the summary says so.",
        ),
        _option(
            "endpoint.allow_http",
            "--allow-http",
            is_flag=True,
            default=None,
            help="Send the key over plain http to a host other than this machine.",
        ),
        _option(
            "limits.concurrency",
            "-c",
            "--concurrency",
            type=int,
            metavar="N",
            help="Most requests in flight; the window adapts below it. [default: 64]",
        ),
        _option(
            "limits.processes",
            "--processes",
            type=_Processes(),
            metavar="N|auto",
            help="Processes of this machine that share the run, and all its limits; auto for one a CPU. [default: 1]",
        ),
        _option("limits.rpm", "--rpm", type=float, metavar="N", help="Most requests a minute."),
        _option("limits.tpm", "--tpm", type=float, metavar="N", help="Most tokens a minute."),
        _option(
            "limits.max_cost",
            "--max-cost",
            type=float,
            metavar="USD",
            help="Never spend more, counting what is in flight; needs a known price.",
        ),
        _option(
            "limits.max_tokens_total",
            "--max-tokens-total",
            type=float,
            metavar="N",
            help="Never use more tokens in all, counting what is in flight.",
        ),
        _option(
            "limits.retry_truncated",
            "--retry-truncated",
            type=float,
            metavar="FACTOR",
            help="Ask a row cut off by max_tokens once more with FACTOR times as many. [default: keep it as truncated]",
        ),
        _option(
            "limits.retry_empty",
            "--retry-empty",
            type=int,
            metavar="N",
            help="Ask a row with an empty answer up to N times more. [default: 0]",
        ),
        _option(
            "limits.max_pause",
            "--max-pause",
            metavar="TIME",
            help="Longest Retry-After to wait out; beyond it the run stops and says when to come back. [default: 6h]",
        ),
        _option(
            "limits.deadline", "--deadline", metavar="TIME", help="Stop in order after this long, e.g. 8h."
        ),
        _option(
            "limits.max_attempts",
            "--max-attempts",
            type=int,
            metavar="N",
            help="Attempts a row gets when the server fails. [default: 6]",
        ),
        _option(
            "limits.timeout",
            "--timeout",
            metavar="TIME",
            help="Longest one request may take. [default: 600s]",
        ),
        _option(
            "limits.row_deadline",
            "--row-deadline",
            metavar="TIME",
            help="Longest that all attempts of one row may take together; then it fails. [default: none]",
        ),
        _option(
            "limits.hedge",
            "--hedge",
            is_flag=True,
            default=None,
            help="Ask the last, slow rows a second time; only where a call costs nothing.",
        ),
        _option(
            "limits.max_outage",
            "--max-outage",
            metavar="TIME",
            help="Longest outage or pause to wait out. [default: 6h]",
        ),
        _option("price.input", "--price-in", type=float, metavar="USD", help="Price of 1M prompt tokens."),
        _option(
            "price.output", "--price-out", type=float, metavar="USD", help="Price of 1M completion tokens."
        ),
        _option(
            "price.cached",
            "--price-cached",
            type=float,
            metavar="USD",
            help="Price of 1M cached prompt tokens. [default: as --price-in]",
        ),
        _option(
            "request.stream",
            "--stream/--no-stream",
            default=None,
            help="Ask for SSE replies; gives ttft_ms. [default: plain]",
        ),
        _option(
            "request.schema",
            "--schema",
            metavar="FILE",
            help="JSON Schema that answers must fit: a file, or module:Model of a Pydantic model. Fills the column parsed.",
        ),
        _option(
            "request.schema_mode",
            "--schema-mode",
            type=click.Choice(SCHEMA_MODES),
            help="How the schema is asked for: as response_format, or in the system message. [default: by service]",
        ),
        _option(
            "request.schema_strict",
            "--schema-strict/--no-schema-strict",
            default=None,
            help="Whether response_format says strict. [default: where the schema allows it]",
        ),
        _option(
            "request.schema_retries",
            "--schema-retries",
            type=int,
            metavar="N",
            help="Correction turns for an answer that does not fit: the model is shown what is wrong. [default: 2]",
        ),
        _option(
            "output.expand",
            "--expand/--no-expand",
            default=None,
            help="Also a typed column for each top-level property of the schema. [default: --no-expand]",
        ),
        _option(
            "output.expand_prefix",
            "--expand-prefix",
            metavar="TEXT",
            help="Put before the names of those columns.",
        ),
        _option(
            "input.id",
            "--id-column",
            metavar="COLUMN",
            help="Column for custom_id. [default: the row's position]",
        ),
        _option(
            "input.row_params",
            "--row-params",
            metavar="COLUMN",
            help="Column with a JSON object of parameters for its row.",
        ),
        _option(
            "input.model",
            "--model-column",
            metavar="COLUMN",
            help="Column that names a row's model; --model where it is null.",
        ),
        _option(
            "input.endpoint",
            "--endpoint-column",
            metavar="COLUMN",
            help="Column that names the [[endpoint]] a row must go to; any where it is null.",
        ),
        _option(
            "input.null_as",
            "--null-as",
            metavar="TEXT",
            help="What a null becomes in a template. [default: a null is an error]",
        ),
        _option(
            "input.delimiter",
            "--delimiter",
            metavar="CHAR",
            help="CSV delimiter. [default: , or tab for .tsv]",
        ),
        _option(
            "input.quotes",
            "--quotes/--no-quotes",
            default=None,
            help="Whether CSV cells may be quoted; --no-quotes when quotes are plain text. [default: --quotes]",
        ),
        _option("input.limit", "-n", "--limit", type=int, metavar="N", help="Only the first N rows."),
        _option(
            "input.strict",
            "--strict",
            is_flag=True,
            default=None,
            help="Refuse to start when a line is malformed, instead of failing that row.",
        ),
        _option(
            "output.reuse",
            "--reuse",
            multiple=True,
            metavar="RUN",
            help="Take over the ok answers that another run has to identical requests, unpaid; repeatable.",
        ),
        _option(
            "output.dedupe",
            "--dedupe/--no-dedupe",
            default=None,
            help="Send identical requests once and copy the answer; only those with temperature 0 and for embeddings. [default: --no-dedupe]",
        ),
        _option("output.prefix", "--prefix", metavar="TEXT", help="Put before the names of result columns."),
        _option(
            "output.shard_rows",
            "--shard-rows",
            type=int,
            metavar="N",
            help="Rows a part. [default: 10000; fewer for several processes]",
        ),
        _option(
            "output.metrics_file",
            "--metrics-file",
            metavar="FILE.prom",
            type=click.Path(),
            help="Replace FILE every 10 s and at the end by the run's numbers in Prometheus text format.",
        ),
        _option(
            "output.log_file",
            "--log-file",
            metavar="FILE",
            type=click.Path(),
            help="Append what happens to FILE, one JSON object a line.",
        ),
        _option(
            "output.otel",
            "--otel",
            is_flag=True,
            default=None,
            help="Send OpenTelemetry spans as the OTEL_* variables say; needs pip install 'batchlab[otel]'.",
        ),
    ]
)

# flags that go into the request body as they are
_PARAMS: dict[str, Any] = {
    "max_tokens": click.option("--max-tokens", type=int, metavar="N", help="Most completion tokens a row."),
    "temperature": click.option("--temperature", type=float, metavar="T", help="Sampling temperature."),
    "top_p": click.option("--top-p", type=float, metavar="P", help="Nucleus sampling."),
}


def job_options(command: F) -> F:
    """Adds the JOB argument and every option that describes a job."""
    command = click.option(
        "--param", multiple=True, metavar="K=JSON", help="Any further request parameter; repeatable."
    )(command)
    for option in reversed([*_OPTIONS.values(), *_PARAMS.values()]):
        command = option(command)
    return click.argument("job_file", metavar="[JOB.toml | ROWS]", required=False, type=click.Path())(command)


def job_of(
    job_file: str | None, options: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None
) -> Job:
    """The job that a command line describes. Raises UsageError, all problems at once.

    Args:
        job_file: a job file if it ends in .toml, else the input, as -i names it.
    """
    flags: dict[str, Any] = {name.replace("__", "."): options[name] for name in _OPTIONS}
    # a repeatable option that is not there is an empty tuple
    flags = {key: None if value == () else value for key, value in flags.items()}
    params = {name: options[name] for name in _PARAMS if options[name] is not None}
    for pair in options.get("param", ()):
        name, found, text = pair.partition("=")
        if not found or not name:
            raise UsageError(f"--param {pair}: expected NAME=JSON, for example seed=7.")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text  # stop=END reads as a string; quoting for the shell is enough
    flags["request.params"] = params
    flags |= extra or {}
    if job_file is None:
        return job_from({}, flags, where="command line")
    if Path(job_file).suffix != ".toml":
        if flags["input.path"] is not None:
            raise UsageError(
                f"{job_file}: a job file ends in .toml, and the input is {flags['input.path']} already; keep one."
            )
        return job_from({}, flags | {"input.path": job_file}, where="command line")
    return load_job(job_file, flags)


def this_command() -> str:
    """The command line that was typed, to be printed as the way to go on."""
    return shell_line(["batchlab", *(word for word in sys.argv[1:] if word != "--fresh")])


def shell_line(words: Sequence[str]) -> str:
    """Words as the shell of this system takes them."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)

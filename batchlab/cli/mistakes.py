"""What was probably meant by a command line that the parser does not understand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from batchlab.job.params import KNOWN_PARAMETERS

_AT_ONCE = "-c N is the most requests at once."
_FIRST = "-n N sends the first N rows; 'batchlab plan --pilot N' a random sample of them."
_NO_RESUME = "None is needed: the same command goes on where it stopped."
_GIVEN_KEY = "A key in a command line gets into histories and logs: --api-key-env NAME names its variable."
_RUN_DIR = "--run-dir DIR is where the run is kept, -o FILE one file with all rows at the end."

# options that people know from elsewhere; what stands here is true whatever the command
_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("--dry-run", "--estimate", "--validate", "--no-send"),
        "'batchlab plan' with the same arguments checks and estimates all, and sends nothing.",
    ),
    **dict.fromkeys(("--resume", "--continue", "--restart"), _NO_RESUME),
    "--force": "--fresh goes on with a changed request; another --run-dir begins anew.",
    **dict.fromkeys(
        ("--verbose", "-v", "-vv", "--debug", "--log-level", "--log"),
        "--log-file FILE has every event, --progress plain a line every few seconds.",
    ),
    **dict.fromkeys(
        ("--sample", "--head", "--first", "--take", "--rows", "--max-rows", "--num-rows", "--nrows"), _FIRST
    ),
    **dict.fromkeys(
        ("--retries", "--max-retries", "--num-retries", "--retry"),
        "--max-attempts N is how often a row is sent when the server fails; 'batchlab retry RUN' asks again "
        "for failed rows.",
    ),
    **dict.fromkeys(
        (
            "--workers",
            "--num-workers",
            "--threads",
            "--parallel",
            "--parallelism",
            "--jobs",
            "-j",
            "--max-concurrency",
            "--concurrent",
            "--batch-size",
            "--max-connections",
        ),
        _AT_ONCE,
    ),
    **dict.fromkeys(("--output-dir", "--out-dir", "--outdir", "--out", "--save-dir", "--save"), _RUN_DIR),
    **dict.fromkeys(
        ("--api-key", "--key", "--token", "--apikey", "--api_key", "--openai-api-key"), _GIVEN_KEY
    ),
    **dict.fromkeys(
        ("--url", "--api-base", "--endpoint", "--host", "--server", "--base", "--api-url"),
        "--base-url URL is the endpoint's address, --preset NAME a known service.",
    ),
    **dict.fromkeys(
        ("--provider", "--service", "--backend"), "--preset NAME names a service: 'batchlab check --list'."
    ),
    **dict.fromkeys(
        ("--template", "--prompt-template"), "-p TEXT is the prompt, --prompt-file FILE.j2 a Jinja2 template."
    ),
    **dict.fromkeys(
        ("--column", "--text-column", "--prompt-column", "--field", "--prompt-field"),
        "-p '{COLUMN}' sends a column as it is.",
    ),
    **dict.fromkeys(
        ("--budget", "--max-budget", "--max-usd", "--max-spend", "--cost-limit"), "--max-cost USD is the cap."
    ),
    **dict.fromkeys(
        ("--job", "--config", "--job-file"), "The job file is an argument: batchlab run JOB.toml."
    ),
    **dict.fromkeys(
        ("--file", "--data", "--dataset", "--prompts", "--csv", "--jsonl"), "-i FILE names the rows."
    ),
    **dict.fromkeys(
        ("--system-prompt", "--system-message", "--instructions"), "-s TEXT is the system message."
    ),
    **dict.fromkeys(("--offset", "--skip", "--start", "--shuffle"), _FIRST),
    **dict.fromkeys(
        (
            "--excel",
            "--csv-excel",
            "--output-encoding",
            "--bom",
            "--output-delimiter",
            "--sep",
            "--separator",
        ),
        "A CSV for Excel: -o FILE.csv --csv-encoding utf-8-sig, and --csv-delimiter ';' where it writes 0,5. "
        "--delimiter and --encoding are those of the input.",
    ),
    "--open": "The page's path is printed: open it in a browser.",
    "--json": "--progress json is for programs, while a run goes.",
}


# what click calls numbers, and people do
_NUMBERS = {"float": "is no number, such as 0.5", "integer": "is no whole number, such as 5"}
_NO_NUMBER = re.compile(r"is not a valid (float|integer)( range)?")


def remedied(error: click.UsageError) -> click.UsageError:
    """The error with what was probably meant, where that is known; else as it was."""
    text = None
    if isinstance(error, click.NoSuchOption):
        text = _of_option(error.option_name, error.ctx)
    elif "unexpected extra argument" in error.message and error.ctx is not None:
        text = _of_extra(error.message, error.ctx)
    elif isinstance(error, click.BadParameter) and _NO_NUMBER.search(error.message):
        said = _NO_NUMBER.sub(lambda found: _NUMBERS[found[1]], error.message)
        return click.BadParameter(said, error.ctx, error.param, error.param_hint)
    return error if text is None else click.UsageError(f"{error.message.rstrip('.')}. {text}", error.ctx)


def _of_option(name: str, ctx: click.Context | None) -> str | None:
    plain = name.lower().replace("_", "-")
    if ctx is not None and any(plain in param.opts for param in ctx.command.params):
        return f"It is written {plain}."
    if plain in _OPTIONS:
        return _OPTIONS[plain]
    parameter = plain.lstrip("-").replace("-", "_")
    if parameter in KNOWN_PARAMETERS:
        return f"A parameter of the provider goes by --param {parameter}=VALUE."
    return None


def _of_extra(message: str, ctx: click.Context) -> str | None:
    """What words too many may be: files that the shell made of a glob, or a prompt without quotes."""
    extra = message.partition("(")[2].rpartition(")")[0].split()
    if ctx.info_name not in {"run", "plan", "check"}:
        return "It takes one run." if ctx.info_name not in {"init", "guide"} else None
    if _are_files(extra):
        return "The rows are one file; several of a kind are a directory, or a glob in quotes: 'DIR/*.jsonl'."
    return "A prompt of several words is in quotes: -p 'Summarize {text}'."


def _are_files(words: Sequence[str]) -> bool:
    return any(Path(word).exists() for word in words)

"""`init`, `check`, `simulate` and `explain-errors`: getting ready for a run."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from batchlab.cli.options import CheckCommand, job_of, job_options
from batchlab.errors import EXIT_OK, UsageError
from batchlab.job import DEFAULT_BASE_URL
from batchlab.job.index import as_key, by_key, spelled
from batchlab.job.request import PARAMETERS

# what a new job file has, with values to start from
_STARTING: dict[str, dict[str, Any]] = {
    "input": {"path": "sample_data/reviews.jsonl", "id": "review_id"},
    "endpoint": {"base_url": DEFAULT_BASE_URL, "api_key_env": "MODELSLAB_API_KEY"},
    "request": {
        "model": "Qwen/Qwen2.5-VL-72B-Instruct-together",
        "system": "You are a careful editor.",
        "prompt": "Summarize in one sentence: {text}",
        "max_tokens": 256,
        "temperature": 0.2,
    },
    "limits": {"concurrency": 64, "max_cost": 20.0, "deadline": "8h"},
    "price": {"input": 0.20, "output": 0.60},
    "output": {"run_dir": "runs/{stem}", "file": "{stem}.parquet"},
}
_LEFT_OUT = {"limits.max_cost", "limits.deadline", "price.input", "price.output"}  # commented out


def job_template(path: str) -> str:
    """A job file to start from: a few settings with values, and of each what its declaration says."""
    lines = [f"# batchlab run {path}", "# every setting: batchlab guide settings"]
    parameters = {setting.key: setting for setting in PARAMETERS}
    for section, values in _STARTING.items():
        out = all(f"{section}.{key}" in _LEFT_OUT for key in values)
        lines += ["", f"{'# ' if out else ''}[{section}]"]
        for key, value in values.items():
            setting = by_key(section).get(key) or parameters[key]
            said = spelled(setting.help, as_key)
            lines += textwrap.wrap(said, 100, initial_indent="# ", subsequent_indent="# ")
            text = json.dumps(
                value.replace("{stem}", Path(path).stem) if isinstance(value, str) else value,
                ensure_ascii=False,
            )
            lines.append(f"{'# ' if f'{section}.{key}' in _LEFT_OUT else ''}{key} = {text}")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("path", metavar="[FILE]", default="job.toml", type=click.Path(dir_okay=False))
def init(path: str) -> int:
    """Write a job file to start from; never over an existing one.

    \b
    Example:
        batchlab init my-job.toml
    """
    target = Path(path)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(job_template(path))
    except FileExistsError:
        raise UsageError(f"{path} exists already. Name another file: batchlab init NAME.toml") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot write the job file: {error.strerror}.") from error
    click.echo(f"wrote {path}. Next: batchlab plan {path}")
    return EXIT_OK


@click.command(cls=CheckCommand)
@job_options
@click.option("--list", "show_presets", is_flag=True, help="Print the known services and send nothing.")
def check(job_file: str | None, *, show_presets: bool, **options: Any) -> int:
    """Ask the endpoint for a few tokens, plain and streamed: key, model, usage, limits, latency.

    Costs two tiny requests for each endpoint of the job.

    \b
    Example:
        batchlab check --base-url simulator -m any-model
    """
    from batchlab.planning.check import check_endpoint, preset_lines

    if show_presets:
        for line in preset_lines():
            click.echo(line)
        return EXIT_OK
    job = job_of(job_file, options, extra=None if job_file or options["input__path"] else {"input.path": "-"})
    report = check_endpoint(job)
    for line in report.lines:
        click.echo(line)
    return report.exit_code


@click.command()
@click.option("--port", type=int, default=8765, show_default=True, help="Loopback port; 0 picks a free one.")
@click.option(
    "--api-key",
    "api_key_name",
    default="simulator",
    show_default=True,
    metavar="WORD",
    help="The word clients must send as key; not a secret.",
)
@click.option("--rpm", type=float, metavar="N", help="Limit of requests a minute.")
@click.option("--tpm", type=float, metavar="N", help="Limit of tokens a minute.")
@click.option("--queue-cap", type=int, metavar="N", help="Most requests at once; the next is answered 429.")
@click.option(
    "--latency",
    type=float,
    default=0.3,
    show_default=True,
    metavar="S",
    help="Median seconds an answer takes.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same answers and faults.")
@click.option(
    "--fault",
    multiple=True,
    metavar="KIND=RATE",
    help="A fault and how often, e.g. http_503=0.05; repeatable.",
)
@click.option(
    "--ledger", metavar="FILE", type=click.Path(), help="Append a JSON line for each request that was billed."
)
def simulate(
    *,
    port: int,
    api_key_name: str,
    rpm: float | None,
    tpm: float | None,
    queue_cap: int | None,
    latency: float,
    seed: int,
    fault: tuple[str, ...],
    ledger: str | None,
) -> int:
    """Serve the chat-completions contract on this machine until Ctrl-C: a provider to rehearse with.

    \b
    Example:
        batchlab simulate --queue-cap 5 --fault http_503=0.05
    """
    import asyncio

    from batchlab.endpoints.simulator import SimulatorOptions, serve

    faults = []
    for item in fault:
        kind, _, rate = item.partition("=")
        try:
            faults.append({"kind": kind, "rate": float(rate or 0.05)})
        except ValueError:
            raise UsageError(f"--fault {item}: expected KIND=RATE, for example http_503=0.05.") from None
    try:
        settings = SimulatorOptions.from_dict(
            {
                "port": port,
                "api_key": api_key_name,
                "rpm": rpm,
                "tpm": tpm,
                "queue_cap": queue_cap,
                "latency_median_s": latency,
                "seed": seed,
                "faults": faults,
                "ledger_path": ledger,
            }
        )
    except ValueError as error:
        raise UsageError(f"simulate: {error}") from error
    try:
        asyncio.run(
            serve(settings, lambda url: click.echo(f"serving {url} (key: {api_key_name}); Ctrl-C ends it"))
        )
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port}: {error.strerror}. Pass --port 0 for a free one."
        ) from error
    except KeyboardInterrupt:
        pass
    return EXIT_OK


@click.command(name="explain-errors")
@click.argument("file", required=False, type=click.File("rb"))
@click.option(
    "--status",
    type=click.IntRange(100, 999),
    help="HTTP status of a FILE that holds a body only (default 200).",
)
def explain_errors(file: Any, status: int | None) -> int:
    """The outcome table: what each answer of a provider means for a row and for the run.

    With FILE (`-` for standard input), what would be made of the answer to a chat that is saved there: a
    body, or head and body as `curl -i` prints them.

    \b
    Example:
        batchlab explain-errors
        curl -si https://… | batchlab explain-errors -
    """
    if file is not None:
        from batchlab.protocol.outcomes.explain import explained_answer

        click.echo("\n".join(explained_answer(file.read(), status)))
        return EXIT_OK
    from batchlab.protocol.outcomes.classify import explained

    kinds = max(len(kind) for _, kind, _, _ in explained())
    classes = max(len(error_class) for _, _, error_class, _ in explained())
    for evidence, kind, error_class, read_at in explained():
        click.echo(f"{kind:<{kinds}}  {error_class:<{classes}}  {evidence}")
        click.echo(f"{'':<{kinds + classes + 4}}read at: {read_at}")
    return EXIT_OK

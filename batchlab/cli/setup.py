"""`init`, `check`, `simulate` and `explain-errors`: getting ready for a run."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urljoin

import click

from batchlab.cli.completion import preset_names
from batchlab.cli.options import CheckCommand, job_of, job_options
from batchlab.cli.spelling import in_flags
from batchlab.errors import EXIT_OK, UsageError


@click.command()
@click.argument("path", metavar="[JOB.toml]", default="job.toml", type=click.Path(dir_okay=False))
@click.option(
    "-i",
    "--input",
    "rows",
    metavar="ROWS",
    type=click.Path(),
    help="Your file of rows: the job is made for its columns. [default: a sample of eight, which is copied]",
)
@click.option("-m", "--model", metavar="MODEL", help="Model name, sent as written.")
@click.option("--base-url", metavar="URL", help="Endpoint. [default: simulator, or ModelsLab with a model]")
@click.option(
    "--preset",
    metavar="NAME",
    shell_complete=preset_names,
    help="A known service: batchlab check --list shows them.",
)
def init(path: str, *, rows: str | None, model: str | None, base_url: str | None, preset: str | None) -> int:
    """Write a job file to start from; never over an existing one.

    It is made for the columns of your rows: the prompt uses the one that looks like the text. Without
    any, it is a rehearsal over a sample, which needs no key and no network.

    \b
    Example:
        batchlab init
        batchlab init my.toml -i my.csv -m gpt-5-mini --preset openai
    """
    from batchlab.planning.starting import Wanted, start

    for line in start(path, rows, Wanted(model, base_url, preset)):
        click.echo(line)
    return EXIT_OK


@click.command(cls=CheckCommand)
@job_options
@click.option("--list", "show_presets", is_flag=True, help="Print the known services and send nothing.")
@click.option(
    "--batch",
    is_flag=True,
    help="Order a batch of one line, too: whether this account may, and how soon it is answered.",
)
def check(job_file: str | None, *, show_presets: bool, batch: bool, **options: Any) -> int:
    """Ask the endpoint for a few tokens, plain and streamed: key, model, usage, limits, latency.

    Costs two tiny requests for each endpoint of the job.

    \b
    Example:
        batchlab check --base-url simulator -m any-model
    """
    from batchlab.planning.check import check_endpoint, preset_lines
    from batchlab.progress.terminal import columns

    if show_presets:
        for line in preset_lines(columns(sys.stdout) if sys.stdout.isatty() else None):
            click.echo(line)
        return EXIT_OK
    job = job_of(job_file, options, extra=None if job_file or options["input__path"] else {"input.path": "-"})
    report = check_endpoint(job, batch=batch)
    for line in report.lines:
        click.echo(in_flags(line))
    return report.exit_code


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8765,
    show_default=True,
    help="Loopback port; 0 picks a free one.",
)
@click.option(
    "--api-key",
    "api_key_name",
    default="simulator",
    show_default=True,
    metavar="WORD",
    help="The word clients must send as key; not a secret. '' asks for none, as Ollama and vLLM do.",
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
    help="A fault and how often, e.g. http_503=0.05, batch_expires=0.1; repeatable. --list-faults names them.",
)
@click.option(
    "--batch-seconds",
    default="lognormal:median=2,p90=10",
    show_default=True,
    metavar="S",
    help="How long a batch takes: seconds, or a distribution.",
)
@click.option("--batch-dialect", default="openai", show_default=True, metavar="NAME", help="Whose batch API.")
@click.option(
    "--flex-shortage", type=float, default=0.0, metavar="SHARE", help="Share of flex requests answered 429."
)
@click.option("--list-faults", is_flag=True, help="Print every fault by kind, and serve nothing.")
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
    batch_seconds: str,
    batch_dialect: str,
    flex_shortage: float,
    list_faults: bool,
    ledger: str | None,
) -> int:
    """Serve the chat-completions contract on this machine until Ctrl-C: a provider to rehearse with.

    \b
    Example:
        batchlab simulate --queue-cap 5 --fault http_503=0.05
    """
    import asyncio

    from batchlab.endpoints.simulator import SimulatorOptions, fault_lines, serve

    if list_faults:
        click.echo("\n".join(fault_lines()))
        return EXIT_OK
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
                "batch": {"seconds": batch_seconds, "dialect": batch_dialect},
                "flex_shortage": flex_shortage,
            }
        )
    except ValueError as error:
        raise UsageError(f"simulate: {error}") from error
    try:
        asyncio.run(serve(settings, lambda url: click.echo(_serving(url, api_key_name))))
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port}: {error.strerror}. Pass --port 0 for a free one."
        ) from error
    except KeyboardInterrupt:
        pass
    return EXIT_OK


def _serving(url: str, key: str) -> str:
    """Both addresses that the same routes are at: clients of one kind expect `/v1`."""
    return f"serving {url} and {urljoin(url, '/v1')} ({f'key: {key}' if key else 'no key'}); Ctrl-C ends it"


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

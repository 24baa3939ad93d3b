"""Options of `[limits]` and `[price]`: how fast and how long a run may go, and what it may cost."""

from __future__ import annotations

from typing import Any

import click

from batchlab.cli.options.option import option
from batchlab.job import ENGINES


class _Processes(click.ParamType[Any]):
    """A number, or `auto`; what is neither is told with the job's other problems."""

    name = "processes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        del param, ctx
        return int(value) if isinstance(value, str) and value.isdecimal() else value


LIMITS = dict(
    [
        option(
            "limits.concurrency",
            "-c",
            "--concurrency",
            type=int,
            metavar="N",
            help="Most requests in flight; the window adapts below it. [default: 64]",
        ),
        option(
            "limits.processes",
            "--processes",
            type=_Processes(),
            metavar="N|auto",
            help="Processes of this machine, or of each node with --engine ray, that share the run and all its limits; auto for one a CPU. [default: 1]",
        ),
        option(
            "limits.engine",
            "--engine",
            type=click.Choice(ENGINES),
            help="Who runs the shards: this process, --processes of this machine, or the nodes of a Ray cluster; any goes on with any run. [default: local, or processes with --processes]",
        ),
        option(
            "limits.ray_address",
            "--ray-address",
            metavar="HEAD:PORT",
            help="Ray cluster for --engine ray, which needs pip install 'batchlab[ray]'. [default: RAY_ADDRESS, else this machine's, else one is started]",
        ),
        option(
            "limits.journal_flush",
            "--journal-flush",
            metavar="TIME",
            help="With --engine ray and a --run-dir at a URL: how often workers put their journals there; what was answered since is lost with a node. [default: 5s]",
        ),
        option("limits.rpm", "--rpm", type=float, metavar="N", help="Most requests a minute."),
        option("limits.tpm", "--tpm", type=float, metavar="N", help="Most tokens a minute."),
        option(
            "limits.max_cost",
            "--max-cost",
            type=float,
            metavar="USD",
            help="Never spend more, counting what is in flight; needs a known price.",
        ),
        option(
            "limits.max_tokens_total",
            "--max-tokens-total",
            type=float,
            metavar="N",
            help="Never use more tokens in all, counting what is in flight.",
        ),
        option(
            "limits.retry_truncated",
            "--retry-truncated",
            type=float,
            metavar="FACTOR",
            help="Ask a row cut off by max_tokens once more with FACTOR times as many. [default: keep it as truncated]",
        ),
        option(
            "limits.retry_empty",
            "--retry-empty",
            type=int,
            metavar="N",
            help="Ask a row with an empty answer up to N times more. [default: 0]",
        ),
        option(
            "limits.max_pause",
            "--max-pause",
            metavar="TIME",
            help="Longest Retry-After to wait out; beyond it the run stops and says when to come back. [default: 6h]",
        ),
        option(
            "limits.deadline", "--deadline", metavar="TIME", help="Stop in order after this long, e.g. 8h."
        ),
        option(
            "limits.max_attempts",
            "--max-attempts",
            type=int,
            metavar="N",
            help="Attempts a row gets when the server fails. [default: 6]",
        ),
        option(
            "limits.timeout",
            "--timeout",
            metavar="TIME",
            help="Longest one request may take. [default: 600s]",
        ),
        option(
            "limits.row_deadline",
            "--row-deadline",
            metavar="TIME",
            help="Longest that all attempts of one row may take together; then it fails. [default: none]",
        ),
        option(
            "limits.hedge",
            "--hedge",
            is_flag=True,
            default=None,
            help="Ask the last, slow rows a second time; only where a call costs nothing.",
        ),
        option(
            "limits.max_outage",
            "--max-outage",
            metavar="TIME",
            help="Longest outage or pause to wait out. [default: 6h]",
        ),
    ]
)

PRICES = dict(
    [
        option("price.input", "--price-in", type=float, metavar="USD", help="Price of 1M prompt tokens."),
        option(
            "price.output", "--price-out", type=float, metavar="USD", help="Price of 1M completion tokens."
        ),
        option(
            "price.cached",
            "--price-cached",
            type=float,
            metavar="USD",
            help="Price of 1M cached prompt tokens. [default: as --price-in]",
        ),
        option(
            "price.cache_write",
            "--price-cache-write",
            type=float,
            metavar="USD",
            help="Price of 1M prompt tokens written to a cache. [default: as --price-in]",
        ),
        option(
            "price.flex",
            "--price-flex",
            type=float,
            metavar="SHARE",
            help="Share of these prices that the tier flex costs. [default: 1]",
        ),
        option(
            "price.batch",
            "--price-batch",
            type=float,
            metavar="SHARE",
            help="Share of these prices that the batch API costs. [default: 1]",
        ),
    ]
)

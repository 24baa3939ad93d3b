"""`[limits]`: how hard the endpoint is used, who does the work, and when to stop."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from batchlab.job.lane import LANES
from batchlab.job.setting import MACHINES, MIB, MONEY, at_least, not_negative, positive, setting
from batchlab.job.values import deadline_s

ENGINES = ("local", "processes", "ray")
MIN_FLUSH_S = 0.1  # a store takes tens of milliseconds for a write
START_WINDOW = 4  # requests in flight before the first answer


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """How hard one endpoint may be used: its own settings where it has them, else the run's.

    Attributes:
        concurrency: most requests in flight.
        rpm, tpm: requests and tokens a minute; None for no limit.
        start: the window to begin with; the whole concurrency for a server that queues and never refuses.
        lane: how rows are answered there, one of LANES.
    """

    concurrency: int
    rpm: float | None = None
    tpm: float | None = None
    start: int = START_WINDOW
    lane: str = "live"

    def at_most(self, concurrency: int | None) -> EndpointLimits:
        """The same with no more than so many in flight; None changes nothing."""
        if concurrency is None or concurrency >= self.concurrency:
            return self
        return dataclasses.replace(self, concurrency=concurrency, start=min(self.start, concurrency))


class Caps(NamedTuple):
    """The most that a run may use, in US dollars and in tokens; None for no cap."""

    usd: float | None = None
    tokens: float | None = None


def _a_larger_factor(value: float) -> str | None:
    return "must be more than 1, such as 2" if value <= 1 else None


@dataclass(frozen=True, slots=True)
class LimitsJob:
    """How hard the endpoint is used, and when to stop. Durations in seconds.

    Attributes:
        engine: None for `processes` if a number of them is given, else `local`.
        processes: None is 1, and `auto` with the engine `processes`.
    """

    concurrency: int = setting(
        64,
        flags="-c --concurrency",
        unit="N",
        check=at_least(1),
        own_keyword="concurrency",
        help="Most requests in flight; the window adapts below it.",
    )
    engine: str | None = setting(
        None,
        flags="--engine",
        group=MACHINES,
        unit="engine",
        choices=ENGINES,
        shown="local, or processes with {limits.processes}",
        help="Who runs the shards: this process, {limits.processes} of this machine, or the nodes of a Ray "
        "cluster; any goes on with any run.",
    )
    ray_address: str | None = setting(
        None,
        flags="--ray-address",
        group=MACHINES,
        unit="HEAD:PORT",
        shown="RAY_ADDRESS, else this machine's, else one is started",
        help="Ray cluster for {limits.engine} ray, which needs pip install 'batchlab[ray]'.",
    )
    journal_flush_s: float = setting(
        5.0,
        flags="--journal-flush",
        group=MACHINES,
        unit="TIME",
        check=at_least(MIN_FLUSH_S, " s"),
        help="With {limits.engine} ray and a {output.run_dir} at a URL: how often workers put their journals "
        "there; what was answered since is lost with a node.",
    )
    processes: int | str | None = setting(
        None,
        flags="--processes",
        group=MACHINES,
        unit="N|auto",
        shown="1",
        help="Processes of this machine, or of each node with {limits.engine} ray, that share the run and all "
        "its limits; auto for one a CPU.",
    )
    rpm: float | None = setting(
        None,
        flags="--rpm",
        unit="N",
        check=positive,
        own_keyword="rpm",
        help="Most requests a minute.",
    )
    tpm: float | None = setting(
        None, flags="--tpm", unit="N", check=positive, own_keyword="tpm", help="Most tokens a minute."
    )
    lane: str = setting(
        "live",
        flags="--lane",
        unit="lane",
        choices=LANES,
        own_keyword="lane",
        help="How rows are answered, and at what price: by calls, by calls of the service's cheaper and slower "
        "tier, through its batch API, or by whichever is the cheapest within {limits.deadline}.",
    )
    max_cost: float | None = setting(
        None,
        flags="--max-cost",
        group=MONEY,
        unit="USD",
        check=positive,
        help="Never spend more, counting what is in flight; needs a known price.",
    )
    max_tokens_total: float | None = setting(
        None,
        flags="--max-tokens-total",
        group=MONEY,
        unit="N",
        check=positive,
        help="Never use more tokens in all, counting what is in flight.",
    )
    deadline_s: float | None = setting(
        None,
        flags="--deadline",
        unit="TIME",
        read=deadline_s,
        help="Stop in order after this long, e.g. 8h, or at a clock time, e.g. 07:30.",
    )
    max_attempts: int = setting(
        6,
        flags="--max-attempts",
        unit="N",
        check=at_least(1),
        help="Attempts a row gets when the server fails.",
    )
    retry_truncated: float | None = setting(
        None,
        flags="--retry-truncated",
        unit="FACTOR",
        check=_a_larger_factor,
        shown="keep it as truncated",
        help="Ask a row cut off by max_tokens once more with FACTOR times as many.",
    )
    retry_empty: int = setting(
        0,
        flags="--retry-empty",
        unit="N",
        check=not_negative,
        help="Ask a row with an empty answer up to N times more.",
    )
    connect_timeout_s: float = setting(10.0, unit="TIME", help="Longest to wait for a connection.")
    idle_timeout_s: float = setting(
        120.0, unit="TIME", help="Longest silence between two pieces of an answer."
    )
    timeout_s: float = setting(600.0, flags="--timeout", unit="TIME", help="Longest one request may take.")
    drain_timeout_s: float = setting(
        120.0, unit="TIME", help="Longest to wait for requests in flight when the run stops."
    )
    max_outage_s: float = setting(
        21_600.0, flags="--max-outage", unit="TIME", help="Longest outage or pause to wait out."
    )
    max_pause_s: float = setting(
        21_600.0,
        flags="--max-pause",
        unit="TIME",
        help="Longest Retry-After to wait out; beyond it the run stops and says when to come back.",
    )
    row_deadline_s: float | None = setting(
        None,
        flags="--row-deadline",
        unit="TIME",
        shown="none",
        help="Longest that all attempts of one row may take together, without waits for a slot or a pause; then "
        "it fails.",
    )
    hedge: bool = setting(
        False,
        flags="--hedge",
        help="Ask the last, slow rows a second time; only where a call costs nothing.",
    )
    max_response_bytes: int = setting(
        16 * MIB, unit="BYTES", check=at_least(1), help="Largest answer that is read."
    )

    @property
    def caps(self) -> Caps:
        """On cost and on tokens."""
        return Caps(self.max_cost, self.max_tokens_total)

    @property
    def workers(self) -> int | str:
        """Processes that share the work, of this machine or of each node; `auto` for one a CPU here."""
        if self.engine == "local":
            return 1
        return self.processes or ("auto" if self.engine == "processes" else 1)

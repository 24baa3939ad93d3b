"""Runs of many prices under a cap, and the books compared with the provider's own.

    python -m tests.proofs.costs.capped_runs --rows 2000        eight runs, about four minutes

The endpoint has a real service's name, so that batchlab prices it by its list; a proxy's address leads to
the simulator, which charges by the same rates in words of its own. Four nights, each plain and streamed:

* `tiers`: live, flex and priority rows, a prefix cache that is written and read, failures that are billed
  and others that are not;
* `echoes`: usage in eleven layouts, tiers that are served and not told, streams that break off;
* `lengths`: prompts on both sides of a long-context threshold, and the cache;
* `hours`: a clock at which everything costs twice as much.

The ledger's USD must not pass the cap, and at least 97 % of it must be used. Then the run goes on without a
cap, and what `cost` says was kept and wasted must be what the ledger charged for answers whose usage was told.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.conftest import environment, simulating
from tests.proofs.arguments import Option, ended, options

PREFIX = "These are the rules by which parcels are judged: " * 140  # 6,860 bytes, some 1,700 tokens
LAYOUTS = """
usage_reasoning_inside usage_reasoning_outside usage_no_total usage_in_choice usage_x_groq usage_cached_top_level
usage_cache_hit usage_cache_read usage_cache_write usage_cache_creation usage_every_chunk
""".split()
WITH_CACHE = ("usage_cache_read", "usage_cache_write", "usage_cache_creation")  # say what the cache held
BILLED = ("choice_error", "empty_choices_billed")
UNBILLED = ("http_500", "rate_limit_zero")


@dataclass(frozen=True, slots=True)
class Night:
    """A kind of run.

    Attributes:
        price: the service's list price of `model` as the simulator states it.
        usd_a_row: about what a row costs, for the cap.
        at: the clock of both sides at the start; None for the real one.
    """

    url: str
    model: str
    price: dict[str, Any]
    usd_a_row: float
    tiers: tuple[str | None, ...] = (None,)
    long_tokens: int = 0
    long_share: float = 0.0
    faults: tuple[str, ...] = ()
    echo: str = "served"
    at: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


NIGHTS = {
    "tiers": Night(
        url="http://api.openai.com/v1",
        model="gpt-5.6-luna",
        price={
            "input": 0.2, "output": 1.2, "cache_read": 0.02, "cache_write": 0.25,
            "tiers": {"flex": 0.5, "priority": 2.0},
            "long_context": {"above": 272_000, "input": 0.4, "output": 1.8, "cache_read": 0.04, "cache_write": 0.5},
        },
        usd_a_row=0.0002,
        tiers=(None, "flex", "priority"),
        faults=(*WITH_CACHE, "choice_error", *UNBILLED),
    ),
    "echoes": Night(
        url="http://api.openai.com/v1",
        model="gpt-4.1",
        price={"input": 2.0, "output": 8.0, "cache_read": 0.5, "tiers": {"priority": 1.75}},
        usd_a_row=0.0022,
        tiers=(None, "priority"),
        faults=(*LAYOUTS, "cut_stream"),
        echo="default",
        options={"cache_tokens": None},
    ),
    "lengths": Night(
        url="http://openrouter.ai/v1",
        model="qwen/qwen3-coder-flash",
        price={
            "input": 0.195, "output": 0.975, "cache_read": 0.039, "cache_write": 0.24375,
            "long_context": {
                "above": 32_000, "input": 0.325, "output": 1.625, "cache_read": 0.065, "cache_write": 0.40625,
            },
        },
        usd_a_row=0.0014,
        long_tokens=34_000,
        long_share=0.1,
        faults=(*WITH_CACHE, *UNBILLED),
        options={"context_tokens": 200_000},
    ),
    "hours": Night(
        url="http://api.deepseek.com",
        model="deepseek-v4-flash",
        price={
            "input": 0.15, "output": 0.6, "cache_read": 0.003,
            "hours": [
                {"from": "01:00", "to": "04:00", "factor": 2.0}, {"from": "06:00", "to": "10:00", "factor": 2.0},
            ],
        },
        usd_a_row=0.00012,
        faults=("usage_cache_hit", *BILLED, *UNBILLED),
        at="2026-11-25T02:10:00+00:00",
        options={"cache_tokens": 1_024},
    ),
}  # fmt: skip


def rows_of(night: Night, count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Rows with prompts of several lengths, a tier each."""
    for number in range(count):
        text = f"Remark {number}: " + "the parcel was late. " * rng.randrange(1, 40)
        if rng.random() < 0.5:
            text = PREFIX + text
        if rng.random() < night.long_share:
            text = f"{number} " + "ice floats on water. " * (night.long_tokens * 4 // 21) + text
        tier = rng.choice(night.tiers)
        yield {"text": text, "how": {} if tier is None else {"service_tier": tier}}


def run(name: str, rows: int, *, stream: bool, seed: int = 3, share: float = 0.6) -> dict[str, Any]:
    """One night under a cap of about `share` of what all rows would cost, and both books."""
    night, rng = NIGHTS[name], random.Random(seed)
    ahead_s = 0.0 if night.at is None else datetime.fromisoformat(night.at).timestamp() - time.time()
    cap = round(share * rows * night.usd_a_row, 6)
    options = {
        "latency_median_s": 0.02,
        "tokens_median": 60.0,
        "cache_tokens": 1_024,
        "price": night.price,
        "tier_echo": night.echo,
        "seed": seed,
        "faults": [{"kind": kind, "rate": 0.01} for kind in night.faults],
        **night.options,
    }
    job = {
        "input": {"path": "rows.jsonl", "row_params": "how"},
        "endpoint": {
            "base_url": night.url, "api_key_env": "SIMULATOR_KEY", "allow_http": True, "trust_env": True,
        },
        "request": {"model": night.model, "prompt": "{text}", "max_tokens": 200, "stream": stream},
        "limits": {"concurrency": 16, "max_cost": cap},
        "output": {"run_dir": "run"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="batchlab-capped-") as folder:
        home = Path(folder)
        with (home / "rows.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows_of(night, rows, rng))
        (home / "job.toml").write_text(_toml(job))
        with simulating(clock=lambda: time.time() + ahead_s, **options) as server:
            proxy = server.base_url.removesuffix("/v1")
            env = environment(http_proxy=proxy, HTTP_PROXY=proxy, no_proxy="", NO_PROXY="")
            words = ["run", "job.toml", "--progress", "none"]
            done = _batchlab(home, env, ahead_s, *words)
            capped = server.ledger()
            rest = _batchlab(home, env, ahead_s, *words, "--max-cost", "1000")
            ledger = server.ledger()
        [books] = json.loads(_batchlab(home, env, ahead_s, "cost", "run", "--format", "json").stdout)
    ours = (books["kept_usd"] or 0.0) + (books["wasted_usd"] or 0.0)
    return {
        "exits": (done.returncode, rest.returncode),
        "cap": cap,
        "charged": capped["usd"],
        "used": capped["usd"] / cap,
        "ours": ours,
        "told": ledger["usd"] - ledger["unseen_usd"],
        "unknown": books["rows_without_cost"],
        "requests": ledger["requests"],
        "by_tier": ledger["by_tier"],
        "cache": (ledger["cached_tokens"], ledger["cache_write_tokens"]),
        "said": done.stderr + rest.stderr,
    }


def problems(found: dict[str, Any], *, least_used: float = 0.97) -> list[str]:
    """What is wrong with a night; empty when all is right."""
    wrong = []
    if found["exits"] not in {(3, 0), (3, 1)}:
        wrong.append(f"exits {found['exits']}: {found['said'][-400:]}")
    if found["charged"] > found["cap"]:
        wrong.append(f"${found['charged']} passes the cap of ${found['cap']}")
    if found["used"] < least_used:
        wrong.append(f"only {found['used']:.1%} of the cap was used")
    if abs(found["ours"] - found["told"]) > 1e-9:
        wrong.append(f"the books say ${found['ours']}, the ledger ${found['told']}")
    return wrong


def _batchlab(
    home: Path, env: dict[str, str], ahead_s: float, *words: str
) -> subprocess.CompletedProcess[str]:
    """The command, with a clock that is so many seconds ahead."""
    ahead = f"import time; real = time.time; time.time = lambda: real() + {ahead_s!r}"
    started = [sys.executable, "-c", f"{ahead}; from batchlab.cli import main; main()", *words]
    return subprocess.run(started, cwd=home, env=env, capture_output=True, text=True, timeout=600)


def _toml(job: dict[str, dict[str, Any]]) -> str:
    lines = []
    for section, values in job.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints what each night came to; exits with 1 when something is wrong."""
    given = options(__doc__, rows=2_000, seed=3, night=Option(choices=NIGHTS, many=True))
    wrong = []
    for name in given.night or NIGHTS:
        for stream in (False, True):
            found = run(name, given.rows, stream=stream, seed=given.seed)
            said = found.pop("said")
            print(name, "streamed" if stream else "plain", json.dumps(found), flush=True)
            wrong += problems({**found, "said": said})
    if not wrong:
        print("never passed, at least 97 % used, books as the ledger has it")
    ended(wrong)


if __name__ == "__main__":
    main()

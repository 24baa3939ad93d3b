"""The controller's behaviour, step by step, as it was when the simulation table was measured.

    python -m tests.proofs.sim.controller_trace    # writes controller_trace.json anew

Seeded scripts of events drive the controller, and what can be seen of it after each step goes into a
digest. A change of any number or rule shows up here; it is right only after
`python -m tests.proofs.sim.run --seeds 100` says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any

from batchlab.dispatch.rate.controller import Permit, RateController
from batchlab.job.limits import EndpointLimits
from batchlab.protocol.limits import RateHeaders
from tests.proofs.arguments import options

# a provider that refuses what is over its cap, give or take a few
CAPS = {"a cap of forty": 40, "a cap of twelve": 12}
STORED = Path(__file__).with_name("controller_trace.json")
STEPS, CHUNK = 500, 25

# weights of: answered, limited, limited with Retry-After, overloaded, failed, unreachable, refused, cancelled
ANSWERED = (1.0, 0, 0, 0, 0, 0, 0, 0)
SCRIPTS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "all well": ({"concurrency": 64}, (1, 0, 0, 0, 0, 0, 0, 0)),
    "a limit now and then": ({"concurrency": 64}, (30, 1, 0, 0, 0, 0, 0, 0)),
    "a limit often": ({"concurrency": 32}, (4, 1, 1, 0, 0, 0, 0, 0)),
    "limits only": ({"concurrency": 16}, (1, 20, 0, 4, 0, 0, 0, 0)),
    "overloads": ({"concurrency": 16}, (3, 0, 0, 4, 0, 0, 0, 0)),
    "errors": ({"concurrency": 64}, (8, 0, 0, 0, 3, 0, 0, 0)),
    "an outage": ({"concurrency": 64}, (1, 0, 0, 0, 0, 6, 0, 0)),
    "everything": ({"concurrency": 24, "rpm": 300.0, "tpm": 9_000.0}, (20, 2, 1, 1, 2, 1, 1, 1)),
    "a token limit": ({"concurrency": 24, "tpm": 2_000.0}, (20, 1, 0, 0, 0, 0, 1, 0)),
    "headers": ({"concurrency": 24}, (20, 1, 0, 0, 1, 0, 0, 0)),
    "headers and trouble": ({"concurrency": 24}, (20, 1, 0, 0, 2, 1, 3, 1)),
    "headers under a limit": ({"concurrency": 24, "rpm": 90.0, "tpm": 4_000.0}, (20, 1, 0, 0, 0, 0, 0, 0)),
    "a cap of forty": ({"concurrency": 64}, ANSWERED),
    "a cap of twelve": ({"concurrency": 64}, ANSWERED),
    "none allowed": ({"concurrency": 0}, ANSWERED),
    "all at once": ({"concurrency": 20, "start": 20}, (20, 1, 0, 0, 0, 0, 0, 0)),
}


def steps(name: str) -> list[str]:
    """What is seen of the controller after each step of a script."""
    limits, weights = SCRIPTS[name]
    rng = random.Random(name)
    it = RateController(EndpointLimits(**limits), now=5.0, rng=random.Random(7))
    now, open_permits, seen = 5.0, [], []
    for _ in range(STEPS):
        now += rng.choice((0.0, 0.01, 0.2, 0.2, 1.0, 5.0))
        got: Permit | float = math.inf
        for _ in range(rng.choice((1, 4, 64))):
            got = it.try_acquire(now, rng.randint(1, 80), rng.choice((None, 5, 100)))
            if not isinstance(got, Permit):
                break
            open_permits.append(got)
        for _ in range(rng.randint(0, len(open_permits))):
            permit = open_permits.pop(rng.randrange(len(open_permits)))
            if len(open_permits) + 1 > CAPS.get(name, 1_000) + rng.randint(-3, 3):
                it.limited(permit, now)
            else:
                _ended(it, permit, now, rng, weights, with_headers=name.startswith("headers"))
        wait = -1.0 if isinstance(got, Permit) else got
        facts = (it.window, it.in_flight, wait, it.gate_until - now, it.silent_s(now), len(open_permits))
        seen.append(" ".join(f"{fact:.6f}" for fact in facts) + f" {it.why(now)!r} {it!r}")
    return seen


def _ended(
    it: RateController,
    permit: Permit,
    now: float,
    rng: random.Random,
    weights: tuple[float, ...],
    *,
    with_headers: bool,
) -> None:
    match rng.choices(range(8), weights)[0]:
        case 0:
            tokens = rng.choice((None, rng.randint(1, 300)))
            it.succeeded(permit, now, tokens, _headers(rng) if with_headers else None)
        case 1:
            it.limited(permit, now)
        case 2:
            it.limited(permit, now, rng.choice((0.0, 0.5, 20.0)))
        case 3:
            it.limited(permit, now, status=rng.choice((503, 529)))
        case 4:
            it.failed(permit, now)
        case 5:
            it.unreachable(permit, now)
        case 6:
            it.refused(permit, now)
        case _:
            it.cancelled(permit, now)


def _headers(rng: random.Random) -> RateHeaders:
    return RateHeaders(
        limit_requests=rng.choice((None, 60.0, 60.2, 60.9, 600.0)),
        remaining_requests=rng.choice((None, 0.0, 3.0, 50.0)),
        limit_tokens=rng.choice((None, 6_000.0, 6_010.0, 6_090.0, 90_000.0)),
        remaining_tokens=rng.choice((None, 0.0, 900.0)),
        window_s=rng.choice((None, 1.0, 60.0, 61.0, 86_400.0)),
    )


def digests(name: str) -> list[str]:
    """One digest for every 25 steps of a script."""
    seen = steps(name)
    return [
        hashlib.blake2b("\n".join(seen[start : start + CHUNK]).encode(), digest_size=4).hexdigest()
        for start in range(0, STEPS, CHUNK)
    ]


def main() -> None:
    """Stores the traces of the controller as it is."""
    options(__doc__)
    STORED.write_text(json.dumps({name: digests(name) for name in SCRIPTS}, indent=1) + "\n")


if __name__ == "__main__":
    main()

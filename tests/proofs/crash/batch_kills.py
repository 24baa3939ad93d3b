"""SIGKILL at every step of a batch's life, then resume, and compare with the service's own books.

    python -m tests.proofs.crash.batch_kills --kills 1000             # all ways, five services, a quarter at a URL
    python -m tests.proofs.crash.batch_kills --kills 20 --only together --way cancel --seed 7

Each run of some hundred rows is killed again and again: at a step (`batch_steps`), while a call is on its way,
and at any time from outside. It is gone on with in one of some ways (`batch_ways`): the same run again; left
by --detach and collected as cron does; cancelled, and ordered anew; two of these at the same time, on one
directory or from two machines; with `--lane cheapest`, live and batch by turns; and that with workers, who are
killed, too. A run at a URL loses its whole local directory, or goes on at
a second machine; or the first machine falls asleep, and wakes up when the second is at work. Lines fail, batches
expire, replies to orders and cancellations get lost, queues are full meanwhile. When the run has ended, the
simulator's books say: no line answered twice, no bill that the run does not tell of, each billed answer in
its row at its lane's price; `verify` passes, each row has its result, and no row that was journalled has been
lost. Results may be fetched twice; live calls that a kill has cut off may be billed twice, and are counted.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

from batchlab.endpoints.simulator.batches.dialects import DIALECTS
from tests.proofs.arguments import Option, ended, one_of, options, table_head, table_row
from tests.proofs.crash.batch_found import Found, Line
from tests.proofs.crash.batch_ground import SERVICES, ground
from tests.proofs.crash.batch_night import Night
from tests.proofs.crash.batch_steps import STEPS
from tests.proofs.crash.batch_ways import ANY_TIME, WAYS
from tests.warm import Warm

MOST_PROBLEMS = 50  # on one way, after which it is not worth going on


def on_way(
    way: str,
    kills: int,
    seed: int,
    *,
    services: Sequence[str] = SERVICES,
    at_url: bool = False,
    keep: Path | None = None,
) -> Found:
    """Runs on one way, one after another, until so many kills are done; those with a problem are kept."""
    found = Found(WAYS[way], at_url)
    rng = random.Random(f"{seed} {found.label}")
    services = [service for service in services if found.way.goes_to(service)]
    warm = Warm(), Warm()
    try:
        while services and found.kills < kills and len(found.problems) < MOST_PROBLEMS:
            service = services[found.counts["runs"] % len(services)]
            with ground(found.way, service, rng, warm, at_url=at_url) as place:
                run = Night(found, place, rng)
                run.to_end(min(kills - found.kills, rng.randint(3, 12)))
                if run.troubles and keep is not None:
                    run.keep(keep)
    finally:
        for one in warm:
            one.close()
    print(f"{found.label}: {found.kills} kills, {len(found.problems)} problems", flush=True)
    return found


def report(all_found: Sequence[Found]) -> list[str]:
    """Prints the tables. Returns the problems."""
    table_head("step", *(found.label for found in all_found), "all")
    for step in (*STEPS, ANY_TIME):
        kills = [found.lines[step].kills if step in found.lines else 0 for found in all_found]
        table_row(step, *(count or "" for count in kills), sum(kills))
    print()
    table_head("way", "kills", "resumed", "ordered twice", "billed, and not told", "lost", "longest resume")
    whole = [reduce(add, found.lines.values(), Line()) for found in all_found]
    for label, line in zip(
        (*(found.label for found in all_found), "all"), (*whole, reduce(add, whole, Line())), strict=True
    ):
        table_row(
            label, line.kills, line.resumed, line.twice, line.billed, line.lost, f"{line.longest_s:.1f} s"
        )
    print()
    for found in all_found:
        said = ", ".join(f"{count:,} {name}" for name, count in found.counts.items() if count)
        print(f"{found.label} ({found.way.does}): {said}", flush=True)
    counts = sum((found.counts for found in all_found), Counter())
    print(f"all: {', '.join(f'{count:,} {name}' for name, count in counts.items() if count)}", flush=True)
    return [problem for found in all_found for problem in found.problems]


def shares(kills: int, ways: Sequence[str], url_share: float) -> list[tuple[str, bool, int]]:
    """How many kills on each way, at a URL and not."""
    remote = round(kills * url_share)
    return [
        (way, at_url, count // len(ways) + (number < count % len(ways)))
        for at_url, count in ((False, kills - remote), (True, remote))
        for number, way in enumerate(ways)
    ]


KEEP = Option(kind=Path, help="a folder in which runs with a problem are kept")
URL_SHARE = Option(default=0.25, kind=float, help="of the kills, at a URL (default 0.25)")
WAY = Option(choices=WAYS, help="only this way")


def main() -> None:
    """Prints the tables; exits with 1 when a promise was broken."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # calls of who was killed end without their end
    given = options(
        __doc__,
        kills=50,
        seed=1,
        only=one_of(DIALECTS),
        way=WAY,
        url_share=URL_SHARE,
        at_once=3,
        keep=KEEP,
    )
    services = SERVICES if given.only is None else (given.only,)
    ways = list(WAYS) if given.way is None else [given.way]
    began = time.monotonic()
    with ThreadPoolExecutor(given.at_once) as pool:
        found = list(
            pool.map(
                lambda one: on_way(
                    one[0], one[2], given.seed, services=services, at_url=one[1], keep=given.keep
                ),
                [one for one in shares(given.kills, ways, given.url_share) if one[2]],
            )
        )
    problems = report(found)
    print(f"{time.monotonic() - began:.0f} s, seed {given.seed}, {len(problems)} problems", flush=True)
    ended(problems)


if __name__ == "__main__":
    main()

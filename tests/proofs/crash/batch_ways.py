"""How a run with batches is gone on with while it is killed: what is typed next, and where it may die."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchlab.protocol.batches.table import DIALECTS
from tests.proofs.crash.batch_steps import AT_URL, LIVE, STEPS, WORKER

RUN = ("run", "job.toml")
DETACH = (*RUN, "--detach")
ANY_TIME = "any time"
# also with an order on its way, which arrives when another machine has ordered anew
SLEEPS = tuple(
    step
    for step in STEPS
    if not step.startswith((*AT_URL, *LIVE, "left", "detach", "unmerged", "cancel"))
    and not step.endswith("torn")
)

# where a run without batches may die
CALLS_ONLY = ("live ", "merge flush", "result taken", "seal", "part ", "journals", "left", ANY_TIME)
_ORDERS = ("meant", "upload", "ordering", "order ", "line packed", "batch packed", "detach")


@dataclass(frozen=True, slots=True)
class Turn:
    """One command.

    Attributes:
        chance: seed of a choice of lanes by chance; "" for the policy that ships.
    """

    words: tuple[str, ...]
    chance: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to go on with a run until it has ended.

    Attributes:
        does: in a few words.
        turn: what is typed next; `place` is what names the run for commands that take one, "" while there
            is none.
        last: what is typed until all is answered.
        is_live: rows may go live.
        flex: all rows go by the lane of that name, and none in a batch.
        in_pairs: two commands are typed at the same time, at a URL on two machines.
    """

    name: str
    does: str
    turn: Callable[[random.Random, str], Turn]
    last: Callable[[random.Random, str], Turn]
    is_live: bool = False
    cancels: bool = False
    detaches: bool = False
    has_workers: bool = False
    in_pairs: bool = False
    flex: bool = False

    def goes_to(self, service: str) -> bool:
        """Whether it makes sense there."""
        if self.flex:
            return service == "openai"
        return DIALECTS[service].cancels or not (self.cancels and self.detaches)

    def steps(self, service: str, turn: Turn, *, at_url: bool) -> list[str]:
        """Where a command may die on this way."""
        dialect = DIALECTS[service]
        if self.flex:
            return [
                step
                for step in (*STEPS, ANY_TIME)
                if step.startswith((*CALLS_ONLY, *(AT_URL if at_url else ())))
            ]
        out: list[str] = [WORKER]
        out += _ORDERS if turn.words[0] == "cancel" else []
        out += [] if at_url else [*AT_URL, "unmerged"]
        out += [] if self.is_live else LIVE
        out += [] if self.cancels else ["cancel"]
        out += [] if self.detaches else ["detach"]
        out += ["upload", "download"] if dialect.inline and dialect.files is None else []
        out += [] if dialect.cancels else ["cancel "]
        return [step for step in (*STEPS, ANY_TIME) if not step.startswith(tuple(out))]


def _runs(_: random.Random, __: str) -> Turn:
    return Turn(RUN)


def _collects(rng: random.Random, place: str) -> Turn:
    return Turn(("collect", place) if place and rng.random() < 0.9 else DETACH)


def _collects_only(_: random.Random, place: str) -> Turn:
    return Turn(("collect", place) if place else DETACH)


def _cancels(rng: random.Random, place: str) -> Turn:
    if not place:
        return Turn(DETACH)
    cancel = ("cancel", place)
    return Turn(
        rng.choice(
            (DETACH, DETACH, cancel, cancel, (*cancel, "--wait", "0.1s"), (*cancel, "--wait", "1s"),
             ("collect", place), RUN)
        )
    )  # fmt: skip


def _lanes(rng: random.Random, _: str, more: Sequence[str] = ()) -> Turn:
    deadline = rng.choice(((), ("--deadline", "15s"), ("--deadline", "60s"), ("--deadline", "20m")))
    words = (*RUN, *more)
    draw = rng.random()
    if draw < 0.5:
        return Turn((*words, "--lane", "cheapest"), str(rng.randrange(10**9)))
    if draw < 0.75:
        return Turn((*words, "--lane", "cheapest", *deadline))
    return Turn((*words, "--lane", "live" if draw < 0.85 else "batch"))


def _last_lanes(rng: random.Random, _: str, more: Sequence[str] = ()) -> Turn:
    return Turn((*RUN, *more, "--lane", rng.choice(("cheapest", "live", "batch"))))


_WORKERS = ("--processes", "2")


def _flex(rng: random.Random, _: str) -> Turn:
    return Turn((*RUN, *rng.choice(((), (), _WORKERS))))


WAYS = {
    way.name: way
    for way in (
        Way("run", "the same run again and again", _runs, _runs),
        Way(
            "detach",
            "run --detach, then collect as cron does",
            _collects,
            _collects_only,
            detaches=True,
        ),
        Way(
            "cancel",
            "run --detach, cancel, collect and run by turns",
            _cancels,
            _runs,
            cancels=True,
            detaches=True,
        ),
        Way(
            "two at once",
            "two of these at the same time; at a URL on two machines, each with a directory of its own",
            _cancels,
            _runs,
            cancels=True,
            detaches=True,
            in_pairs=True,
        ),
        Way(
            "cheapest",
            "--lane cheapest, live and batch by turns; half of it with lanes chosen by chance",
            _lanes,
            _last_lanes,
            is_live=True,
            cancels=True,
        ),
        Way(
            "workers",
            "the same with --processes 2, whose workers are killed, too",
            lambda rng, place: _lanes(rng, place, _WORKERS),
            lambda rng, place: _last_lanes(rng, place, _WORKERS),
            is_live=True,
            cancels=True,
            has_workers=True,
        ),
        Way(
            "flex",
            "--lane flex, in one process and with two, whose workers are killed, too",
            _flex,
            _flex,
            is_live=True,
            has_workers=True,
            flex=True,
        ),
    )
}

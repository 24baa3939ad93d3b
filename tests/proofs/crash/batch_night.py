"""One run with batches, killed again and again until its end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchlab.store.layout import is_run
from batchlab.store.view import RunView
from tests.proofs.crash.batch_found import Found
from tests.proofs.crash.batch_ground import LATE, MACHINES, Ground
from tests.proofs.crash.batch_judge import Judge
from tests.proofs.crash.batch_steps import DIED, SLEEPER, WORKER
from tests.proofs.crash.batch_ways import ANY_TIME, SLEEPS, Turn
from tests.warm import Warm

PATIENCE_S = 300.0  # on a machine that is busy otherwise; a run takes seconds
LOOK_UPS = ("list begins", "list answered", "absent before", "absent torn", "absent after", "created before")
ON_ITS_WAY_S = 0.03  # longest time between the begin of a call and a death on its way
KILLED = -9
ENDS = frozenset({0, 1, 3})
ROWS_DONE = frozenset({0, 1})
STEPS_AT_ONCE = 3  # it dies at the one that comes first
MOST_MISSED = 3  # commands that came to their end, before the run is brought to its own
SLEEPS_SHARE = 0.15
RARE, RARE_SHARE = ("cancel", "unmerged", "take-over", "kept", "phase", "live", "detach", "left"), 0.4
REFUSALS = (  # with exit code 2, of commands that are typed at random
    "none of its batches is out",
    "its batches were cancelled, and no others are ordered",
    "cannot cancel a batch",
    "its run has not begun",
    "no run directory",
    "is not a run directory",
)
TAKEN = (
    "in use by",
    "was at work here",
    "is at work on it",
    "went on elsewhere",
    "another machine has just started this run",
    "its batches have just been cancelled",
)


@dataclass
class OneOfTwo:
    """One of two commands that are typed at the same time.

    Attributes:
        at: where it is to die, in the words of `batch_steps`; "" for nowhere.
    """

    turn: Turn
    machine: str
    at: str
    most_s: float
    code: int = 0
    text: str = ""

    def go(self, ground: Ground, warm: Warm | None) -> None:
        """Types it; it is killed from outside when it takes too long."""
        said = ground.home / f"{id(self):x}.txt"
        code = ground.typed(self.turn, self.at, self.most_s, said, warm, self.machine)
        self.code, self.text = KILLED if code == LATE else code, said.read_text()

    @property
    def is_refused(self) -> bool:
        """Whether another one is at work."""
        return self.code == 2 and any(one in self.text for one in TAKEN)


@dataclass
class Night:
    """One run until its end.

    Attributes:
        deaths: where it was killed, in order.
        journalled: rows that were seen with a result here, since the directory was lost.
        lost_at: how many bills there were when a directory was lost last.
    """

    found: Found
    ground: Ground
    rng: random.Random
    deaths: list[str] = field(default_factory=list)
    journalled: set[int] = field(default_factory=set)
    lost_at: int = 0
    said: str = ""
    troubles: int = 0

    def to_end(self, kills: int) -> None:
        """Kills it so many times, unless it ends before, and looks at what has come of it."""
        missed = 0
        while len(self.deaths) < kills and missed < MOST_MISSED and not self.ground.is_done():
            if self.found.way.in_pairs:
                missed += not self._two_at_once()
            elif self.ground.at_url and not self.found.way.is_live and self.rng.random() < SLEEPS_SHARE:
                self._overtaken()
            else:
                missed += self._killed() != KILLED
        code = self._ended()
        if code not in ROWS_DONE:
            self._problem(f"exit code {code}: {self.said[-1500:]}")
        line = self.found.line(self.deaths[-1] if self.deaths else "none")
        Judge(self.ground, self.found, line, self.lost_at, self._problem).look()

    def keep(self, folder: Path) -> None:
        """Keeps what there is of it."""
        self.ground.keep(folder / f"{self.found.label} {self.ground.service} {self.found.counts['runs']}")

    def _killed(self) -> int:
        """Goes on with it, to be killed at a step. Returns the exit code."""
        turn = self._turn()
        steps = self._next_steps(turn)
        code = self._go(turn, self._at(steps), self._most_s(steps))
        if code != KILLED:
            self.found.missed.update(steps)
            return code
        self._has_died()
        return code

    def _at(self, steps: Sequence[str]) -> str:
        """Where it is to die, in the words of `batch_steps`."""
        each = [f"{step}:{self._nth(step)}:{self._after_s(step):.4f}" for step in steps if step != ANY_TIME]
        return ",".join(filter(None, (*each, self._of_workers())))

    def _most_s(self, steps: Sequence[str]) -> float:
        return self.rng.uniform(0.05, 2.5) if ANY_TIME in steps else PATIENCE_S

    def _has_died(self) -> None:
        """Looks at what there is after a death; at a URL, the machine may be gone with all it had."""
        step = (self._died_at(self.ground.machine) or [ANY_TIME])[-1]
        self.deaths.append(step)
        self.found.line(step).kills += 1
        self._look()
        if self.ground.at_url:
            self._machine_is_gone()

    def _machine_is_gone(self) -> None:
        """Two minutes later: it has lost all that it had, or goes on elsewhere, or here."""
        self.ground.sign_is_old()
        fate = self.rng.random()
        if fate < 0.6:
            self.ground.lose()
            self.found.counts["directories lost"] += 1
        elif fate < 0.85:
            self.ground.go_elsewhere()
            self.found.counts["taken over elsewhere"] += 1
        else:
            return
        self.journalled.clear()
        self.ground.settled()
        self.lost_at = len(self.ground.bills())

    def _overtaken(self) -> None:
        """This machine falls asleep, another one takes the run over, and then it wakes up."""
        asleep, place = self.rng.choice(SLEEPS), self.ground.here / SLEEPER
        place.unlink(missing_ok=True)
        turn, sleeper, said = self._turn(), self.ground.here, self.ground.home / "sleeper.txt"
        codes: list[int] = []
        at = f"sleep {asleep}:{self._nth(asleep)}"
        thread = threading.Thread(
            target=lambda: codes.append(self.ground.typed(turn, at, PATIENCE_S, said, self.ground.second))
        )
        thread.start()
        while thread.is_alive() and not place.exists():
            time.sleep(0.02)
        if not place.exists():
            self.found.counts["did not fall asleep"] += 1
            thread.join()
            return
        self.found.counts["fell asleep"] += 1
        self.deaths.append(f"asleep at {asleep}")
        self.ground.sign_is_old()
        self.ground.go_elsewhere()
        self.ground.lose()
        self.journalled.clear()
        turn = self._turn()
        steps = self._next_steps(turn)
        code = self._go(turn, self._at(steps), self._most_s(steps))
        os.kill(int(place.read_text()), signal.SIGCONT)
        thread.join()
        if "Traceback" in (text := said.read_text()):
            self._problem(f"a traceback of who woke up: {text[-3000:]}")
        if codes[0] not in ENDS | {2}:
            self._problem(f"exit code {codes[0]} of who woke up: {text[-1500:]}")
        self.found.counts[f"woke up, exit code {codes[0]}"] += 1
        shutil.rmtree(sleeper / "runs", ignore_errors=True)  # as it is told to
        if code == KILLED:
            self._has_died()

    def _two_at_once(self) -> bool:
        """Two commands at the same time, each of which may die. Whether one has.

        One does the work, and the other is refused in one line, or comes after it.
        """
        rng, ground = self.rng, self.ground
        pair = [self._one_of_two(machine) for machine in (MACHINES if ground.at_url else MACHINES[:1] * 2)]
        thread = threading.Thread(target=pair[1].go, args=(ground, ground.second))
        thread.start()
        time.sleep(rng.choice((0.0, 0.0, 0.05, 0.3, 1.0)))
        pair[0].go(ground, None)
        thread.join()
        for one in pair:
            self._judge_end(one.turn, one.code, one.text, TAKEN)
            self.found.counts["refused for another at work"] += one.is_refused
        if all(one.is_refused for one in pair):
            self._problem(f"each is refused for the other: {[one.text for one in pair]}")
        for one in pair:
            if "went on elsewhere" in one.text:  # as it is told to
                shutil.rmtree(ground.home / one.machine / "runs", ignore_errors=True)
        ground.machine = rng.choice([one.machine for one in pair if one.code == KILLED] or [ground.machine])
        steps = [step for machine in {one.machine for one in pair} for step in self._died_at(machine)]
        steps += [ANY_TIME] * (sum(one.code == KILLED for one in pair) - len(steps))
        for step in steps:
            self.deaths.append(step)
            self.found.line(step).kills += 1
        if ground.at_url:
            self._machine_is_gone() if steps else ground.sign_is_old()
            self.journalled.clear()
        else:
            self._look()
        return bool(steps)

    def _one_of_two(self, machine: str) -> OneOfTwo:
        rng, self.ground.machine = self.rng, machine
        turn = self._turn()
        dies = rng.random() < 0.7
        at = self._at(self._next_steps(turn)) if dies else ""
        most_s = PATIENCE_S if dies or rng.random() < 0.3 else rng.uniform(0.3, 4.0)
        return OneOfTwo(turn, machine, at, most_s)

    def _died_at(self, machine: str) -> list[str]:
        """The steps at which processes on a machine have died since this was asked last."""
        died = self.ground.home / machine / DIED
        steps = died.read_text().splitlines() if died.exists() else []
        died.unlink(missing_ok=True)
        return steps

    def _next_steps(self, turn: Turn) -> list[str]:
        """Some that few have died at; after a death around an order often one of looking it up."""
        rng, found = self.rng, self.found
        last = self.deaths[-1] if self.deaths else ""
        if last.startswith(("order", "created before", "created torn")) and rng.random() < 0.5:
            return [rng.choice(LOOK_UPS)]
        steps = found.way.steps(self.ground.service, turn, at_url=self.ground.at_url)
        if rng.random() < RARE_SHARE:  # alone: else it mostly dies before
            steps = [step for step in steps if step.startswith(RARE)] or steps
        weight = {step: found.line(step).kills + found.missed[step] + rng.random() for step in steps}
        return sorted(steps, key=weight.__getitem__)[:STEPS_AT_ONCE]

    def _nth(self, step: str) -> int:
        if step in {"line packed", "result taken"}:
            return self.rng.randrange(1, max(2, self.ground.rows // 2))
        if step.startswith("live "):
            return self.rng.randrange(1, 40)
        return self.rng.choice((1, 1, 1, 2, 2, 3, 4))

    def _after_s(self, step: str) -> float:
        return self.rng.uniform(0.0, ON_ITS_WAY_S) if step.endswith("begins") else 0.0

    def _of_workers(self) -> str:
        """When a worker is to die, beside the process that has them."""
        if not self.found.way.has_workers or self.rng.random() < 0.3:
            return ""
        return f"{WORKER}:{self.rng.randrange(1, 30)}"

    def _turn(self) -> Turn:
        return self.found.way.turn(self.rng, self.ground.name(self.rng))

    def _go(self, turn: Turn, die_at: str, most_s: float) -> int:
        """One command; KILLED also when it was ended from outside."""
        began = time.monotonic()
        text = self.ground.home / "said.txt"
        start = text.stat().st_size if text.exists() else 0
        while True:
            code = self.ground.typed(turn, die_at, most_s, text)
            with text.open("rb") as said:
                said.seek(start)
                self.said = said.read().decode()
            if code == 2 and "went on elsewhere" in self.said[-2000:]:
                self.ground.lose()  # as it is told to
                self.found.counts["refused what had gone on elsewhere"] += 1
                turn = Turn(("run", "job.toml"))
            elif code == 2 and "in use by" in self.said and time.monotonic() < began + 60:
                time.sleep(0.2)  # the workers of who was killed have not noticed yet
            else:
                break
            start = text.stat().st_size
        lasted = time.monotonic() - began
        if code == LATE and most_s == PATIENCE_S:
            self._problem(f"{' '.join(turn.words)} does not end within {PATIENCE_S:g} s")
        code = KILLED if code == LATE else code
        self._judge_end(turn, code, self.said)
        if self.deaths:
            line = self.found.line(self.deaths[-1])
            line.resumed += code in {KILLED, *ENDS}
            line.longest_s = max(line.longest_s, lasted)
        return code

    def _judge_end(self, turn: Turn, code: int, said: str, refusals: Sequence[str] = ()) -> None:
        """Of one command: it ends in order, or is refused for a reason that may be, or was killed."""
        if "Traceback" in said:
            self._problem(f"a traceback: {said[-3000:]}")
        if code == 2 and not any(one in said for one in (*REFUSALS, *refusals)):
            self._problem(f"{' '.join(turn.words)} is refused: {said[-1500:]}")
        elif code not in ENDS | {2, KILLED}:
            self._problem(f"{' '.join(turn.words)}: exit code {code}: {said[-1500:]}")

    def _look(self) -> None:
        """Rows that have a result keep it."""
        if not is_run(self.ground.path):
            return
        now = {result.row_id for result in RunView.open(self.ground.path).all_results()}
        if gone := self.journalled - now:
            self._problem(f"{len(gone)} rows that had a result have none")
            self.found.line(self.deaths[-1]).lost += len(gone)
        self.journalled = now

    def _ended(self) -> int:
        """Brings it to its end; returns the last exit code."""
        until = time.monotonic() + PATIENCE_S
        while True:
            turn = self.found.way.last(self.rng, self.ground.name(self.rng))
            code = self._go(turn, "", PATIENCE_S)
            if code in ROWS_DONE and self.ground.has_late_orders() and time.monotonic() < until:
                time.sleep(0.2)
                continue
            if code in ROWS_DONE or turn.words[0] != "collect" or time.monotonic() > until:
                return code
            time.sleep(0.2)

    def _problem(self, text: str) -> None:
        self.troubles += 1
        where = f"{self.found.label}, {self.ground.service}, run {self.found.counts['runs']}"
        self.found.problems.append(f"{where}, killed at {self.deaths}: {text}")

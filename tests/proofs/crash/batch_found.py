"""What the kills of runs with batches have found, by way and step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.proofs.crash.batch_ways import Way


@dataclass(slots=True)
class Line:
    """Of one way and step: kills, and what came of the runs that were killed there last.

    Attributes:
        twice, billed, lost: lines that were answered twice, bills that nothing tells of, rows.
    """

    kills: int = 0
    resumed: int = 0
    twice: int = 0
    billed: int = 0
    lost: int = 0
    longest_s: float = 0.0

    def __add__(self, other: Line) -> Line:
        return Line(
            self.kills + other.kills,
            self.resumed + other.resumed,
            self.twice + other.twice,
            self.billed + other.billed,
            self.lost + other.lost,
            max(self.longest_s, other.longest_s),
        )


@dataclass
class Found:
    """Everything that was found on one way.

    Attributes:
        missed: how often a command had ended before a step was reached.
        counts: of runs, rows, batches, and what else happened to them.
    """

    way: Way
    at_url: bool = False
    lines: dict[str, Line] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.way.name}, URL" if self.at_url else self.way.name

    @property
    def kills(self) -> int:
        return sum(line.kills for line in self.lines.values())

    def line(self, step: str) -> Line:
        return self.lines.setdefault(step, Line())

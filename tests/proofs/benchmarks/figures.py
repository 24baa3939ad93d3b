"""What every benchmark yields: one measured figure beside its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: as the table of targets names it.
        target: for a person, such as `≤ 1.35 ×`.
        value: the measured figure, as text with its unit.
        met: whether it keeps to the target; None when it could not be measured here.
        beside: what it was measured against in the same run, spread and repeats included.
    """

    what: str
    target: str
    value: str
    met: bool | None
    beside: str = ""


def printed(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| what | target | measured | met | beside it, same run |", "|---|---|---|---|---|"]
    words = {True: "yes", False: "NO", None: "not measured"}
    lines += [
        f"| {one.what} | {one.target} | {one.value} | {words[one.met]} | {one.beside} |" for one in figures
    ]
    return "\n".join(lines)


def peak_mb(pid: int | str = "self") -> float:
    """The most memory a live process has had resident so far (VmHWM), in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

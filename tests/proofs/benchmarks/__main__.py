"""All benchmarks: the table of targets with what was measured, as Markdown.

    python -m tests.proofs.benchmarks            about 40 minutes on two idle cores
    python -m tests.proofs.benchmarks --short    smaller inputs, one repeat: about 5 minutes

Quote ratios from one run. The machine should be idle: a figure in wall time says nothing otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.proofs.arguments import ended, one_of, options
from tests.proofs.benchmarks import processes, scale, startup, throughput
from tests.proofs.benchmarks.figures import Figure, printed
from tests.proofs.benchmarks.machine import header


def main() -> None:
    """Prints the table; exits with 1 when a target that could be measured was missed."""
    given = options(__doc__, short=False, only=one_of(["throughput", "scale", "startup", "processes"]))
    short: bool = given.short
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "throughput": lambda: throughput.figures(short=short),
        "scale": lambda: (
            scale.figures(plan_rows=100_000, few=10_000, many=60_000, repeats=1) if short else scale.figures()
        ),
        "startup": lambda: startup.figures(rows=100_000, repeats=3) if short else startup.figures(),
        "processes": lambda: processes.figures(rows=20_000, pairs=1) if short else processes.figures(),
    }
    print(header(), "\n")
    seen = []
    for name, figures in parts.items():
        if given.only in (None, name):
            for figure in figures():
                print(f"{figure.what}: {figure.value} ({figure.target})", file=sys.stderr, flush=True)
                seen.append(figure)
    print(printed(seen))
    ended([f"{one.what}: {one.value}, not {one.target}" for one in seen if one.met is False])


if __name__ == "__main__":
    main()

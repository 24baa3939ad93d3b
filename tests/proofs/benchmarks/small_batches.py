"""The real command at a service whose batches hold less than any real one's, and are asked for often.

$BATCH_LIMITS has the lines and bytes that one may have, as `5000 8000000`. Its last line on standard output is
the most memory that it has had, in MB.
"""

from __future__ import annotations

import os
from dataclasses import replace

from batchlab.cli import main
from batchlab.engines.batch_api import waiting
from batchlab.engines.batch_api.orders import room
from batchlab.protocol.batches.table import DIALECTS
from tests.proofs.benchmarks.figures import peak_mb

FULL_S = 2.0  # before a queue that was full is given more


def set_up() -> None:
    """Puts the limits into every dialect."""
    lines, size = map(int, os.environ["BATCH_LIMITS"].split())
    for name, dialect in DIALECTS.items():
        limits = replace(dialect.limits, lines=lines, size=size)
        DIALECTS[name] = replace(dialect, limits=limits)  # type: ignore[index]
    waiting.LONGEST_S = 2.0
    room.NO_ROOM_WAIT_S = FULL_S


if __name__ == "__main__":
    set_up()
    try:
        main()
    finally:
        print(f"{peak_mb():.1f}", flush=True)

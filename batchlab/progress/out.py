"""How batches that are out are said to a person."""

from __future__ import annotations

import time
from collections.abc import Sequence

from batchlab.counts import counted
from batchlab.run_state import BatchStanding
from batchlab.store.batches import Step


def counted_batches(count: int) -> str:
    """`1 batch`, `2 batches`."""
    return counted(count, "batch", "batches")


def batches_text(batches: Sequence[BatchStanding], word: str = "") -> str:
    """`2 batches (20,000 rows, 7,312 done there)`; what no service counts is left out.

    Args:
        word: what they are, such as `out`: said after their number.
    """
    told = [one.done for one in batches if one.done is not None]
    rows = counted(sum(one.rows for one in batches), "row")
    done = f", {sum(told):,} done there" if told else ""
    count = f"{counted_batches(len(batches))} {word}".rstrip()
    return f"{count} ({rows}{done})"


def out_text(batches: Sequence[BatchStanding]) -> str:
    """`2 batches out (20,000 rows, 7,312 done there), 1 to be ordered`."""
    out = [one for one in batches if one.id or one.word == Step.ORDERING]
    told = [batches_text(out, "out")] if out else []
    if waiting := len(batches) - len(out):
        told.append(f"{waiting:,} to be ordered" if out else f"{counted_batches(waiting)} to be ordered")
    return ", ".join(told)


def next_look_text(batches: Sequence[BatchStanding], now: float | None = None) -> str:
    """`next look in 12 s`; "" while they are looked at, and where nobody will."""
    at = min((one.next_look for one in batches if one.next_look), default=0.0)
    left = at - (time.time() if now is None else now)
    return f"next look in {left:.0f} s" if left >= 1 else ""

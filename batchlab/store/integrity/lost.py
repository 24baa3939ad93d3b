"""lost.log: what was sealed or answered, is gone, and was given up (`losses`). Its cost stays in the books.

A record has `generation`, `name` and `blake2b` of what is lost, `rows`, `at` (Unix seconds) and `totals`, as
paid and not kept. A later record of the same loss takes the place of an earlier one.
"""

from __future__ import annotations

import contextlib
from typing import Any

from batchlab.store.journals.journal import JournalScan
from batchlab.store.layout import Layout
from batchlab.totals import Totals, sum_of


def lost_records(layout: Layout) -> list[dict[str, Any]]:
    """What was given up in this and in earlier generations, oldest first."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError):
        for record in JournalScan(layout.lost).records():
            data = record.data
            with contextlib.suppress(KeyError, TypeError, ValueError):
                totals = Totals.of(data["totals"])
                found[data["generation"], data["name"], data["blake2b"]] = {**data, "totals": totals}
    return list(found.values())


def lost_totals(layout: Layout) -> Totals:
    """What all of it had come to."""
    return sum_of(record["totals"] for record in lost_records(layout))

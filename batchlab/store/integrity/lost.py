"""lost.log: what was sealed or answered, is gone, and was given up (`losses`). Its cost stays in the books.

A record has `generation`, `name` and `blake2b` of what is lost, `rows`, `at` (Unix seconds) and `totals`, as
paid and not kept; and `batches`, the keys of those whose results are among it: what they had brought can be
fetched again, unpaid, and is no loss then. A later record of the same loss takes the place of an earlier one.

Of a batch whose results, or some of them, are gone at its service, the name is `batches/KEY`; what it was
billed nobody knows, and `at_most` are the US dollars and tokens that it may have been. Of one that was
ordered once too often the name is `batches/KEY/ID`: what it was billed is paid twice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

from batchlab.store.batches import Batch
from batchlab.store.integrity.checksums import append_records
from batchlab.store.journals.journal import JournalScan
from batchlab.store.layout import BATCH_FILES, Layout
from batchlab.totals import Totals, sum_of

_NOISE = 1e-9  # of a sum of dollars


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


def lost_at_most(layout: Layout) -> tuple[float, float]:
    """US dollars and tokens that may have been billed of which nobody knows: in no totals, and for the caps
    all the same."""
    most_usd = most_tokens = 0.0
    for record in lost_records(layout):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            usd, tokens = map(float, record["at_most"])
            most_usd, most_tokens = most_usd + usd, most_tokens + tokens
    return most_usd, most_tokens


def lost_record(
    *, generation: int, name: str, digest: str, rows: int, totals: Totals, batches: Collection[str] = ()
) -> dict[str, Any]:
    """What is noted of a loss, or of what is left of one."""
    return {
        "generation": generation,
        "name": name,
        "blake2b": digest,
        "rows": rows,
        "at": time.time(),
        "totals": asdict(totals),
        "batches": sorted(batches),
    }


def lost_at_service(layout: Layout, batch: Batch, lines: int) -> Totals:
    """So many lines of a batch may have been billed, and what came of them cannot be had.

    Returns what they add to the books, which is nothing when that was said before. Raises RunStopped (disk).
    """
    return _noted(layout, batch, f"{BATCH_FILES}/{batch.key}", lines, None)


def billed_beside(layout: Layout, batch: Batch, found: str, worth: Totals | None) -> Totals:
    """A batch was ordered once too often, and `found` is the id of what was; `worth` is None when nobody
    knows what that was billed.

    Returns what it adds to the books, which is nothing when that was said before. Raises RunStopped (disk).
    """
    return _noted(layout, batch, f"{BATCH_FILES}/{batch.key}/{found}", batch.lines, worth)


def beside_totals(layout: Layout) -> Totals:
    """Of what was lost, that of batches which were ordered once too often."""
    return sum_of(one["totals"] for one in lost_records(layout) if one["name"].count("/") == 2)


def _noted(layout: Layout, batch: Batch, name: str, lines: int, worth: Totals | None) -> Totals:
    if any(record["name"] == name for record in lost_records(layout)):
        return Totals()
    share = lines / max(1, batch.lines)
    totals = Totals(waste_without_cost=lines) if worth is None else worth
    record = lost_record(generation=batch.generation, name=name, digest="", rows=lines, totals=totals)
    if worth is None:
        record["at_most"] = [(batch.usd or 0.0) * share, batch.tokens * share]
    append_records(layout.lost, [record])
    return totals


def batches_lost(layout: Layout) -> set[str]:
    """Keys of the batches whose results are among what was given up, and have not come again."""
    return {key for record in lost_records(layout) for key in record.get("batches", ())}


def came_again(layout: Layout, key: str, rows: int, worth: Totals) -> Totals:
    """The results of a batch, of so many rows, have come again, and were worth so much: no loss any more.

    Returns by how much the losses are less, as paid and not kept. Once for each batch, however often it is
    said. Raises RunStopped (disk).
    """
    again, left = [], worth.as_waste()
    for record in lost_records(layout):
        if key not in (owed := record.get("batches", ())):
            continue
        before: Totals = record["totals"]
        after = (before - left).as_waste()
        if after.cost_wasted_usd <= _NOISE * before.cost_wasted_usd:
            after = replace(after, cost_wasted_usd=0.0)  # what sums of another order leave
        left -= before - after
        again.append(
            lost_record(
                generation=record["generation"],
                name=record["name"],
                digest=record["blake2b"],
                rows=max(0, record["rows"] - rows),
                totals=after,
                batches=set(owed) - {key},
            )
        )
    if again:
        append_records(layout.lost, again)
        return worth.as_waste() - left
    return Totals()

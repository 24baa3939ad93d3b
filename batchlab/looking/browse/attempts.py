"""What a run still knows of the requests for one row.

A part has of a row how many requests it took, what those before the last cost, and when and where the last
was answered; not each of them: that would be kept for every row, to be asked of few. While a shard is open
its journals have each request, and batches.log has, as long as the run is there, the batches a row was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchlab.counts import counted
from batchlab.errors import CorruptRun
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.opened import Sent
from batchlab.looking.phrases import money
from batchlab.protocol.redact import printable
from batchlab.store.batches import Batch, Step, read_batches
from batchlab.store.view import RunView

_NEVER_SENT = (Step.MEANT, Step.UPLOADED, Step.DROPPED)
MOST_SHOWN = 100  # of the requests for one row


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of what a row took.

    Attributes:
        at: Unix seconds when it was sent.
        what: a call, a batch, or the status that it brought.
    """

    what: str
    at: float | None = None
    ms: float | None = None
    cost_usd: float | None = None
    message: str = ""

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {name: getattr(self, name) for name in self.__slots__}


class History:
    """Tells what is known of the requests for rows of one run."""

    def __init__(self, run: RunView, index: RowIndex) -> None:
        self._run = run
        self._index = index
        self._batches: tuple[tuple[int, int] | None, list[Batch]] = (
            None,
            [],
        )  # as the log was when it was read

    def of(self, row: int, values: Mapping[str, Any]) -> tuple[list[Attempt], str]:
        """What is known one by one, oldest first, and in a sentence or two what is of all; of a row that took
        one call, nothing."""
        opened = self._index.opened(self._index.shard_of(row))
        sent = opened.sent(row) if opened is not None else []
        batches = [one for one in self._sent_batches() if _holds(one, row)]
        has_result = values["status"] not in (None, "pending")
        count = int(values["attempts"] or 0)
        if not batches and not sent and count <= 1:
            return [], ""
        found = [_of_batch(one) for one in batches]
        keys = {one.key for one in batches}
        # in a journal of a row that has its result there, the last request is the one that brought it
        before = sent[:-1] if has_result and opened is not None and row in opened else sent
        found += [_of_call(one) for one in before if one.by not in keys]
        found.sort(key=lambda one: one.at or float("inf"))
        if has_result:
            found.append(_last(values))
        return found[-MOST_SHOWN:], " ".join(_of_all(values, count, has_result=has_result))

    def _sent_batches(self) -> list[Batch]:
        path = self._run.layout.batches
        try:
            stat = path.stat()
            if self._batches[0] != (sign := (stat.st_size, stat.st_mtime_ns)):
                generation = self._run.manifest.generation
                known = read_batches(self._run.path).by_key.values()
                sent = [one for one in known if one.generation == generation and one.step not in _NEVER_SENT]
                self._batches = sign, sorted(sent, key=lambda one: one.ordered_at)
        except (OSError, CorruptRun):  # there are none; or the overview says it
            return []
        return self._batches[1]


def _holds(batch: Batch, row: int) -> bool:
    return any(first <= row < first + count for first, count in batch.rows)


def _of_batch(batch: Batch) -> Attempt:
    phase = printable(batch.phase, 40) or ("ended" if batch.ended_at else "is out")
    lasted = (batch.ended_at - batch.ordered_at) * 1_000 if batch.ended_at and batch.ordered_at else None
    name = printable(batch.id or batch.key, 80)
    taken = ", taken back" if batch.cancelled_at else ""
    where = f"{name} at {printable(batch.endpoint, 60)}"
    return Attempt("batch", batch.ordered_at or None, lasted, message=f"{where}: {phase}{taken}")


def _of_call(sent: Sent) -> Attempt:
    what = "batch" if sent.by else "call"
    said = "came back without a result" if sent.is_back else "under way, or lost in a crash"
    if sent.tokens:
        said += f"; {counted(sent.tokens, 'token')} paid and not kept"
    return Attempt(what, cost_usd=sent.usd, message=said)


def _last(values: Mapping[str, Any]) -> Attempt:
    began = values.get("started_at")
    said = [str(values[name]) for name in ("error_class", "error_code") if values.get(name) is not None]
    place = [printable(str(values[name]), 60) for name in ("lane", "endpoint") if values.get(name)]
    words = [" ".join(said), f"by {' at '.join(place)}" if place else ""]
    return Attempt(
        str(values["status"]),
        began.timestamp() if isinstance(began, datetime) else None,
        values.get("latency_ms"),
        values.get("cost_usd"),
        ", ".join(word for word in words if word),
    )


def _of_all(values: Mapping[str, Any], count: int, *, has_result: bool) -> Iterator[str]:
    if has_result and count > 1:
        yield (
            f"{counted(count, 'request')} in all. Of those before the last, a run keeps how many they were "
            "and what they cost, and not the error of each."
        )
    if cut_off := int(values.get("cut_off") or 0):
        yield f"{cut_off:,} of them {'was' if cut_off == 1 else 'were'} cut off by a crash or a stop."
    tokens = sum(int(values.get(f"wasted_{kind}_tokens") or 0) for kind in ("prompt", "completion"))
    if tokens:
        usd = values.get("cost_wasted_usd")
        price = "at an unknown price" if usd is None else f"for {money(usd)}"
        yield f"{counted(tokens, 'token')} were paid {price}, and not kept."

"""From the pending rows of a shard to files of lines, each within what one batch may hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.http.transport import encoded
from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.dispatch.rate.worst_case import WorstCase
from batchlab.engines.batch_api.asking import Asking, asked_before
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.engines.feed import bad_input, not_built
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError
from batchlab.inputs.templates import RowProblem
from batchlab.protocol.batches.dialect import Json, Unfit
from batchlab.records import ChatRequest, Failure, Row
from batchlab.store.batches import Batch, new_key, runs_of
from batchlab.store.disk.files import disk_errors
from batchlab.store.locked import LockedRun
from batchlab.store.shard import OpenShard

TURN_ROWS = 200  # between which others on the event loop have their turn


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch that may be ordered, and the file of its lines."""

    batch: Batch
    lines: Path


class _Kind(NamedTuple):
    """What is the same in all lines of a batch; `apart` is what its dialect wants so, as JSON, and `cap` the
    max_tokens that rows of a retry are asked with."""

    model: str
    path: str
    apart: bytes
    cap: int | None


class _Box:
    """The lines of one batch while it is filled."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.key = new_key(shard)
        self.rows: list[int] = []
        self.size = 0
        self.inputs = 0
        self.worst = NOTHING
        self.priced = True
        self.path = folder / f"{self.key}.jsonl"
        self._file = self.path.open("wb")

    def put(self, row_id: int, line: bytes, worst: Money, *, inputs: int, priced: bool) -> None:
        self._file.write(line)
        self.rows.append(row_id)
        self.inputs += inputs
        self.size += len(line)
        self.worst = self.worst.plus(worst)
        self.priced &= priced

    def close(self) -> None:
        self._file.close()

    def drop(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


class Packing:
    """Packs a shard for one lane, as far as the money reaches.

    Args:
        covers: whether there is money for so much, all its batches together.
        most: batches that there may be; rows beyond are left for later.
        most_lines: that one may have, beside what the service says; None for no such limit.

    Attributes:
        packed: what may be ordered; `failed` are rows that cannot be asked at all, and `unfit` those that a
            batch of this service cannot carry, as the failures that they are where there is no other way.
        worst: the most that they may be billed, all together.
        is_short: the money did not reach for all of it, and `need` would have for the next line.
    """

    def __init__(
        self,
        work: Work[LockedRun],
        lane: BatchLane,
        opened: OpenShard,
        *,
        folder: Path,
        asking: Asking,
        worst_case: WorstCase,
        covers: Callable[[Money], bool],
        most: int,
        most_lines: int | None = None,
    ) -> None:
        self._work = work
        self._most = most
        limits = lane.dialect.limits
        self._limits = limits if most_lines is None else replace(limits, lines=min(limits.lines, most_lines))
        self._lane = lane
        self._opened = opened
        self._folder = folder
        self._asking = asking
        self._worst_case = worst_case
        self._covers = covers
        self._at = time.time()
        self._boxes: dict[_Kind, _Box] = {}
        self._spent = NOTHING
        self.packed: list[Packed] = []
        self.failed: list[Failure] = []
        self.unfit: list[Failure] = []
        self.is_short = False
        self.need = NOTHING

    async def run(self) -> None:
        """Packs all pending rows. Raises what the input raises, and RunStopped (disk)."""
        try:
            with disk_errors(self._folder):
                await self._pack()
        except BaseException:  # whatever it is: nothing of this is ordered
            for box in self._boxes.values():
                box.drop()
            self.give_up(len(self.packed))
            raise

    @property
    def worst(self) -> Money:
        """See the class."""
        batches = [one.batch for one in self.packed]
        return Money(sum(one.usd or 0.0 for one in batches), sum(one.tokens for one in batches))

    def give_up(self, count: int) -> None:
        """So many of the batches are not ordered after all."""
        for _ in range(count):
            self.packed.pop().lines.unlink(missing_ok=True)

    async def _pack(self) -> None:
        work, shard = self._work, self._opened.shard
        only, held = work.only, work.held
        for count, row in enumerate(work.source.rows(shard, work.plan), 1):
            if not count % TURN_ROWS:
                await asyncio.sleep(0)
            if self._opened.done(row.row_id) or (only is not None and row.row_id not in only):
                continue
            if held is not None and held[row.row_id]:
                continue
            if (request := self._built(row)) is not None and not self._put(request):
                break
        for kind in list(self._boxes):
            self._ship(kind)

    def _built(self, row: Row) -> ChatRequest | None:
        try:
            if row.problem is not None:
                raise RowProblem(row.problem)
            return self._asking.request(row, self._opened)
        except RowProblem as problem:
            self.failed.append(bad_input(row.row_id, problem))
            return None
        except BatchlabError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one row's
            self.failed.append(not_built(row.row_id, error))
            return None

    def _put(self, request: ChatRequest) -> bool:
        """Whether the row's line is in a batch, or can be in none; False when the money is used up."""
        lane, limits = self._lane, self._limits
        path = lane.path(request.task)
        try:
            if request.task not in limits.tasks:
                raise Unfit(f"{lane.dialect.name} takes no {request.task} in a batch")
            body = lane.access.body(request)
            row_id = request.row_id
            cap = self._asking.cap(row_id) if self._opened.asks_again(row_id) else None
            kind = _Kind(str(body.get("model", "")), path, self._apart(body), cap)
            inputs = _inputs(body)
            if limits.inputs is not None and inputs > limits.inputs:
                raise Unfit(f"its {inputs:,} inputs are more than {lane.dialect.name} takes")
            if (box := self._boxes.get(kind)) is None and (box := self._opened_box(kind)) is None:
                return True  # for later
            line = self._line(body, box, request.row_id, path)
            if len(line) > min(limits.line or limits.size, limits.size):
                raise Unfit(f"its line of {len(line):,} bytes is longer than {lane.dialect.name} takes")
        except (Unfit, UnicodeError) as problem:
            self.unfit.append(_unfit(request, str(problem)))
            return True
        price = lane.ceiling(request, self._at)
        tokens = estimated_prompt_tokens(request.prompt_bytes)
        worst = self._worst_case.reservation(tokens, request.max_tokens, price).worst
        if not self._covers(self._spent.plus(worst)):
            self.is_short, self.need = True, worst
            return False
        if (
            len(box.rows) >= limits.lines
            or box.size + len(line) > limits.size
            or (limits.inputs is not None and box.inputs + inputs > limits.inputs)
        ):
            self._ship(kind)
            if (box := self._opened_box(kind)) is None:
                return True
            line = self._line(body, box, request.row_id, path)
        self._spent = self._spent.plus(worst)
        box.put(request.row_id, line, worst, inputs=inputs, priced=price is not None)
        return True

    def _apart(self, body: Json) -> bytes:
        found = {name: body[name] for name in self._lane.dialect.apart if body.get(name) is not None}
        return encoded(found) if found else b""

    def _line(self, body: Json, box: _Box, row_id: int, path: str) -> bytes:
        return encoded(dict(self._lane.dialect.line(body, f"{box.key}-{row_id}", path))) + b"\n"

    def _opened_box(self, kind: _Kind) -> _Box | None:
        """An empty one; None when there may be no more of them."""
        if len(self.packed) + len(self._boxes) >= self._most:
            return None
        box = self._boxes[kind] = _Box(self._folder, self._opened.shard.index)
        return box

    def _ship(self, kind: _Kind) -> None:
        """A batch is as full as it gets."""
        box = self._boxes.pop(kind)
        if not box.rows:
            box.drop()
            return
        box.close()
        rows, asked = runs_of({row: asked_before(self._opened, row) for row in box.rows})
        batch = Batch(
            key=box.key,
            shard=self._opened.shard.index,
            rows=rows,
            asked=asked,
            endpoint=self._lane.name,
            model=kind.model,
            path=kind.path,
            size=box.size,
            generation=self._work.run.manifest.generation,
            is_retry=any(map(self._opened.asks_again, box.rows)),
            max_tokens=kind.cap,
            usd=box.worst.usd if box.priced else None,
            tokens=box.worst.tokens,
        )
        self.packed.append(Packed(batch, box.path))


def _inputs(body: Json) -> int:
    """Texts that a line asks vectors of; 0 for what asks none."""
    given = body.get("input")
    if not isinstance(given, list):
        return int(given is not None)
    return 1 if given and isinstance(given[0], int) else len(given)  # tokens are one text


def _unfit(request: ChatRequest, why: str) -> Failure:
    """A row that no batch can carry."""
    return Failure(
        row_id=request.row_id,
        custom_id=request.custom_id,
        error_class="bad_request",
        error_message=f"not to be asked in a batch: {why}",
        request_hash=request.request_hash,
    )

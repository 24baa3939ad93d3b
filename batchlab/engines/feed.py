"""From shards to requests, and from results back to the journals of their shards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from batchlab.dispatch.grouping import Groups
from batchlab.dispatch.longer import with_max_tokens
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.observer import RowWatch
from batchlab.engines.share import Share
from batchlab.engines.work import Work
from batchlab.errors import BatchlabError
from batchlab.inputs.templates import RowProblem
from batchlab.job import RequestJob
from batchlab.job.index import in_keys
from batchlab.records import ChatRequest, Failure, Result, Shard, Usage
from batchlab.run_end import RunStopped
from batchlab.store.asking import AskAgain
from batchlab.store.shard import OpenShard
from batchlab.store.working import WorkingRun


class ShardFeed:
    """The requests of all shards, in input order, and the way back from a result to its shard.

    Iterating opens shards one after another; `emit` and the attempt records go to the journal
    of the row's own shard. They are written by `write`, which the transport calls before it lets
    requests leave, and at the end of the turn of the event loop that brought them.
    """

    def __init__(
        self,
        work: Work[WorkingRun],
        share: Share,
        *,
        stop: StopSignal,
        on_complete: Callable[[OpenShard], None],
        retry: AskAgain | None = None,
        hand_out: Callable[[Result], None] | None = None,
        watch: RowWatch | None = None,
    ) -> None:
        self._work = work
        self._share = share
        self._stop = stop
        self._on_complete = on_complete
        self._retry = retry
        self._hand_out = hand_out
        self._watch = watch
        self._taken: list[tuple[Result, Result]] = []  # not told yet: as it came, and as it was written
        self._unwritten: dict[OpenShard, None] = {}  # in the order their first records came
        self._will_write = False
        self._open: dict[int, OpenShard] = {}
        self._held_rows: dict[int, int] = {}  # of open shards: rows that this pass leaves pending
        self._shard_rows = work.plan.shards[0].rows if work.plan.shards else 1

    def requests(self, shards: Iterator[Shard]) -> Iterator[ChatRequest]:
        """Requests of the rows that have no final result yet."""
        work, only, held = self._work, self._work.only, self._work.held
        for shard in shards:
            opened = work.run.open_shard(shard, retry=self._retry)
            self._open[shard.index] = opened
            self._share.reopened += opened.reopened
            if opened.complete:
                self._finish(opened)
                continue
            if held is not None and self._left_for_later(opened, held):
                continue
            for row in work.source.rows(shard, work.plan):
                if opened.done(row.row_id) or (only is not None and row.row_id not in only):
                    continue
                if held is not None and held[row.row_id]:
                    continue
                try:
                    if row.problem is not None:
                        raise RowProblem(row.problem)
                    request = self._as_asked(work.builder.build(row), opened)
                except RowProblem as problem:
                    self.emit(bad_input(row.row_id, problem))
                    continue
                except BatchlabError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it is one row's
                    self.emit(not_built(row.row_id, error))
                    continue
                if self._watch is not None:
                    self._watch.begun(request)
                yield request

    def _as_asked(self, request: ChatRequest, opened: OpenShard) -> ChatRequest:
        """The row's request as a retry asks it, if it is one of those that are asked again."""
        most = self._retry.max_tokens if self._retry is not None else None
        if most is None or not opened.asks_again(request.row_id):
            return request
        return with_max_tokens(request, most)

    def sent(self, row_id: int, attempt: int) -> None:
        self._work.run.check_disk()
        self._shard_to_write(row_id).append_sent(row_id, attempt)
        if self._watch is not None:
            self._watch.sent(row_id)

    def back(self, row_id: int, usage: Usage | None, usd: float | None) -> None:
        self._shard_to_write(row_id).append_back(row_id, usage, usd)

    def sent_together(self, row_ids: Sequence[int], attempt: int) -> None:
        self._work.run.check_disk()
        self._shard_to_write(row_ids[0]).append_sent_together(row_ids, attempt)
        if self._watch is not None:
            for row_id in row_ids:
                self._watch.sent(row_id)

    def back_together(
        self, row_ids: Sequence[int], usages: Sequence[Usage] | None, usds: Sequence[float | None]
    ) -> None:
        self._shard_to_write(row_ids[0]).append_back_together(row_ids, usages, usds)

    def grouped(self, request: RequestJob) -> Groups:
        """This feed with several rows in a request."""
        return Groups(self, rows=request.batch_rows, tokens=request.batch_tokens, shard_rows=self._shard_rows)

    def emit(self, result: Result) -> None:
        shard = self._shard_to_write(result.row_id)
        final = shard.append(result, self._share.totals)
        if self._hand_out is not None or self._watch is not None:
            self._taken.append((result, final))
        if shard.complete:
            self._finish(shard)
        elif self._work.held is not None and shard.pending == self._held_rows.get(shard.shard.index):
            self._put_away(shard)
        self._work.run.check_disk()

    def write(self) -> None:
        """Writes all that was taken. Raises RunStopped (disk): then no request may leave."""
        # results come first: the requests that their slots send now are on top of them, and a crash may
        # make us pay again for one of both only
        for shard in self._unwritten:
            shard.flush()
        self._unwritten.clear()
        self._tell()

    def _end_turn(self) -> None:
        self._will_write = False
        try:
            self.write()
        except RunStopped as error:
            self._stop(error.reason, str(error))

    def _tell(self) -> None:
        """Of results, once they are in the journal."""
        taken, self._taken = self._taken, []
        for result, written in taken:
            if self._watch is not None:
                self._watch.result(result)
            if self._hand_out is not None:
                self._hand_out(written)

    def close(self) -> None:
        """Closes the journals of shards that are not complete."""
        self._unwritten.clear()
        for shard in self._open.values():
            shard.close()
        self._open.clear()
        self._tell()

    def _shard_to_write(self, row_id: int) -> OpenShard:
        """The row's shard, which is about to take a record."""
        if not self._will_write:
            self._will_write = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        shard = self._open[row_id // self._shard_rows]
        self._unwritten[shard] = None
        return shard

    def _left_for_later(self, opened: OpenShard, held: bytearray) -> bool:
        """Counts the shard's rows that are held; closes it if no others are pending."""
        first, rows = opened.shard.first_row, opened.shard.rows
        count = sum(1 for row in range(first, first + rows) if held[row] and not opened.done(row))
        self._held_rows[opened.shard.index] = count
        if opened.pending == count:
            self._put_away(opened)
            return True
        return False

    def _put_away(self, shard: OpenShard) -> None:
        """Closes a shard that waits for copies: each open one has a descriptor and 20 bytes a row."""
        self._unwritten.pop(shard, None)
        shard.close()
        self._open.pop(shard.shard.index, None)

    def _finish(self, shard: OpenShard) -> None:
        shard.flush()
        self._unwritten.pop(shard, None)
        del self._open[shard.shard.index]
        self._on_complete(shard)


def bad_input(row_id: int, problem: RowProblem) -> Failure:
    """The result of a row that cannot be asked."""
    return Failure(
        row_id=row_id,
        custom_id=str(row_id),
        error_class="bad_input",
        error_message=in_keys(str(problem)),
    )


def not_built(row_id: int, error: Exception) -> Failure:
    """A row that comes to grief in building its request; the error's text may quote the row."""
    return Failure(
        row_id=row_id,
        custom_id=str(row_id),
        error_class="client_error",
        error_message=f"batchlab could not build this row's request ({type(error).__name__})",
    )

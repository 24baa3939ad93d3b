"""The engine that spreads the shards of a run over several workers, wherever these are.

This process holds the run's lock and hands out shard numbers; the workers share one budget, in
leases (`lending.lender`). A worker that dies is replaced: a fresh one replays the journals of its
open shards and goes on. Correctness rests on the store alone. How messages travel is the crew's
concern (`engines.crew`), and what is said is in `engines.messages`.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchlab.dispatch.rate.budget import Budget
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.crew import Crew
from batchlab.engines.foreman.shift import Shift
from batchlab.engines.local import LocalEngine
from batchlab.engines.messages import Address, Begin, RunAt
from batchlab.engines.observer import Observer, RowWatch
from batchlab.engines.share import Share
from batchlab.engines.terms import OwnTerms
from batchlab.engines.work import Work
from batchlab.records import Shard
from batchlab.store.asking import AskAgain
from batchlab.store.locked import LockedRun
from batchlab.totals import Totals


class Foreman:
    """Brings every shard of its work to its sealed part, by the workers of a crew; see `engines.work.Engine`.

    Args:
        budget: of the run; batches that are out may have their part of it.
        watch: told of the rows that this process sends itself.
        span: of the run, for workers' spans; see `engines.messages.Begin`.
    """

    def __init__(
        self,
        observer: Observer,
        crew: Crew,
        budget: Budget,
        *,
        watch: RowWatch | None = None,
        span: tuple[int, int, int] | None = None,
    ) -> None:
        self._observer = observer
        self._crew = crew
        self._budget = budget
        self._watch = watch
        self._span = span

    async def run(
        self, work: Work[LockedRun], stop: StopSignal, *, retry: AskAgain | None, shards: Sequence[Shard]
    ) -> None:
        """Runs `shards`, then gives rows that failed by the provider's trouble one more pass.

        Returns when all are sealed or `stop` is set; raises what a worker met (input, journal).
        """
        begin = self._begin(work, retry)
        shift = Shift(work, stop, self._crew, self._observer, begin, shards, self._budget)
        await shift.run()
        if not shift.books.again or stop.is_set:
            return
        # in this process: it sends so little at once that one is enough
        last = LocalEngine(
            self._observer,
            OwnTerms(self._budget),
            Share(shift.state(), work.run),
            watch=self._watch,
            odd=shift.books.odd,
        )
        again = sorted(shift.books.again.items())
        await last.last_pass(
            work,
            stop,
            [(work.plan.shards[index], Totals(retryable_failed=rows)) for index, rows in again],
            retry=retry,
        )

    def _begin(self, work: Work[LockedRun], retry: AskAgain | None) -> Begin:
        """What every worker is told; the shift gives each its name and number."""
        return Begin(
            name="",
            index=0,
            workers=self._crew.size,
            run=RunAt(work.job, str(work.run.path.absolute()), str(work.run.layout.stdin.absolute())),
            endpoints=tuple(
                Address(endpoint.base_url, endpoint.key, endpoint.headers) for endpoint in work.endpoints
            ),
            answered=work.before.totals.answered > 0,
            retry=retry,
            span=self._span,
        )

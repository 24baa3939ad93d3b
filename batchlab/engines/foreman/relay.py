"""What one worker has met, all are to know."""

from __future__ import annotations

from collections.abc import Sequence

from batchlab.dispatch.stop import StopSignal
from batchlab.engines.crew import Worker
from batchlab.engines.messages import Answered, LaneOut, Paused, Renew, Resumed, ToWorker, stop_message
from batchlab.lending.messages import Pause
from batchlab.lending.pauses import Pauses


class Relay:
    """Passes on what a worker says to the others of a run.

    Args:
        workers: those that live; grows and shrinks elsewhere.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._pauses = Pauses()

    def paused(self, worker: Worker, met: Paused, now: float) -> None:
        """A worker has met a rate limit or an outage: who is to pause, and how long, says `Pauses`."""
        others = self._others(worker)
        names, pause = [other.name for other in others], met.pause
        told = self._pauses.met(met.lane, worker.name, names, now, pause.seconds, outage=pause.outage)
        for other in (worker, *others):
            if other.name in told:
                other.tell(Paused(met.lane, Pause(told[other.name], pause.reason, pause.outage)))

    def answered(self, worker: Worker, answer: Answered) -> None:
        """A lane answers: an outage is over, and there may be more to lend."""
        self._pauses.over(answer.lane)
        news: ToWorker = Resumed(answer.lane) if answer.was_out else Renew()
        for other in self._others(worker):
            other.tell(news)

    def out(self, worker: Worker, found: LaneOut) -> None:
        """A lane cannot go on."""
        for other in self._others(worker):
            other.tell(found)

    def renew(self) -> None:
        """There is more to lend: nobody is to wait for its next renewal."""
        for worker in self._workers:
            if worker.asked:
                worker.tell(Renew())

    def stop(self, stop: StopSignal) -> None:
        """The run ends."""
        for worker in self._workers:
            worker.tell(stop_message(stop))

    def gone(self, worker: Worker) -> None:
        """A worker has ended."""
        self._pauses.gone(worker.name)

    def _others(self, worker: Worker) -> list[Worker]:
        return [other for other in self._workers if other is not worker and other.asked]

"""How a job is run, beside what it says itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchlab.job.index import in_keys

if TYPE_CHECKING:
    from batchlab.engines.observer import Taker
    from batchlab.runner.embedded.interrupt import Interrupt
    from batchlab.store.asking import AskAgain
    from batchlab.store.locked import LockedRun


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What whoever starts a run decides about it, and the job does not.

    Attributes:
        fresh: go on although the request settings changed.
        retry: which failed rows of sealed shards to ask again; None for none.
        progress: `auto`, `bar`, `plain`, `json` or `none`.
        quiet: say nothing but progress.
        command: what to type to go on, said when the run stops early, and kept for who looks later.
        spell: a message with each `{limits.max_cost}` in the words of who began the run.
        signals: handle SIGINT, SIGTERM and SIGHUP (main thread only).
        only: send these rows and no others; the run then stops with the reason `pilot`.
        on_start: called with the locked run directory before anything is sent.
        interrupt: ends the run from another thread.
        taker: gets each result as it arrives, and may hold the run back.
        closing_lines: whether the summary is said at the end.
        waits: for batches to end; else takes what has ended, orders what may be, and leaves.
        orders: send what is pending; else only take home what is out.
        is_own: the job is the one that the run has, and with it come its rows: none are read from standard
            input again.
        cancel_within_s: cancel the batches that are out, wait so long for their end, and send nothing.
    """

    fresh: bool = False
    retry: AskAgain | None = None
    progress: str = "auto"
    quiet: bool = False
    command: str = ""
    spell: Callable[[str], str] = in_keys
    signals: bool = False
    only: frozenset[int] | None = None
    on_start: Callable[[LockedRun], None] | None = None
    interrupt: Interrupt | None = None
    taker: Taker | None = None
    closing_lines: bool = True
    waits: bool = True
    orders: bool = True
    is_own: bool = False
    cancel_within_s: float | None = None

    @property
    def cancels(self) -> bool:
        """Whether batches are only to be called off."""
        return self.cancel_within_s is not None


DEFAULT = RunOptions()

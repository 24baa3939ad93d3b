"""What a run has lost: brought back, given up, or a reason not to send anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchlab.counts import counted
from batchlab.errors import UsageError
from batchlab.looking.phrases import money
from batchlab.runner.mirroring import brought_back
from batchlab.store.integrity.losses import Loss, find_losses, give_up, loss_text, take_back
from batchlab.store.layout import CHECKSUMS
from batchlab.store.locked import LockedRun
from batchlab.store.view import RunView
from batchlab.totals import sum_of

SHOWN = 5

Say = Callable[[str], None]


def settle_losses(store: LockedRun, *, accept: bool, say: Say) -> None:
    """Makes sure that nothing which was paid is paid again without a word.

    Args:
        accept: go on without what is lost; its cost stays in the books.

    Raises:
        UsageError: something is lost, and that is not accepted.
    """
    for name in take_back(store):
        say(f"{store.path / name}: had been given up as lost, and is there again; its rows are kept")
    losses = find_losses(store)
    if losses:
        losses = brought_back(store, losses, say)
    if not losses:
        return
    if not accept or any(loss.is_strange for loss in losses):
        raise UsageError(losses_refusal(store, losses))
    give_up(store, losses)
    for line in _lines(losses):
        say(f"given up:{line}; its cost stays in the books as paid and not kept")


def losses_text(losses: Sequence[Loss]) -> str:
    """`2 rows that were paid ($0.0012)`."""
    rows, usd = sum(loss.rows for loss in losses), sum_of(loss.waste for loss in losses).spent_usd
    return f"{counted(rows, 'row')} that {'was' if rows == 1 else 'were'} paid ({money(usd)})"


def _lines(losses: Sequence[Loss]) -> list[str]:
    lines = [f"  {loss_text(loss)}" for loss in losses[:SHOWN]]
    return lines + ([f"  and {len(losses) - SHOWN:,} more"] if len(losses) > SHOWN else [])


def losses_refusal(run: RunView, losses: Sequence[Loss]) -> str:
    """Why a run that has lost something is refused, and how it goes on."""
    place, strange = run.place, [loss for loss in losses if loss.is_strange]
    shown = strange or losses
    them = "them" if len(shown) > 1 else "it"
    if strange:
        word = "part" if all(loss.is_part for loss in strange) else "file"
        head = f"{place}: {counted(len(strange), word)} that may be another run's; nothing was sent."
        restore = f"Restore {CHECKSUMS} if it is damaged; or move" if word == "part" else "Move"
        remedy = (
            f"{restore} {them} away, and the rows are "
            f"asked; or keep the answers by a new run: {{output.run_dir=NEW}} {{output.reuse={place}}}."
        )
    else:
        head = f"{place}: of {losses_text(losses)} the results are lost; nothing was sent."
        url = run.manifest.remote
        copy = f", or from {url}" if url is not None else ""
        remedy = (
            f"Restore {them} from a backup{copy}; or run the job with "
            "{output.accept_lost_parts} to ask the rows again: what was paid stays in the books."
        )
    return "\n".join([head, *_lines(shown), remedy])

"""A run directory whose parts are copied to a URL: taken over, followed, and brought up to date."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from batchlab.counts import counted
from batchlab.errors import EXIT_INTERRUPTED, EXIT_STOPPED, BatchlabError, UsageError
from batchlab.remote.mirror import Mirror, owned, problem_of
from batchlab.remote.storage import StorageError
from batchlab.remote.urls import local_dir_of
from batchlab.run_end import RunStopped, RunSummary, StopReason
from batchlab.store.disk.files import private_dir
from batchlab.store.disk.run_lock import RunLock
from batchlab.store.integrity.losses import Loss
from batchlab.store.layout import is_run
from batchlab.store.locked import LockedRun

Say = Callable[[str], None]


def taken_over(path: Path, url: str, say: Say, *, accept: bool = False) -> None:
    """Makes the run directory at `path` from its copy at `url`, if there is one.

    Its sealed parts are what another machine, or a lost directory, has left of the run.

    Raises:
        UsageError: the store refuses, a part is lost there and that is not accepted, or another process is
            at the directory.
    """
    mirror = Mirror(path, url, say)
    manifest = mirror.manifest()
    if manifest is None:
        return
    lock = RunLock.taken(private_dir(path))
    try:
        if is_run(path):
            return
        parts = mirror.restore(manifest, accept=accept)
    finally:
        lock.release()
    say(
        f"taken over from {url}: {parts:,} of {counted(len(manifest.plan.shards), 'part')} are there; "
        "rows that only the journals of the other machine have are asked again"
    )


def brought_home(store: LockedRun, say: Say) -> None:
    """What a cluster that lost its driver has left of the run at its URL comes into its directory.

    Raises:
        UsageError: the store refuses, or another driver has taken the run over.
    """
    url = store.manifest.remote
    if url is None or not store.is_away:
        return
    mirror = Mirror(store.path, url, say)
    theirs = mirror.manifest()
    if theirs is not None and theirs.owner == store.manifest.owner:
        mirror.take_back()  # else `follow_at_url` refuses
        say(f"what workers had left at {url} is in {store.path}")


def brought_back(store: LockedRun, losses: Sequence[Loss], say: Say) -> list[Loss]:
    """Brings lost parts from the run's copy at a URL, as far as it has them. Returns what is lost still.

    Raises UsageError: the store refuses.
    """
    url, left = store.manifest.remote, list(losses)
    if url is None:
        return left
    mirror = Mirror(store.path, url, say)
    theirs = mirror.manifest()
    if theirs is None or theirs.owner != store.manifest.owner:
        return left
    for loss in losses:
        try:
            if loss.is_part and not (store.path / loss.name).exists() and mirror.bring_back(loss.shard):
                left.remove(loss)
                say(f"{store.path / loss.name} was gone; brought back from {url}")
        except StorageError as error:
            raise UsageError(f"{problem_of(error)}.") from error
    return left


def refuse_other_url(store: LockedRun, before: str | None, now: str | None) -> None:
    """Raises UsageError when a local directory that stands for one URL is asked to stand for another."""
    if now is not None and before is not None and before != now and store.path == Path(local_dir_of(now)):
        raise UsageError(
            f"{store.path}: holds the journal of {before}. To keep that of {now} elsewhere, "
            f"pass {{output.run_dir=DIR}} and {{output.remote={now}}}."
        )


def follow_at_url(store: LockedRun, url: str | None, say: Say) -> None:
    """Starts copying the run's sealed parts to `url`, or to where an earlier invocation copied them.

    Raises:
        UsageError: the store refuses. Nothing was sent.
    """
    manifest = store.manifest
    url = url or manifest.remote
    if url is None:
        return
    if manifest.owner is None or manifest.remote != url:
        store.write_manifest(owned(manifest, remote=url))
    mirror = Mirror(store.path, url, say)
    mirror.begin(store.manifest)
    store.publish_by(mirror)
    say(f"parts go to {url}; the journal, and a copy of each part, are in {store.path}")


def brought_up_to_date(store: LockedRun, summary: RunSummary, say: Say) -> RunSummary:
    """Uploads what the copy does not have yet; a run whose copy is not whole has stopped early."""
    summary = dataclasses.replace(summary, remote=store.publisher.url)
    store.publisher.speak_by(say)
    try:
        store.publisher.finish()
    except KeyboardInterrupt:  # the run's own handler is gone by now
        return dataclasses.replace(
            summary,
            stopped=StopReason.INTERRUPTED,
            message=f"interrupted while parts were uploaded. All results are in {store.path}",
            exit_code=EXIT_INTERRUPTED,
            remote=None,
        )
    except (OSError, BatchlabError) as error:
        if summary.stopped not in {None, StopReason.PILOT}:
            return summary  # it has said why already, and goes on with the same command
        message = problem_of(error)
        if not isinstance(error, RunStopped):
            message += f". All results are in {store.path}; the next run uploads the rest"
        return dataclasses.replace(
            summary, stopped=StopReason.STORAGE, message=message, exit_code=EXIT_STOPPED, remote=None
        )
    return summary

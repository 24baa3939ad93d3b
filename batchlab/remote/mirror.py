"""A run directory's copy at a URL, kept up to date: sealed parts, run.json and checksums.log.

The local directory is the truth and stays whole; the copy follows it. A sealed part is
uploaded by a thread, put-if-absent. An upload that fails costs nothing: the next seal, the end of
the run or the next run tries again. What workers without the directory leave at the URL comes home
the same way.

What keeps two machines apart is the `owner` in run.json: whoever takes a run over writes a new
one, and a machine whose own is no longer there is refused before it sends anything. Which one is
at work is told by `presence`.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from batchlab.counts import counted
from batchlab.errors import BatchlabError, CorruptRun, UsageError
from batchlab.remote.copy import Copy
from batchlab.remote.depot import Depot, manifest_at
from batchlab.remote.presence import Presence, refuse_live
from batchlab.remote.storage import NotThereError, StorageError, get_bytes, put_bytes
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.disk.files import atomic_write, private_dir
from batchlab.store.integrity.checksums import ChecksumLog
from batchlab.store.integrity.losses import find_losses, give_up, loss_text
from batchlab.store.layout import (
    BATCHES,
    CHECKSUMS,
    DIRECTORIES,
    LOST,
    MANIFEST,
    UPLOADED,
    Layout,
    part_key,
    part_number,
)
from batchlab.store.manifest import Manifest, Ownership, write_manifest
from batchlab.store.view import RunView
from batchlab.totals import Totals

MANY = 3  # parts that are left for the end: more take long enough to be announced


class Mirror:
    """Keeps the copy of one run; a `store.publisher.RunPublisher`.

    `say` is told when an upload fails, once for each reason. The thread is the only one that uploads
    while it lives; `finish` ends it first.
    """

    def __init__(self, run: Path, url: str, say: Callable[[str], None]) -> None:
        self.url = url
        self._say = say
        self._run = run
        self._depot = Depot(run, url)
        self._copy = Copy(run, self._depot)
        self._presence = Presence(url, "", str(run))
        self._wanted = threading.Condition()  # held for each change of the three below
        self._news = False
        self._closed = False
        self._elsewhere: set[int] = set()  # shards that were sealed at the URL, and are not here yet
        self._thread: threading.Thread | None = None
        self._said: set[str] = set()
        self._io = threading.RLock()  # parts travel one way at a time

    def manifest(self) -> Manifest | None:
        """run.json at the URL, None where there is no run. See `depot.manifest_at`."""
        return manifest_at(self.url)

    def begin(self, manifest: Manifest) -> None:
        """Makes the copy that of this run, which proves that it can be written, and starts the thread.

        Raises:
            UsageError: the store refuses, or the run goes on elsewhere. Nothing was sent.
        """
        theirs = self.manifest()
        assert manifest.owner is not None, "a run has an owner before it has a copy"
        self._presence = Presence(self.url, manifest.owner, str(self._run))
        if theirs is not None and theirs.owner != manifest.owner:
            host = theirs.ownership.host if theirs.ownership is not None else None
            raise UsageError(
                f"{self.url}: went on elsewhere ({host}, generation {theirs.generation}). To take it over "
                f"again from its sealed parts, move {self._run} away; rows that only the journals there "
                "have are asked again."
            )
        with _as_usage():
            self._copy.begin(manifest, theirs)
            self._presence.beat()
            self._copy.look()
        self._thread = threading.Thread(target=self._follow, name="batchlab-upload", daemon=True)
        self._thread.start()
        self._wake()

    def bring(self, index: int) -> None:
        """See `Publisher`: what there is of the shard is in the run's directory."""

    def note(self, part: str, digest: str, size: int, totals: Totals) -> None:
        """See `Publisher`."""
        ChecksumLog(self._run).note(part, digest, size, totals)

    def sealed(self, index: int) -> None:
        """See `Publisher`: the thread uploads the part."""
        del index
        self._wake()

    def sealed_elsewhere(self, index: int) -> None:
        """See `RunPublisher`."""
        self._wake(index if self._shares else None)

    def speak_by(self, say: Callable[[str], None]) -> None:
        """See `RunPublisher`."""
        self._say = say

    def share(self) -> None:
        """See `RunPublisher`: brings to the URL all that workers elsewhere need to go on."""
        layout = Layout(self._run)
        private_dir(layout.workers)
        layout.away.touch()
        with self._io:
            self._copy.share()

    @property
    def _shares(self) -> bool:
        return Layout(self._run).away.exists()

    def _wake(self, elsewhere: int | None = None) -> None:
        """There is a sealed part that the copy does not have yet, or one that only the copy has."""
        with self._wanted:
            if elsewhere is not None:
                self._elsewhere.add(elsewhere)
            self._news = True
            self._wanted.notify()

    def gather(self, wanted: Collection[int] | None = None) -> None:
        """Brings what workers have left at the URL of some shards, of all when `wanted` is None.

        Raises:
            StorageError: it could not be; CorruptRun: a part is not the one that was written.
        """
        with self._io:
            news = self._depot.news() if wanted is None else set(wanted)
            with self._wanted:
                self._elsewhere |= news
                todo = sorted(self._elsewhere)
            brought: dict[int, str] = {}
            for index in todo:
                digest = self._depot.bring(index)
                if digest is not None:
                    self._copy.brought(index, digest)
                    brought[index] = digest
                with self._wanted:
                    self._elsewhere.discard(index)
            self._copy.gathered(set(todo), brought)

    def collect(self, wanted: Collection[int] | None = None) -> None:
        """See `RunPublisher`."""
        if not self._shares:
            return
        try:
            if wanted is None:
                self._gather_all()
            else:
                self.gather(wanted)
        except StorageError as error:
            raise RunStopped(StopReason.STORAGE, f"{problem_of(error)}. It is kept there.") from error

    def _gather_all(self) -> None:
        """Every worker has ended, and what they left is here. Raises StorageError."""
        self.gather()
        Layout(self._run).away.unlink(missing_ok=True)

    def check(self) -> None:
        """See `RunPublisher`."""
        self._presence.check()

    def keep(self, name: str) -> None:
        """See `RunPublisher`."""
        try:
            with self._io:
                self._still_ours()
                self._copy.keep(name)
                # once more: who takes the run over says so first, and reads what is there after that
                self._still_ours()
        except StorageError as error:
            raise RunStopped(StopReason.STORAGE, f"{problem_of(error)}. Nothing was ordered.") from error

    def theirs(self, name: str) -> bytes | None:
        """See `RunPublisher`."""
        try:
            if self._presence.look():
                return get_bytes(f"{self.url}/{name}")
        except NotThereError:
            return b""
        except (StorageError, CorruptRun) as error:
            raise RunStopped(StopReason.STORAGE, f"{problem_of(error)}.") from error
        return None

    def _still_ours(self) -> None:
        """Raises RunStopped when another machine has taken the run over; StorageError, CorruptRun."""
        self._presence.look()
        self._presence.check()

    def close(self) -> None:
        """Ends the thread; an upload that is on its way is waited for."""
        with self._wanted:
            self._closed = True
            self._wanted.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def finish(self) -> None:
        """See `RunPublisher`."""
        self.close()
        self._still_ours()
        self._upload()
        self._copy.put_extras()
        self._presence.end()

    def bring_back(self, index: int) -> bool:
        """Brings a shard's part into the directory, if the copy has it as it was noted.

        Raises StorageError.
        """
        try:
            return self._depot.bring_part(index) is not None
        except CorruptRun:
            return False

    def restore(self, manifest: Manifest, *, accept: bool = False) -> int:
        """Makes the local directory from the copy, for a run that another machine began.

        Returns the number of sealed parts. run.json comes last: without it the directory is no
        run yet, and the next try starts over. Rows that workers of a cluster had are brought too.

        Args:
            accept: go on without parts that were there, and are lost.

        Raises:
            UsageError: the store refuses, or a part is lost; CorruptRun: one is not that which was uploaded.
        """
        layout = Layout(self._run)
        with _as_usage():
            refuse_live(self.url)
            for name in DIRECTORIES:
                private_dir(self._run / name)
            layout.uploaded.unlink(missing_ok=True)
            self._depot.await_workers(self._say)
            with contextlib.suppress(NotThereError):
                atomic_write(layout.checksums, get_bytes(f"{self.url}/{CHECKSUMS}"))
            self._bring_logs(BATCHES, LOST, UPLOADED)
            found = self._depot.parts()
            for index in sorted(found):
                digest = self._depot.bring_part(index)
                if digest is not None:
                    self._copy.brought(index, digest)
            self.gather()
            has_lost = self._settle(manifest, accept=accept)
            mine = owned(manifest)
            # The URL first: a machine that dies in between has taken nothing over, but has told the other.
            put_bytes(f"{self.url}/{MANIFEST}", mine.to_bytes())
            # What the other has ordered up to now: from now on it finds that the run is not its own any more.
            self._bring_logs(BATCHES)
            if has_lost:  # before more is paid: whoever comes next must not find the same losses anew
                self._copy.put_checksums()
            write_manifest(self._run, mine)
        return len(found)

    def _bring_logs(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(NotThereError):
                atomic_write(self._run / name, get_bytes(f"{self.url}/{name}"))

    def _settle(self, manifest: Manifest, *, accept: bool) -> bool:
        """What another machine had, and has not come here, is given up; not what was at the URL, and is lost.

        Returns whether anything was. Raises UsageError.
        """
        run = RunView(self._run, manifest)
        losses = find_losses(run)
        came = {part_key(index) for name in self._copy.came() if (index := part_number(name)) is not None}
        lost = [loss for loss in losses if loss.name in came]
        if lost and not accept:
            lines = [f"{self.url}: was there, and is lost; nothing was sent."]
            lines += [f"  {loss_text(loss)}" for loss in lost[:MANY]]
            lines.append(
                "Restore it from a backup; or run the job with {output.accept_lost_parts} to ask its rows "
                "again: what was paid stays in the books."
            )
            raise UsageError("\n".join(lines))
        if losses:
            give_up(run, losses)
            for loss in losses:
                self._say(f"not here: {loss_text(loss)}; asked again, and its cost stays in the books")
        return bool(losses)

    def take_back(self) -> None:
        """Brings what workers of an earlier driver have left, once they can write no more.

        Raises:
            UsageError: the store refuses.
        """
        with _as_usage():
            self._depot.await_workers(self._say)
            self._gather_all()

    def _follow(self) -> None:
        """The thread: uploads whenever there is something new, until it is closed."""
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._news or self._closed, self._presence.next_in_s)
                if self._closed:
                    return
                self._news = False
            try:
                self._presence.beat()
                if self._presence.lost is not None:
                    return
                if self._elsewhere:
                    self.gather(())
                self._upload()
            except (OSError, BatchlabError) as error:
                reason = problem_of(error)
                if reason not in self._said:
                    self._said.add(reason)
                    self._say(f"upload failed: {reason}; the parts are kept in {self._run} and tried again")

    def _upload(self) -> None:
        """Uploads every sealed part that the copy is not known to have."""
        with self._io:
            waiting = self._copy.waiting()
            if not waiting:
                return
            if self._presence.look():
                return  # what is there is the other machine's, and goes by its own checksums.log
            if self._closed and len(waiting) > MANY:
                self._say(f"uploading {counted(len(waiting), 'part')} to {self.url}")
            # digests first: a part that another machine finds without its digest is worth nothing to it
            self._copy.put_checksums()
            for path in waiting:
                self._presence.beat()
                self._copy.upload(path)
            self._copy.put_uploaded()


def owned(manifest: Manifest, *, remote: str | None = None) -> Manifest:
    """A manifest whose run belongs to this machine from now on.

    Args:
        remote: where its copy is from now on, if that is to change.
    """
    return manifest.owned_by(Ownership(secrets.token_hex(8), platform.node(), time.time()), remote=remote)


def problem_of(error: OSError | BatchlabError) -> str:
    """Where and why, in one line without a full stop."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or type(error).__name__}"
    return str(error).rstrip(".")


@contextlib.contextmanager
def _as_usage() -> Iterator[None]:
    """Nothing was sent yet: what the store refuses is a UsageError."""
    try:
        yield
    except StorageError as error:
        raise UsageError(f"{problem_of(error)}.") from error

"""A run directory's copy at a URL: sealed parts, run.json and checksums.log.

The local directory is the truth and stays whole; the copy follows it. A sealed part is
uploaded by a thread, put-if-absent, and what is confirmed is noted in `uploaded.log`. An
upload that fails costs nothing: the next seal, the end of the run or the next run tries again.

What keeps two machines apart is the `owner` in run.json: whoever takes a run over writes a new
one, and a machine whose own is no longer there is refused before it sends anything. Who works
says so in `lease.json` every 30 s, and only a run that nobody has said so of for 2 minutes is
taken over; who finds another's name there stops.
"""

from __future__ import annotations

import contextlib
import json
import platform
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from batchlab.errors import BatchlabError, UsageError
from batchlab.remote.depot import Depot, away_mark, brought_pieces, is_away, manifest_at
from batchlab.remote.storage import (
    AlreadyThereError,
    NotThereError,
    RemoteFile,
    StorageError,
    below,
    get_bytes,
    move,
    put_bytes,
    put_file,
    remove,
)
from batchlab.remote.urls import scheme_of
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.checksums import Checksums
from batchlab.store.disk.files import AppendFile, atomic_write, disk_errors, private_dir
from batchlab.store.journal import JournalScan, encode
from batchlab.store.open_shard import part_numbers, part_path
from batchlab.store.parts import file_digest

# beside the parts; what a person may want at the URL, but nothing rests on
_EXTRAS = ("history.jsonl",)

OWNERSHIP = ("owner", "host", "taken")  # what run.json says of who works on it

MANY = 3  # parts that are left for the end: more take long enough to be announced

BEAT_S = 30.0
LEASE_S = 120.0  # four beats: a slow upload in between may cost two
# a write to the Hub is a commit, which is no thing to do twice a minute
_NO_LEASE = {"hf"}


class Mirror:
    """Keeps the copy of one run. `say` is told when an upload fails, once for each reason.

    The thread is the only one that uploads while it lives; `finish` ends it first.
    """

    def __init__(self, run: Path, url: str, say: Callable[[str], None]) -> None:
        self.url = url
        self.say = say
        self._run = run
        self._wanted = threading.Condition()
        self._news = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._said: set[str] = set()
        self._owner = ""
        self._next_beat = 0.0
        self._lost: str | None = None
        self._have: dict[str, str] = {}  # part → its digest at the URL
        self._depot = Depot(run, url)
        self._io = threading.RLock()  # parts travel one way at a time
        self._elsewhere: set[int] = set()  # shards that were sealed at the URL, and are not here yet
        self._with_pieces: set[int] = set()

    def manifest(self) -> dict[str, Any] | None:
        """run.json at the URL, None where there is no run. See `depot.manifest_at`."""
        return manifest_at(self.url)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Makes the copy that of this run, which proves that it can be written, and starts the thread.

        Raises:
            UsageError: the store refuses, or the run goes on elsewhere. Nothing was sent.
        """
        theirs = self.manifest()
        self._owner = manifest["owner"]
        with _as_usage():
            if theirs is None:
                self._uploaded_log.unlink(missing_ok=True)
                self._put_new_manifest()
            elif theirs.get("owner") != manifest["owner"]:
                raise UsageError(
                    f"{self.url}: went on elsewhere ({theirs.get('host')}, generation "
                    f"{theirs.get('generation')}). To take it over again from its sealed parts, "
                    f"move {self._run} away; rows that only the journals there have are asked again."
                )
            elif theirs != manifest:
                if theirs["generation"] < manifest["generation"]:
                    self._set_aside(theirs["generation"])
                self._put_manifest()
            self._beat()
            there = {file.name for file in below(f"{self.url}/completions")}
        self._have = {name: digest for name, digest in self._uploaded().items() if name in there}
        self._with_pieces = set(brought_pieces(self._run))
        self._thread = threading.Thread(target=self._follow, name="batchlab-upload", daemon=True)
        self._thread.start()
        self.wake()

    def wake(self, elsewhere: int | None = None) -> None:
        """There is a sealed part that the copy does not have yet, or one that only the copy has."""
        with self._wanted:
            if elsewhere is not None:
                self._elsewhere.add(elsewhere)
            self._news = True
            self._wanted.notify()

    @property
    def shares(self) -> bool:
        """Whether workers leave what they have done at the URL, or have, and not all of it is here."""
        return is_away(self._run)

    def share(self) -> None:
        """Brings to the URL all that workers elsewhere need to go on. Raises StorageError."""
        mark = away_mark(self._run)
        private_dir(mark.parent)
        mark.touch()
        with self._io:
            recorded = Checksums(self._run).digests()
            if recorded:
                self._put_log("checksums.log")
            for path in sorted((self._run / "completions").glob("part-*.parquet")):
                have = self._have.get(path.name)  # those of open shards as well
                if have != recorded.get(path.name, [""])[-1] and have != file_digest(path):
                    self._upload_part(path)
            self._depot.push_journals()
            self._with_pieces = {piece.shard for piece in self._depot.pieces()}

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
            brought: dict[str, str] = {}
            for index in todo:
                digest = self._depot.bring(index)
                if digest is not None:
                    name = part_path(self._run, index).name
                    self._note(name, digest)
                    self._have[name] = brought[name] = digest
                with self._wanted:
                    self._elsewhere.discard(index)
            if brought:
                self._put_log("checksums.log")
                for name, digest in brought.items():
                    self._depot.noted(name, digest)
            self._with_pieces |= set(todo)

    def gathered(self) -> None:
        """Every worker has ended, and what they left is here. Raises StorageError."""
        self.gather()
        away_mark(self._run).unlink(missing_ok=True)

    def check(self) -> None:
        """Raises RunStopped once another machine has taken the run over."""
        if self._lost is not None:
            raise RunStopped(StopReason.STORAGE, self._lost)

    def close(self) -> None:
        """Ends the thread; an upload that is on its way is waited for."""
        with self._wanted:
            self._closed = True
            self._wanted.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def finish(self) -> None:
        """Brings the copy up to date.

        Raises:
            StorageError: it could not be; everything is in the local directory.
            RunStopped: it is another machine's by now.
        """
        self.close()
        self.check()
        self._upload()
        for name in _EXTRAS:
            if (self._run / name).exists():
                self._put_log(name)
        if self._lost is None and scheme_of(self.url) not in _NO_LEASE:
            remove(self._lease_url)

    def restore(self, manifest: dict[str, Any]) -> int:
        """Makes the local directory from the copy, for a run that another machine began.

        Returns the number of sealed parts. run.json comes last: without it the directory is no
        run yet, and the next try starts over. Rows that workers of a cluster had are brought too.

        Raises:
            UsageError: the store refuses; CorruptRun: a part is not the one that was uploaded.
        """
        self._refuse_live()
        for name in ("journal", "completions"):
            private_dir(self._run / name)
        self._uploaded_log.unlink(missing_ok=True)
        with _as_usage():
            self._depot.await_workers(self.say)
            with contextlib.suppress(NotThereError):
                atomic_write(self._run / "checksums.log", get_bytes(f"{self.url}/checksums.log"))
            found = part_numbers(file.name for file in below(f"{self.url}/completions"))
            for index in sorted(found):
                digest = self._depot.bring_part(index)
                if digest is not None:
                    self._note(part_path(self._run, index).name, digest)
            self.gather()
            mine = json.dumps(owned(manifest), indent=1).encode()
            # The URL first: a machine that dies in between has taken nothing over, but has told the other.
            put_bytes(f"{self.url}/run.json", mine)
            atomic_write(self._run / "run.json", mine)
        return len(found)

    def take_back(self) -> None:
        """Brings what workers of an earlier driver have left, once they can write no more.

        Raises:
            UsageError: the store refuses.
        """
        with _as_usage():
            self._depot.await_workers(self.say)
            self.gathered()

    def _follow(self) -> None:
        """The thread: uploads whenever there is something new, until it is closed."""
        while True:
            with self._wanted:
                self._wanted.wait_for(
                    lambda: self._news or self._closed, max(0.0, self._next_beat - time.monotonic())
                )
                if self._closed:
                    return
                self._news = False
            try:
                self._beat()
                if self._lost is not None:
                    return
                if self._elsewhere:
                    self.gather(())
                self._upload()
            except (OSError, BatchlabError) as error:
                reason = problem_of(error)
                if reason not in self._said:
                    self._said.add(reason)
                    self.say(f"upload failed: {reason}; the parts are kept in {self._run} and tried again")

    def _upload(self) -> None:
        """Uploads every sealed part that the copy is not known to have."""
        with self._io:
            self._upload_waiting()

    def _upload_waiting(self) -> None:
        waiting = self._waiting()
        if not waiting:
            return
        if self._closed and len(waiting) > MANY:
            self.say(f"uploading {len(waiting):,} parts to {self.url}")
        # digests first: a part that another machine finds without its digest is worth nothing to it
        self._put_log("checksums.log")
        for path in waiting:
            self._beat()
            self._upload_part(path)

    def _beat(self) -> None:
        """Says that this machine is at work, when it is time. Finds out when another one is."""
        if time.monotonic() < self._next_beat or self._lost is not None:
            return
        self._next_beat = time.monotonic() + BEAT_S
        if scheme_of(self.url) in _NO_LEASE:
            return
        lease = self._lease()
        if lease is not None and lease.get("owner") != self._owner and _is_live(lease):
            self._lost = (
                f"{self.url}: {lease.get('host')} has taken the run over. All results are in {self._run}"
            )
            return
        mine = {"owner": self._owner, "host": platform.node(), "at": time.time()}
        put_bytes(self._lease_url, json.dumps(mine).encode())

    def _lease(self) -> dict[str, Any] | None:
        with contextlib.suppress(NotThereError, ValueError):
            lease = json.loads(get_bytes(self._lease_url))
            return lease if isinstance(lease, dict) else None
        return None

    def _refuse_live(self) -> None:
        """Raises UsageError while another machine is at work."""
        with _as_usage():
            lease = self._lease()
        if lease is not None and _is_live(lease):
            ago = time.time() - lease["at"]
            raise UsageError(
                f"{self.url}: {lease.get('host')} was at work here {ago:.0f} s ago. Stop it there; "
                f"{LEASE_S:.0f} s after its last sign the run can be taken over."
            )

    @property
    def _lease_url(self) -> str:
        return f"{self.url}/lease.json"

    def _upload_part(self, path: Path) -> None:
        url, digest = self._part_url(path.name), file_digest(path)
        try:
            put_file(path, url, absent=True)
        except AlreadyThereError as error:
            theirs = file_digest(RemoteFile(url))
            if theirs != digest:
                if theirs not in Checksums(self._run).digests().get(path.name, ()):
                    raise StorageError(url, "another run wrote a part of that name") from error
                put_file(path, url)  # ours of before failed rows were asked again
        self._note(path.name, digest)
        self._have[path.name] = digest
        (index,) = part_numbers([path.name])
        if index in self._with_pieces and not list((self._run / "journal").glob(f"{index:06d}.*.log")):
            self._depot.drop(index)  # workers had begun it, and it was sealed here
            self._with_pieces.discard(index)

    def _waiting(self) -> list[Path]:
        """Sealed parts that the URL does not have in their present version."""
        recorded = Checksums(self._run).digests()
        # a part with a journal has failed rows that are being asked again: it comes when it is sealed
        open_shards = {path.name.split(".")[0] for path in (self._run / "journal").glob("*.log")}
        return [
            path
            for path in sorted((self._run / "completions").glob("part-*.parquet"))
            if path.stem.removeprefix("part-") not in open_shards
            and self._have.get(path.name) != recorded.get(path.name, [""])[-1]
        ]

    def _set_aside(self, generation: int) -> None:
        """Moves what an earlier generation has at the URL to `previous/`, so that parts never mix."""
        for file in below(f"{self.url}/completions"):
            move(str(file), f"{self.url}/previous/{generation}/completions/{file.name}")
        self._depot.clear(lambda url, name: move(url, f"{self.url}/previous/{generation}/{name}"))
        for name in ("checksums.log", "run.json"):
            with contextlib.suppress(NotThereError):
                put_bytes(f"{self.url}/previous/{generation}/{name}", get_bytes(f"{self.url}/{name}"))

    def _part_url(self, name: str) -> str:
        return f"{self.url}/completions/{name}"

    def _put_log(self, name: str) -> None:
        """Uploads a file that may grow meanwhile, as it is now."""
        put_bytes(f"{self.url}/{name}", (self._run / name).read_bytes())

    def _put_new_manifest(self) -> None:
        try:
            put_file(self._run / "run.json", f"{self.url}/run.json", absent=True)
        except AlreadyThereError as error:
            raise UsageError(
                f"{self.url}: another machine has just started this run. Run the command again."
            ) from error

    def _put_manifest(self) -> None:
        put_file(self._run / "run.json", f"{self.url}/run.json")

    @property
    def _uploaded_log(self) -> Path:
        return self._run / "uploaded.log"

    def _note(self, name: str, digest: str) -> None:
        self._append("uploaded.log", {"part": name, "blake2b": digest, "url": self.url})

    def _append(self, log: str, record: dict[str, str]) -> None:
        file = AppendFile(self._run / log)
        with disk_errors(file.path), contextlib.closing(file):
            file.append(encode(json.dumps(record).encode()))
            file.sync()

    def _uploaded(self) -> dict[str, str]:
        """The digest with which each part was uploaded last."""
        last: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for record in JournalScan(self._uploaded_log).records():
                if record.data.get("url") == self.url:
                    last[str(record.data["part"])] = str(record.data["blake2b"])
        return last


def owned(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest whose run belongs to this machine from now on."""
    return {**manifest, "owner": secrets.token_hex(8), "host": platform.node(), "taken": time.time()}


def _is_live(lease: Mapping[str, Any]) -> bool:
    at = lease.get("at")
    return isinstance(at, int | float) and abs(time.time() - at) < LEASE_S


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

"""What workers that share no file system leave of a run at its URL, and how it comes from there.

    journal/000042/3.5f0c1e9a.7.log     records of shard 42: piece 7 of the journal that one attempt wrote
    completions/part-000042.parquet     a sealed shard, as everywhere (`mirror`)
    checksums/part-000042.parquet.<blake2b>   its record for checksums.log, until the driver has it
    workers/0.3                         a worker that is at work
    workers/token                       what every node must be able to read

No object is ever changed. A piece is a whole number of journal records, under a name that no other
attempt has; a part appears where there is none, and only then its shard's pieces are deleted, oldest
first: what is left of them says nothing that the part does not.
"""

from __future__ import annotations

import contextlib
import json
import platform
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchlab.errors import CorruptRun, UsageError
from batchlab.remote.storage import (
    AlreadyThereError,
    NotThereError,
    RemoteFile,
    StorageError,
    below,
    get_bytes,
    get_file,
    put_bytes,
    remove,
)
from batchlab.store.disk.fence import FENCE_S
from batchlab.store.disk.files import FILE_MODE, atomic_write, disk_errors, fsync_dir, publish
from batchlab.store.integrity.checksums import ChecksumLog
from batchlab.store.journals.journal import decode, encode, whole_lines
from batchlab.store.layout import (
    CHECKSUMS,
    JOURNALS,
    MANIFEST,
    PARTS,
    RECORDS,
    TOKEN,
    WORKERS,
    JournalName,
    Layout,
    part_key,
    part_numbers,
)
from batchlab.store.manifest import Manifest
from batchlab.store.parts import file_digest

_FOLDERS = (JOURNALS, RECORDS)  # beside the parts, and only as long as something is under way


class Depot:
    """A run's objects at `url`, and the directory into which they are brought. Raises StorageError."""

    def __init__(self, run: Path, url: str) -> None:
        self.url = url
        self._layout = Layout(run)
        self._checksums = ChecksumLog(run)

    def pieces(self, index: int | None = None) -> list[JournalName]:
        """What there is of a shard's journals, of all shards when `index` is None; in reading order."""
        folder = f"{self.url}/{JOURNALS}"
        place = folder if index is None else f"{folder}/{index:06d}"
        return sorted(piece for file in below(place) if (piece := JournalName.at(str(file))) is not None)

    def parts(self) -> set[int]:
        """Numbers of the shards whose parts are there."""
        return part_numbers(file.name for file in below(f"{self.url}/{PARTS}"))

    def news(self, parts: set[int] | None = None) -> set[int]:
        """Shards of which something is there that the directory may not have.

        Args:
            parts: numbers of the parts that are looked at; those at the URL when None.
        """
        if parts is None:
            parts = self.parts()
        lacking = {index for index in parts if not self._layout.part(index).exists()}
        noted = part_numbers(file.name.rpartition(".")[0] for file in below(f"{self.url}/{RECORDS}"))
        return lacking | (noted & parts) | {piece.shard for piece in self.pieces()}

    def bring(self, index: int) -> str | None:
        """Makes the directory know of a shard what the store knows.

        Returns the digest of its part, None while it has none.

        Raises:
            CorruptRun: the part is not one that was written; RunStopped: the disk is full or failing.
        """
        found = self.pieces(index)
        for piece in found:
            target = self._layout.journal(piece)
            if not target.exists():
                with contextlib.suppress(NotThereError):  # sealed this moment
                    atomic_write(target, get_bytes(f"{self.url}/{piece.key}"))
        # after the pieces: those of a sealed shard go once its part is there
        digest = self.bring_part(index)
        if digest is not None and not (found and self.pieces(index)):
            with disk_errors(self._layout.journals):
                for name in self._layout.journal_names(index):
                    if name.attempt:
                        self._layout.journal(name).unlink()
                fsync_dir(self._layout.journals)
        return digest

    def bring_part(self, index: int) -> str | None:
        """Copies a shard's part into the directory, if there is one; returns its digest. See `bring`."""
        final = self._layout.part(index)
        tmp = final.with_name(f"{final.name}.{secrets.token_hex(4)}.tmp")
        try:
            get_file(f"{self.url}/{part_key(index)}", tmp)
            tmp.chmod(FILE_MODE)
            digest = file_digest(tmp)
            known = self._checksums.last(final.name, digest)
            if known is None:
                known = self._record(final.name, digest)
            if self._checksums.digests().get(final.name, [""])[-1] != digest:
                self._checksums.append(known)
            publish(tmp, final)
        except NotThereError:
            return None
        finally:
            tmp.unlink(missing_ok=True)
        return digest

    def _record(self, part: str, digest: str) -> dict[str, Any]:
        """A part's record for checksums.log, from where its worker or a driver has put it."""
        for url in (self._checksum_url(part, digest), f"{self.url}/{CHECKSUMS}"):
            with contextlib.suppress(NotThereError):
                for line in reversed(get_bytes(url).splitlines(keepends=True)):
                    record = decode(line)
                    if record is not None and (record.get("part"), record.get("blake2b")) == (part, digest):
                        return record
        raise CorruptRun(f"{self.url}/{PARTS}/{part}: not the file that was written (checksum differs).")

    def bring_records(self, parts: set[int]) -> None:
        """Adds the records of these parts that no driver has taken into checksums.log yet."""
        for file in below(f"{self.url}/{RECORDS}"):
            part, _, digest = file.name.rpartition(".")
            if part_numbers([part]) & parts and self._checksums.last(part, digest) is None:
                with contextlib.suppress(NotThereError, CorruptRun):
                    self._checksums.append(self._record(part, digest))

    def _checksum_url(self, part: str, digest: str) -> str:
        return f"{self.url}/{RECORDS}/{part}.{digest}"

    def note(self, record: dict[str, Any]) -> None:
        """Puts a part's record for checksums.log, before the part itself."""
        url = self._checksum_url(record["part"], record["blake2b"])
        put_bytes(url, encode(json.dumps(record).encode()))

    def noted(self, part: str, digest: str) -> None:
        """A part's record is in the checksums.log at the URL, or its part will never be there."""
        remove(self._checksum_url(part, digest))

    def put(self, piece: JournalName, records: bytes) -> bool:
        """Puts a piece; False when one of that name is there already."""
        try:
            put_bytes(f"{self.url}/{piece.key}", records, absent=True)
        except AlreadyThereError:
            return False
        return True

    def size(self, piece: JournalName) -> int:
        """Bytes of a piece that is there."""
        return RemoteFile(f"{self.url}/{piece.key}").size

    def drop(self, index: int) -> None:
        """Deletes a sealed shard's pieces."""
        for piece in self.pieces(index):
            remove(f"{self.url}/{piece.key}")

    def push_journals(self) -> None:
        """Puts the directory's journals to the pieces, for workers elsewhere.

        Each gets the name of a piece here first, so that it is never read twice.
        """
        there = set(self.pieces())
        for name in self._layout.journal_names():
            path, piece = self._layout.journal(name), name
            if not name.attempt:
                piece = JournalName(name.shard, name.number, secrets.token_hex(4))
                with disk_errors(path):
                    path = path.rename(self._layout.journal(piece))
                    fsync_dir(path.parent)
            if piece not in there and (whole := whole_lines(path.read_bytes())):
                self.put(piece, whole)

    def clear(self, keep: Callable[[str, str], None]) -> None:
        """A new generation begins: `keep` is called with each object of the old one, and its name."""
        for folder in _FOLDERS:
            for file in below(f"{self.url}/{folder}"):
                keep(str(file), str(file).removeprefix(f"{self.url}/"))

    def arrive(self, name: str, text: str = "") -> None:
        """Says that a worker of this name is at work, or leaves a `text` for them."""
        put_bytes(f"{self.url}/{WORKERS}/{name}", (text or platform.node()).encode())

    def leave(self, name: str) -> None:
        """A worker of this name has ended, or can write no more."""
        remove(f"{self.url}/{WORKERS}/{name}")

    def await_workers(self, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
        """Returns once no worker of an earlier driver can write any more, and tidies up after them.

        There are no locks here: they have had no lease since that driver ended, and leave by the clock.
        """
        left = below(f"{self.url}/{WORKERS}")
        if [file for file in left if file.name != TOKEN]:
            say(
                f"{self.url}: workers of an earlier run may be at work still; waiting {FENCE_S + 1:.0f} s, "
                "by then they have left by themselves"
            )
            sleep(FENCE_S + 1.0)
        for file in left:
            remove(str(file))


def manifest_at(url: str) -> Manifest | None:
    """run.json at a URL, None where there is no run.

    Raises:
        UsageError: the store refuses or cannot be reached, or a later version wrote it.
        CorruptRun: it is not one of batchlab.
    """
    where = f"{url}/{MANIFEST}"
    try:
        content = get_bytes(where)
    except NotThereError:
        return None
    except StorageError as error:
        raise UsageError(f"{url}: {error.strerror}.") from error
    return Manifest.of_bytes(content, where)


def owner_at(url: str) -> str | None:
    """Whose the run at a URL is, None where there is none. Raises StorageError, CorruptRun."""
    where = f"{url}/{MANIFEST}"
    try:
        return Manifest.of_bytes(get_bytes(where), where).owner
    except NotThereError:
        return None


def unusable(url: str, token: str) -> str:
    """Why this machine cannot work on the run at a URL; "" when it can read and write there."""
    probe = f"{url}/{WORKERS}/probe-{secrets.token_hex(4)}"
    try:
        if get_bytes(f"{url}/{WORKERS}/{TOKEN}") != token.encode():
            return f"{url} is another store there"
        put_bytes(probe, token.encode())
        remove(probe)
    except StorageError as error:
        return f"{error.filename}: {error.strerror}"
    except UsageError as error:
        return str(error).rstrip(".")
    return ""

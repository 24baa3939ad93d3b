"""A run's copy at a URL: run.json, checksums.log and the sealed parts, and what it is known to have.

What is confirmed is noted in `uploaded.log`, which is copied, too: what it names must be there. A part is put
where there is none; another version of it only when it is ours, of before failed rows were asked again.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from batchlab.errors import UsageError
from batchlab.remote.depot import Depot, owner_at
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
)
from batchlab.store.disk.files import AppendFile, disk_errors
from batchlab.store.integrity.checksums import Checksums
from batchlab.store.journals.journal import JournalScan, encode
from batchlab.store.layout import (
    BATCHES,
    CHECKSUMS,
    HISTORY,
    LABELS,
    LOST,
    MANIFEST,
    PARTS,
    PREVIOUS,
    UPLOADED,
    Layout,
    part_name,
    part_number,
)
from batchlab.store.manifest import Manifest
from batchlab.store.parts import file_digest

# beside the parts; what a person may want at the URL, but nothing rests on
_EXTRAS = (HISTORY, LABELS)


class Copy:
    """The copy of the run in a directory. All methods raise StorageError when the store refuses."""

    def __init__(self, run: Path, depot: Depot) -> None:
        self.url = depot.url
        self._depot = depot
        self._layout = Layout(run)
        self._checksums = Checksums(run)
        self._have: dict[str, str] = {}  # part → its digest at the URL
        self._with_pieces: set[int] = set()  # shards that may have pieces of a journal there

    def begin(self, manifest: Manifest, theirs: Manifest | None) -> None:
        """Makes what is at the URL the copy of this run; `theirs` is its run.json.

        Raises UsageError: another machine was faster.
        """
        if theirs is None:
            self._layout.uploaded.unlink(missing_ok=True)
            try:
                put_file(self._layout.manifest, f"{self.url}/{MANIFEST}", absent=True)
            except AlreadyThereError as error:
                raise UsageError(
                    f"{self.url}: another machine has just started this run. Run the command again."
                ) from error
        elif theirs != manifest:
            if theirs.generation < manifest.generation:
                self._set_aside(theirs.generation)
            if owner_at(self.url) != theirs.owner:  # looked at once more: that may have taken its time
                raise UsageError(f"{self.url}: another machine has just taken it over. Nothing was sent.")
            put_file(self._layout.manifest, f"{self.url}/{MANIFEST}")

    def look(self) -> None:
        """Finds out what is there."""
        there = {file.name for file in below(f"{self.url}/{PARTS}")}
        self._have = {name: digest for name, digest in self._uploaded().items() if name in there}
        self._with_pieces = {name.shard for name in self._layout.journal_names() if name.attempt}

    def waiting(self) -> list[Path]:
        """Sealed parts that the URL does not have in their present version."""
        recorded = self._checksums.digests()
        # a part with a journal has failed rows that are being asked again: it comes when it is sealed
        open_shards = self._layout.with_journals()
        return [
            path
            for path in self._layout.part_files()
            if part_number(path.name) not in open_shards
            and self._have.get(path.name) != recorded.get(path.name, [""])[-1]
        ]

    def upload(self, path: Path) -> None:
        """Brings a part to the URL."""
        url, digest = f"{self.url}/{PARTS}/{path.name}", file_digest(path)
        try:
            put_file(path, url, absent=True)
        except AlreadyThereError as error:
            theirs = file_digest(RemoteFile(url))
            if theirs != digest:
                if theirs not in self._checksums.digests().get(path.name, ()):
                    raise StorageError(url, "another run wrote a part of that name") from error
                put_file(path, url)  # ours of before failed rows were asked again
        self._note(path.name, digest)
        index = part_number(path.name)
        assert index is not None, "only parts are uploaded here"
        if index in self._with_pieces and not self._layout.journal_names(index):
            self._depot.drop(index)  # workers had begun it, and it was sealed here
            self._with_pieces.discard(index)

    def put_checksums(self) -> None:
        """Brings checksums.log to the URL, as it is now, and what was given up.

        First what it rests on, as it is then or later: the cost of what was given up, and which batches had
        their results in what it tells of.
        """
        noted = self._layout.checksums.read_bytes()
        for name in (LOST, BATCHES):
            if (self._layout.root / name).exists():
                self._put_log(name)
        put_bytes(f"{self.url}/{CHECKSUMS}", noted)

    def put_uploaded(self) -> None:
        """Tells there what has come there: of these parts none may be missing."""
        if self._layout.uploaded.exists():
            self._put_log(UPLOADED)

    def keep(self, name: str) -> None:
        """Brings a file of the run there, as it is now."""
        self._put_log(name)

    def put_extras(self) -> None:
        """Brings there what is small, and nothing rests on."""
        for name in _EXTRAS:
            if (self._layout.root / name).exists():
                self._put_log(name)

    def share(self) -> None:
        """Brings there all that workers elsewhere need to go on: parts of open shards as well, journals."""
        recorded = self._checksums.digests()
        if recorded:
            self.put_checksums()
        for path in self._layout.part_files():
            have = self._have.get(path.name)
            if have != recorded.get(path.name, [""])[-1] and have != file_digest(path):
                self.upload(path)
        self._depot.push_journals()
        self._with_pieces = {piece.shard for piece in self._depot.pieces()}

    def came(self) -> set[str]:
        """Names of the parts that have come to the URL, as a copy of its own `uploaded.log` says."""
        return set(self._uploaded())

    def brought(self, index: int, digest: str) -> None:
        """A shard's part has come from there."""
        self._note(part_name(index), digest)

    def gathered(self, shards: set[int], brought: dict[int, str]) -> None:
        """What workers have left there of some shards has come, these parts among it."""
        if brought:
            self.put_checksums()
            for index, digest in brought.items():
                self._depot.noted(part_name(index), digest)
        self._with_pieces |= shards

    def _put_log(self, name: str) -> None:
        """A file that may grow meanwhile."""
        put_bytes(f"{self.url}/{name}", (self._layout.root / name).read_bytes())

    def _set_aside(self, generation: int) -> None:
        """Moves what an earlier generation has at the URL to `previous/`, so that parts never mix."""
        kept = f"{self.url}/{PREVIOUS}/{generation}"
        for file in below(f"{self.url}/{PARTS}"):
            move(str(file), f"{kept}/{PARTS}/{file.name}")
        self._depot.clear(lambda url, name: move(url, f"{kept}/{name}"))
        for name in (CHECKSUMS, UPLOADED, MANIFEST):
            with contextlib.suppress(NotThereError):
                put_bytes(f"{kept}/{name}", get_bytes(f"{self.url}/{name}"))

    def _note(self, part: str, digest: str) -> None:
        """The URL has this version of a part. Raises RunStopped (disk)."""
        file = AppendFile(self._layout.uploaded)
        with disk_errors(file.path), contextlib.closing(file):
            file.append(encode(json.dumps({"part": part, "blake2b": digest, "url": self.url}).encode()))
            file.sync()
        self._have[part] = digest

    def _uploaded(self) -> dict[str, str]:
        return uploaded_digests(self._layout, self.url)


def uploaded_digests(layout: Layout, url: str) -> dict[str, str]:
    """The digest with which each part was uploaded last, as `uploaded.log` of a directory says."""
    last: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for record in JournalScan(layout.uploaded).records():
            if record.data.get("url") == url:
                last[str(record.data.get("part"))] = str(record.data.get("blake2b"))
    return last

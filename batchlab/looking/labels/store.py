"""The labels of a run: read, and changed by whoever looks at it, several at a time too.

They are in `labels.parquet` in the run's directory, which is replaced as a whole while the file `labels.lock`
is locked: of two who label at once, both are kept, and of the same row the later one.

A run at a URL has a file for each who labels it, `labels-NAME.parquet`, because a store locks nothing: all of
them are read, and of a row the last word counts.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from batchlab.errors import UsageError
from batchlab.looking.labels.label import (
    MOST_BYTES,
    NAMES,
    Answer,
    Key,
    Label,
    checked_label,
    checked_names,
    checked_note,
    of_bytes,
    to_bytes,
)
from batchlab.protocol.redact import printable
from batchlab.remote.storage import NotThereError, StorageError, get_bytes, matching, put_bytes
from batchlab.remote.urls import local_dir_of
from batchlab.run_end import RunStopped
from batchlab.store.disk.file_locks import alone_at
from batchlab.store.disk.files import atomic_write, file_content
from batchlab.store.view import RunView

AWAY_S = 10.0  # how long what was read at a URL counts as what is there
MOST_CHANGES = 1_000  # that can be undone
Sign = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What was just said of a row, and what had been.

    Attributes:
        token: by which it can be undone.
        after: what was said, which may be nothing; None when that was taken back, and there had been nothing.
        kept: what is in the file for it.
    """

    token: str
    key: Key
    before: Label | None
    after: Label | None
    kept: Label | None


class Kept(Enum):
    """What is said of a row and stays as it is, whoever has said it."""

    AS_IS = "as it is"


AS_IS = Kept.AS_IS
Said: TypeAlias = "tuple[str | None, str | None]"  # a label and a note


class Labels:
    """The labels of one run. May be asked from several threads."""

    def __init__(self, run: RunView) -> None:
        self._url = _home(run)
        self._generation = run.manifest.generation
        self._path = run.layout.labels
        self._own = f"labels-{secrets.token_hex(4)}.parquet"  # at a URL
        self._mine: dict[Key, Label] = {}  # what is in it
        self._theirs: set[Key] = set()  # of whom others have said something in their files
        self._turn = threading.RLock()
        self._seen: tuple[Sign | None, float] = (None, 0.0)
        self._known: dict[Key, Label] = {}
        self._names: tuple[str, ...] | None = None
        self._changes: OrderedDict[str, Change] = OrderedDict()

    def all(self) -> dict[Key, Label]:
        """All that are there now. Raises UsageError when their file is none, or cannot be read."""
        with self._turn:
            self._read()
            return self._known

    def names(self) -> tuple[str, ...]:
        """The labels for the keys from 1 on. Raises UsageError."""
        with self._turn:
            self._read()
            return self._names or NAMES

    def rename(self, names: Sequence[str]) -> tuple[str, ...]:
        """Chooses other labels for the keys; those that rows have stay. Raises UsageError."""
        chosen = checked_names(names)
        with self._turn:
            self._write(lambda labels: labels, chosen)
            return chosen

    def say(
        self,
        row: int,
        answer: Answer,
        label: str | Kept | None,
        note: str | Kept | None,
        *,
        custom_id: str = "",
        against: str = "",
        other: Answer | None = None,
        moved: Said = (None, None),
        may: Callable[[Said], None] = lambda _: None,
    ) -> Change:
        """Says of a row's answer what it is; nothing, where both are None.

        Args:
            against, other: the run that it is compared with, and which answer of that.
            moved: what is said of the answer already, if that is kept with an earlier generation's row.
            may: told what is said of the answer now, while nobody else can say something; raises UsageError.

        Raises:
            UsageError: it is no label, or cannot be kept.
        """
        new_label = label if label is None or isinstance(label, Kept) else checked_label(label)
        new_note = note if isinstance(note, Kept) else checked_note(note)

        def said(now: Label | None) -> Label:
            there = moved
            if now is not None:
                is_same = now.answer.is_same(answer.at, answer.attempts)
                there = (now.label, now.note) if is_same else (None, None)
            may(there)
            return Label(
                row,
                custom_id or str(row),
                there[0] if isinstance(new_label, Kept) else new_label,
                there[1] if isinstance(new_note, Kept) else new_note,
                _now(),
                answer,
                self._generation,
                against,
                other,
            )

        return self._put((row, against, self._generation), said)

    def undo(self, token: str) -> Change:
        """Takes back a change, if nobody has said something else of the row since. Raises UsageError."""
        with self._turn:
            change = self._changes.get(token)
            if change is None:
                raise UsageError("there is nothing to undo: that was said too long ago, or by another.")

            def before(now: Label | None) -> Label | None:
                if now != change.kept:
                    raise overtaken(change.key[0])
                return None if change.before is None else replace(change.before, at=_now())

            undone = self._put(change.key, before)
            del self._changes[token]
            for earlier, one in self._changes.items():  # what it brought back may be undone in its turn
                if one.key == change.key and one.kept is not None and one.kept == change.before:
                    self._changes[earlier] = replace(one, kept=undone.kept)
            return undone

    def _put(self, key: Key, said: Callable[[Label | None], Label | None]) -> Change:
        """Says something of a row, which depends on what is said of it now."""
        found: list[tuple[Label | None, Label | None]] = []

        def changed(labels: dict[Key, Label]) -> dict[Key, Label]:
            now = labels.get(key)
            made = said(now)
            found.append((now, made))
            others = {one: label for one, label in labels.items() if one != key}
            return others if made is None else self._some({**others, key: made})

        with self._turn:
            self._write(changed, None)
            change = Change(secrets.token_hex(8), key, *found[-1], self._known.get(key))
            self._changes[change.token] = change
            while len(self._changes) > MOST_CHANGES:
                self._changes.popitem(last=False)
            return change

    def _some(self, labels: Mapping[Key, Label]) -> dict[Key, Label]:
        """Those that say something: that there is none any more says something only of a row that may have a
        label of an earlier generation."""
        any_older = any(one.generation != self._generation for one in labels.values())
        return {key: one for key, one in labels.items() if any_older or not one.is_nothing}

    def _write(
        self, changed: Callable[[dict[Key, Label]], dict[Key, Label]], names: tuple[str, ...] | None
    ) -> None:
        if self._url is not None:
            self._write_away(changed, names)
            return
        try:
            with alone_at(self._path.with_suffix(".lock")):
                self._read(anew=True)
                made = changed(self._known)
                kept = names or self._names or NAMES
                atomic_write(self._path, to_bytes(made, kept))
                self._known, self._names = made, kept
                self._seen = (_sign(self._path), 0.0)
        except RunStopped as error:  # what the disk has refused
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(f"{self._path}: cannot keep labels: {error.strerror}.") from error

    def _write_away(
        self, changed: Callable[[dict[Key, Label]], dict[Key, Label]], names: tuple[str, ...] | None
    ) -> None:
        self._read(anew=True)
        made = changed(self._known)
        kept = names or self._names or NAMES
        mine = {**self._mine, **{key: one for key, one in made.items() if self._known.get(key) != one}}
        for gone in self._known.keys() - made.keys():
            if self._known[gone] == mine.pop(gone, None) and gone not in self._theirs:
                continue
            mine[gone] = replace(self._known[gone], label=None, note=None, at=_now())
        try:
            put_bytes(f"{self._url}/{self._own}", to_bytes(mine, kept))
        except StorageError as error:
            raise UsageError(f"{self._url}: cannot keep labels: {error.strerror}.") from error
        self._mine, self._known, self._names = mine, made, kept

    def _read(self, *, anew: bool = False) -> None:
        """Makes what is known what is there."""
        if self._url is not None:
            if anew or time.monotonic() - self._seen[1] > AWAY_S or not self._seen[1]:
                self._read_away()
            return
        sign = _sign(self._path)
        if sign == self._seen[0] and (sign is not None or not self._known):
            return
        if sign is None:
            self._known, self._names = {}, None
        elif sign[1] > MOST_BYTES:
            raise UsageError(f"{self._path}: too large for a file of labels. Move it away to go on without.")
        else:
            try:
                content = file_content(self._path)
            except OSError as error:
                raise UsageError(f"{self._path}: cannot be read: {error.strerror}.") from error
            self._known, self._names = of_bytes(content, str(self._path))
        self._seen = (sign, 0.0)

    def _read_away(self) -> None:
        known: dict[Key, Label] = {}
        theirs: set[Key] = set()
        names: tuple[str, ...] | None = None
        try:
            for file in matching(f"{self._url}/labels*.parquet"):
                try:
                    content = get_bytes(str(file))
                except NotThereError:
                    continue
                found, chosen = of_bytes(content, str(file))
                names = chosen if chosen not in (None, NAMES) else names
                theirs |= set() if str(file).endswith(f"/{self._own}") else found.keys()
                for key, label in found.items():
                    if key not in known or label.at >= known[key].at:
                        known[key] = label
        except StorageError as error:
            raise UsageError(f"{self._url}: labels cannot be read: {error.strerror}.") from error
        self._known, self._theirs = self._some(known), theirs
        self._names = names
        self._seen = (None, time.monotonic())


def overtaken(row: int, now: str | None = None) -> UsageError:
    """That somebody else was faster; `now` is what he has said."""
    said = "something" if now is None else f"“{printable(now, 60)}”"
    return UsageError(f"row {row}: another has said {said} of it since; that stays.")


def _now() -> float:
    """Unix seconds, as they are when they are read again."""
    return round(time.time() * 1e6) / 1e6


def _home(run: RunView) -> str | None:
    """The URL at which a run is at home; None of one in a directory, even if there is a copy at a URL."""
    output = run.manifest.job.output
    if run.url is None and output.remote and output.run_dir == local_dir_of(output.remote):
        return output.remote
    return run.url


def _sign(path: Path) -> Sign | None:
    """What tells a file from the one that takes its place; None when there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino

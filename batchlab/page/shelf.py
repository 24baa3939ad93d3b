"""The runs that a page shows, each by its id: the name of its directory in the folder that is looked at.

An id is looked up among the names that are there, and never made into a path: `..`, a name with a slash, or
a link that leads out of the folder leads nowhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from batchlab.errors import BatchlabError, UsageError
from batchlab.looking.listing import DAMAGED, Listed, Listing, listed, runs_in
from batchlab.looking.opening import RUNS, open_run, place_of, run_at
from batchlab.page.address import id_of, route_of
from batchlab.page.signs import Sign, sign_of
from batchlab.protocol.redact import printable
from batchlab.remote.urls import checked_url, is_url
from batchlab.store.layout import is_run
from batchlab.store.view import RunView

Where: TypeAlias = Path | str  # a directory, or a URL
_IN_NO_NAME = frozenset("/\\?#*[]%")  # of a run at a URL: what a store would take for a path or a pattern


class NoSuchRun(BatchlabError):
    """There is no run of that id, or not any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there now.

    Attributes:
        runs: where each run is, by its id.
        notes: what was left out, and why.
    """

    runs: Mapping[str, Where]
    notes: tuple[str, ...] = ()


class Shelf:
    """A folder of runs, a URL of runs, or one run.

    Args:
        place: as it was typed: a run, its job file, a folder, a URL; None for the runs under `runs/`.

    Attributes:
        only: the run's id, when it is one.

    Raises:
        UsageError: there is nothing of that name.
    """

    def __init__(self, place: str | None) -> None:
        self.shown = place if place is not None else f"{RUNS}/"
        self.only: str | None = None
        self._one: Where | None = None
        self._folder: Where = Path(RUNS)
        self._seen: dict[str, tuple[Sign, Listed]] = {}  # changed under the lock, by `listing`
        self._lock = threading.Lock()
        if place is not None:
            self._settle(place)

    def found(self) -> Found:
        """The runs that are there, unread.

        Raises:
            UsageError: the folder cannot be read.
        """
        if self._one is not None:
            return Found({str(self.only): self._one})
        if isinstance(self._folder, str):
            return Found({id_of(one.run): one.run for one in runs_in(self._folder).runs})
        return _inside(self._folder, _names(self._folder))

    def where(self, run_id: str) -> Where:
        """Where the run of an id is.

        Raises:
            NoSuchRun: there is none; UsageError: the folder cannot be read.
        """
        if self._one is not None:
            if run_id == self.only:
                return self._one
        elif isinstance(self._folder, str):
            if run_id and not set(run_id) & _IN_NO_NAME and run_id not in {".", ".."}:
                return f"{self._folder}/{run_id}"
        else:
            names = [name for name in _names(self._folder) if run_id in (name, id_of(name))]
            if place := _inside(self._folder, names).runs.get(run_id):
                return place
        raise NoSuchRun(f"{printable(run_id, 80)}: there is no such run here, or not any more.")

    def open(self, run_id: str) -> RunView:
        """The run of an id, for reading. Raises NoSuchRun, UsageError or CorruptRun."""
        run = run_at(self.where(run_id))
        if run is None:
            raise NoSuchRun(f"{printable(run_id, 80)}: there is no such run here, or not any more.")
        return run

    def route(self, review: int | None = None) -> str:
        """Where in the page it opens.

        Args:
            review: rows to label, of the run, or of the newest one. Raises UsageError when there is none.
        """
        run_id = self.only
        if review is not None and run_id is None:
            runs, _ = self.listing()
            if not runs.runs:
                raise UsageError(f"{self.shown}: there is no run whose rows could be reviewed.")
            run_id = id_of(runs.runs[0].run)
        if run_id is None:
            return "/"
        return route_of(run_id, review)

    def listing(self) -> tuple[Listing, tuple[str, ...]]:
        """All runs, newest first, and what was left out; of runs that have not changed nothing is read.

        Raises:
            UsageError: the folder cannot be read, or its store is down.
        """
        if self._one is None and isinstance(self._folder, str):
            return runs_in(self._folder), ()
        found = self.found()
        with self._lock:
            runs = [self._line(name, place) for name, place in found.runs.items()]
            self._seen = {name: line for name, line in self._seen.items() if name in found.runs}
        ordered = sorted(runs, key=lambda one: (-one.at, one.run))
        return Listing(self.shown, ordered), found.notes

    def _line(self, name: str, place: Where) -> Listed:
        if not isinstance(place, Path):
            return _line_of(place)
        sign = sign_of(place)
        known = self._seen.get(name)
        if known is None or known[0] != sign:
            known = self._seen[name] = sign, _line_of(place)
        return known[1]

    def _settle(self, place: str) -> None:
        where = place_of(place)
        if is_url(str(where)):
            url = checked_url(str(where))
            if run_at(url) is not None:
                self._take(url)
            else:
                self._folder = url
            return
        path = Path(where)
        if is_run(path):
            open_run(path)  # says what is wrong with it
            self._take(path)
        elif path.is_dir():
            self._folder = path
        else:
            open_run(place)  # there is none: it says what was meant
            raise UsageError(f"{place}: there is no such run or folder.")

    def _take(self, where: Where) -> None:
        self._one, self.only = where, id_of(str(where))


def ids_of(found: Listing) -> list[dict[str, Any]]:
    """Each run of a list as a program is told it, with its id."""
    return [
        {**one.json(), "id": (run_id := id_of(one.run)), "name": printable(run_id, 200)} for one in found.runs
    ]


def _line_of(place: Where) -> Listed:
    try:
        return listed(place)
    except Exception as error:  # noqa: BLE001 - a directory may hold anything, and the others are shown
        return Listed(str(place), DAMAGED, 0.0, problem=f"{place}: cannot be read ({type(error).__name__})")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:  # `runs/` before the first run; or it was deleted
        return []
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}.") from error


def _inside(folder: Path, names: Sequence[str]) -> Found:
    """The runs of those names in a folder; links that lead out of it are left out."""
    inside = Path(os.path.realpath(folder))
    runs: dict[str, Where] = {}
    out = []
    for name in names:
        path = folder / name
        try:
            if not is_run(path):
                continue
            is_out = path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside)
        except OSError:  # somebody else's
            continue
        if is_out:
            out.append(name)
        else:
            runs[id_of(name)] = path
    shown = ", ".join(printable(name, 40) for name in out[:3]) + (" …" if len(out) > 3 else "")
    notes = (f"left out, as they lead out of {folder}: {shown}; batchlab view RUN shows one",) if out else ()
    return Found(runs, notes)

"""Every name and number in a run directory. What each file holds is said where it is read and written.

    run.json             format, job without secrets, input fingerprint, shard plan (`manifest`)
    lock                 who works here now (`disk.run_lock`)
    journal/             one file a shard and attempt; deleted when the shard is sealed (`journal`); and how
                         far it is known to go (`due`)
    completions/         one Parquet part a sealed shard, named by its number (`parts`)
    checksums.log        each part's BLAKE2b and totals, written before the part is published, and what else
                         must be there (`checksums`)
    batches.log          batches that services have of it (`batches`)
    batches/             lines on their way to a service, and results that came from there
    lost.log             what is gone all the same, and was given up (`lost`)
    ballast              space set aside for answers in flight when the disk is full (`disk.ballast`)
    stdin.jsonl          what came through standard input
    input-HASH.parquet   rows that a program held (.jsonl where they are no table)
    history.jsonl        how the run went over time (`history`)
    standing.json        how it stands, every second, and how it ended (`standing`)
    pilot.json           the sample that a pilot sent
    forecast.json        what it said of the whole run
    written.json         the files beside the directory that it has written (`looking.own_files`)
    report.html          the page of `batchlab report`
    labels.parquet       what people have said of its answers (`looking.labels`)
    labels.lock          held by who changes them
    workers.json         who works on the shards, while several processes or machines do
    workers/NAME.lock    held by a worker of a cluster as long as it lives (`disk.fence`)
    workers/away         there while workers leave what they do at the URL, and not all is here
    workers/token        what every node must be able to read
    uploaded.log         what the run's copy at a URL is known to have, if there is one
    next/ ready/         the next generation, while it is built, and once it is whole (`swap`)
    previous/N/          what an earlier generation had (changed input or --fresh)

A worker that has a directory of its own keeps in `attempt` which pieces are its own (`remote.segments`).

A copy at a URL has the same names, and more: `lease.json` (`remote.presence`), `checksums/` and folders of
pieces below `journal/` (`remote.depot`).

A shard with a part and no journal is sealed. With both, its failed rows are being asked again, or a crash
came between publishing the part and deleting the journals; either way replaying the journals over the part
gives the truth.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "run.json"
CHECKSUMS = "checksums.log"
LOST = "lost.log"
BATCHES, BATCH_FILES = "batches.log", "batches"
UPLOADED = "uploaded.log"
HISTORY = "history.jsonl"
LABELS = "labels.parquet"
REPORT = "report.html"
JOURNALS, PARTS = "journal", "completions"
PREVIOUS = "previous"
WORKERS = "workers"
TOKEN = "token"  # noqa: S105 - the name of a file
SIGN, RECORDS = "lease.json", "checksums"  # at a URL only

DIRECTORIES = (JOURNALS, PARTS)  # that every run has
# what may be in a run directory before the run is: rows that were put there, and what a crash left
_BEFORE_A_RUN = re.compile(
    r"lock|ballast|journal|completions|workers|next|ready|previous|stdin\.jsonl|input-[0-9a-f]+\.\w+|"
    r"[\w.-]+\.tmp|\..*"
)
OF_A_GENERATION = (*DIRECTORIES, CHECKSUMS)  # what a new one replaces, beside run.json

_PART = re.compile(r"part-(\d+)\.parquet")
_JOURNAL = re.compile(r"(\d{6,})\.(\d+)(?:\.([0-9a-f]+)\.(\d+))?\.log")
_DUE = re.compile(r"(\d{6,})\.(\d+)\.due")
_PIECE = re.compile(rf"/{JOURNALS}/(\d{{6,}})/(\d+)\.([0-9a-f]+)\.(\d+)\.log$")


def part_name(index: int) -> str:
    """The file name of a shard's part."""
    return f"part-{index:06d}.parquet"


def part_number(name: str) -> int | None:
    """The shard whose part has that file name; None for another file."""
    found = _PART.fullmatch(name)
    if found is None or name != part_name(int(found[1])):
        return None
    return int(found[1])


def part_numbers(names: Iterable[str]) -> set[int]:
    """The shards whose parts are among some file names."""
    return {number for name in names if (number := part_number(name)) is not None}


def part_key(index: int) -> str:
    """A shard's part, below the run directory or its URL."""
    return f"{PARTS}/{part_name(index)}"


@dataclass(frozen=True, slots=True, order=True)
class JournalName:
    """The name of a journal, or of a piece of one; their order is that in which they are read.

    Attributes:
        number: of the journal, counted by shard from 1.
        attempt, piece: of a journal that came in pieces (`remote.depot`), who wrote it, and which piece
            this is; "" and 0 of one that was written here.
    """

    shard: int
    number: int
    attempt: str = ""
    piece: int = 0

    @property
    def file_name(self) -> str:
        """Its name in `journal/`."""
        piece = f".{self.attempt}.{self.piece}" if self.attempt else ""
        return f"{self.shard:06d}.{self.number}{piece}.log"

    @property
    def key(self) -> str:
        """The name of a piece below the run's URL: there is a folder for each shard."""
        return f"{JOURNALS}/{self.shard:06d}/{self.number}.{self.attempt}.{self.piece}.log"

    @classmethod
    def at(cls, url: str) -> JournalName | None:
        """The piece whose key a URL ends with; None for another object."""
        found = _PIECE.search(url)
        return None if found is None else cls(int(found[1]), int(found[2]), found[3], int(found[4]))

    @classmethod
    def of(cls, file_name: str) -> JournalName | None:
        """What a file name in `journal/` says; None for another file."""
        found = _JOURNAL.fullmatch(file_name)
        if found is None:
            return None
        name = cls(int(found[1]), int(found[2]), found[3] or "", int(found[4] or 0))
        return name if name.file_name == file_name else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths in one run directory."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The file that makes a directory a run."""
        return self.root / MANIFEST

    @property
    def lock(self) -> Path:
        """The lock of the process that works on the run."""
        return self.root / "lock"

    @property
    def journals(self) -> Path:
        """The folder of the journals."""
        return self.root / JOURNALS

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return self.root / PARTS

    @property
    def checksums(self) -> Path:
        """The log of the parts' digests and totals."""
        return self.root / CHECKSUMS

    @property
    def lost(self) -> Path:
        """The log of what is gone and was given up."""
        return self.root / LOST

    @property
    def batches(self) -> Path:
        """The log of the batches that services have of the run."""
        return self.root / BATCHES

    @property
    def batch_files(self) -> Path:
        """The folder of what is on its way to and from a batch API."""
        return self.root / BATCH_FILES

    @property
    def ballast(self) -> Path:
        """The space set aside."""
        return self.root / "ballast"

    @property
    def stdin(self) -> Path:
        """What came through standard input, so that it can be read again."""
        return self.root / "stdin.jsonl"

    @property
    def history(self) -> Path:
        """How the run went over time."""
        return self.root / HISTORY

    @property
    def standing(self) -> Path:
        """How the run stands, for other terminals, and how it ended."""
        return self.root / "standing.json"

    @property
    def pilot(self) -> Path:
        """The sample that a pilot sent."""
        return self.root / "pilot.json"

    @property
    def forecast(self) -> Path:
        """What a pilot said of the whole run."""
        return self.root / "forecast.json"

    @property
    def written(self) -> Path:
        """Which files beside the directory are the run's."""
        return self.root / "written.json"

    @property
    def labels(self) -> Path:
        """What people have said of the run's answers."""
        return self.root / LABELS

    @property
    def labels_lock(self) -> Path:
        """Held by who changes them."""
        return self.labels.with_suffix(".lock")

    @property
    def roll(self) -> Path:
        """Who works on the shards, for other processes to show."""
        return self.root / "workers.json"

    @property
    def workers(self) -> Path:
        """The folder of what workers of a cluster have to know and hold."""
        return self.root / WORKERS

    @property
    def away(self) -> Path:
        """A file that is there as long as the URL may have more of the run than its directory."""
        return self.workers / "away"

    @property
    def token(self) -> Path:
        """What every node that shares the directory can read."""
        return self.workers / TOKEN

    @property
    def uploaded(self) -> Path:
        """What the copy at a URL is known to have."""
        return self.root / UPLOADED

    @property
    def attempt(self) -> Path:
        """Which pieces at a URL are those of the worker whose own directory this is."""
        return self.root / "attempt"

    @property
    def next(self) -> Path:
        """The next generation while it is built."""
        return self.root / "next"

    @property
    def ready(self) -> Path:
        """The next generation once it is whole."""
        return self.root / "ready"

    @property
    def answers(self) -> Path:
        """Answers by request, while the next generation is built; in its own directory."""
        return self.root / "answers.sqlite"

    @property
    def copied_answers(self) -> Path:
        """Answers by request, while they are copied to rows; gone with the next lock if a crash leaves it."""
        return self.journals / "answers.tmp"

    def worker_lock(self, name: str) -> Path:
        """The lock of a worker of that name."""
        return self.workers / f"{name}.lock"

    def worker_locks(self) -> list[Path]:
        """The locks of all workers, by name."""
        return sorted(self.workers.glob("*.lock"))

    def part(self, index: int) -> Path:
        """Where a shard's part is, or will be."""
        return self.parts / part_name(index)

    def part_files(self) -> list[Path]:
        """The parts that are there, in order."""
        return sorted(
            path for path in self.parts.glob("part-*.parquet") if part_number(path.name) is not None
        )

    def journal(self, name: JournalName) -> Path:
        """Where a journal of that name is, or will be."""
        return self.journals / name.file_name

    def journal_names(self, index: int | None = None) -> list[JournalName]:
        """The journals that are there of a shard, of all shards when `index` is None; in reading order."""
        pattern = "*.log" if index is None else f"{index:06d}.*.log"
        found = (JournalName.of(path.name) for path in self.journals.glob(pattern))
        return sorted(name for name in found if name is not None)

    def journal_files(self, index: int) -> list[Path]:
        """A shard's journals, oldest first."""
        return [self.journal(name) for name in self.journal_names(index)]

    def due(self, index: int, number: int) -> Path:
        """Where it is noted how far a shard's journal of that number goes."""
        return self.journals / f"{index:06d}.{number}.due"

    def due_numbers(self, index: int | None = None) -> dict[int, list[int]]:
        """The numbers of the journals of which that is noted, by shard: of one, or of all."""
        pattern = "*.due" if index is None else f"{index:06d}.*.due"
        numbers: dict[int, list[int]] = {}
        for path in self.journals.glob(pattern):
            if (found := _DUE.fullmatch(path.name)) is not None:
                numbers.setdefault(int(found[1]), []).append(int(found[2]))
        return {shard: sorted(found) for shard, found in sorted(numbers.items())}

    def with_journals(self) -> set[int]:
        """Numbers of the shards that have a journal."""
        return {name.shard for name in self.journal_names()}

    def leftovers(self) -> Iterator[Path]:
        """Temporary files that a crash has left."""
        return self.root.glob("*/*.tmp")

    def spooled_rows(self, digest: str, suffix: str) -> Path:
        """Where rows that a program held are kept."""
        return self.root / f"input-{digest}{suffix}"

    def all_spooled_rows(self) -> Iterator[Path]:
        """Rows that a program held: of this run, and of earlier or refused calls."""
        return self.root.glob("input-*")

    def previous(self, generation: int) -> Path:
        """Where an earlier generation is kept."""
        return self.root / PREVIOUS / str(generation)

    def generations_before(self) -> list[int]:
        """Numbers of the earlier generations that are kept, the latest first."""
        folder = self.root / PREVIOUS
        if not folder.is_dir():
            return []
        return sorted((int(path.name) for path in folder.iterdir() if path.name.isdigit()), reverse=True)


def is_run(path: Path) -> bool:
    """Whether there is a run in a directory, and be it one that cannot be read."""
    return os.path.lexists(Layout(path).manifest)


def foreign_files(path: Path) -> list[str]:
    """Names in a directory that is to hold a new run, and that no run has put there; none where it is not."""
    try:
        return sorted(entry.name for entry in path.iterdir() if not _BEFORE_A_RUN.fullmatch(entry.name))
    except OSError:
        return []

"""Power loss, simulated: unsynced writes dropped, reordered and torn, renames without fsync undone.

    python -m tests.proofs.crash.power_loss --states 100000

The real store writes a small run while every operation on its files is recorded. A crash state
is what a disk may hold after the power went at one of these operations: of each file what was
synced, plus any of the later writes, the last of them cut anywhere; of each directory the names
that were synced, plus any of the later changes. Each state is laid out in a directory, opened as a
resume does, and compared with what was acknowledged: a result whose group was synced is there
(P1), no result differs from the one that was written, no shard is sealed with less than all rows (P4).
A part of the states is run to its end and verified (P6).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from batchlab.errors import CorruptRun
from batchlab.records import Completion, Failure, Reply, Result, Shard, Timing, Usage
from batchlab.store.disk import ballast
from batchlab.store.integrity.losses import find_losses, loss_text
from batchlab.store.integrity.verify import verify
from batchlab.store.layout import is_run
from batchlab.store.locked import LockedRun
from tests.proofs.arguments import ended, options
from tests.store.manifests import manifest
from tests.store.shard_results import shard_results

SHARDS, SHARD_ROWS = 2, 4
PLAN = [Shard(index, index * SHARD_ROWS, SHARD_ROWS) for index in range(SHARDS)]


@dataclass
class File:
    """An inode: what is durable, and the writes since (offset, data; None: truncated to offset)."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def state(self, rng: random.Random) -> bytes:
        """What the disk may hold of it: any of the pending writes, the last one torn."""
        how = rng.randrange(4)
        if how == 0:
            chosen: list[tuple[int, bytes | None]] = []
        elif how == 1:
            chosen = list(self.pending)
        elif how == 2:  # in order, up to some point
            chosen = self.pending[: rng.randint(0, len(self.pending))]
        else:  # out of order: any of them
            chosen = [write for write in self.pending if rng.random() < 0.5]
        content = bytearray(self.durable)
        for number, (offset, data) in enumerate(chosen):
            if data is None:
                del content[offset:]
                continue
            if number == len(chosen) - 1 and rng.random() < 0.5:
                data = data[: rng.randint(0, len(data))]
            if len(content) < offset:
                content += bytes(offset - len(content))
            content[offset : offset + len(data)] = data
        return bytes(content)

    def all(self) -> bytes:
        """What a reader sees while the power is on."""
        return File(self.durable, self.pending)._applied()

    def _applied(self) -> bytes:
        content = bytearray(self.durable)
        for offset, data in self.pending:
            if data is None:
                del content[offset:]
            else:
                content[offset : offset + len(data)] = data
        return bytes(content)

    def sync(self) -> None:
        """Everything written is durable now."""
        self.durable, self.pending = self._applied(), []


@dataclass
class Directory:
    """Names: those that are durable, and the changes since (name, inode or None: removed), in order.

    A rename is one change of two names.
    """

    durable: dict[str, File] = field(default_factory=dict)
    pending: list[list[tuple[str, File | None]]] = field(default_factory=list)

    def state(self, rng: random.Random) -> dict[str, File]:
        """The names the disk may hold: the changes up to some point, or any of them."""
        if rng.random() < 0.5:
            chosen = self.pending[: rng.randint(0, len(self.pending))]
        else:
            chosen = [change for change in self.pending if rng.random() < 0.5]
        return self._after(chosen)

    def now(self) -> dict[str, File]:
        """The names while the power is on."""
        return self._after(self.pending)

    def _after(self, changes: list[list[tuple[str, File | None]]]) -> dict[str, File]:
        names = dict(self.durable)
        for change in changes:
            for name, file in change:
                if file is None:
                    names.pop(name, None)
                else:
                    names[name] = file
        return names

    def sync(self) -> None:
        """Every name is durable now."""
        self.durable, self.pending = self.now(), []


class SimDisk:
    """Stands between the store and `os`, and remembers what would survive at every operation.

    `on_operation` is called after each change, with the disk as it is then.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.directories: dict[str, Directory] = {}
        self._files: dict[int, tuple[File, str]] = {}
        self.on_operation: Callable[[], None] = lambda: None
        self._real = {
            name: getattr(os, name)
            for name in (
                "open",
                "close",
                "write",
                "pwrite",
                "fdatasync",
                "fsync",
                "rename",
                "unlink",
                "ftruncate",
                "mkdir",
            )
        }

    def __enter__(self) -> SimDisk:
        for name in self._real:
            setattr(os, name, getattr(self, f"_{name}"))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._real.items():
            setattr(os, name, function)

    def _inside(self, path: Any) -> str | None:
        text = os.path.abspath(os.fspath(path)) if not isinstance(path, int) else ""
        return os.path.relpath(text, self._root) if text.startswith(str(self._root)) else None

    def _place(self, relative: str) -> tuple[Directory, str]:
        parent, name = os.path.split(relative)
        return self.directories.setdefault(parent, Directory()), name

    def _unseen(self, directory: Directory, name: str, path: Any) -> File:
        """A file that is new to the disk: empty, or written by Arrow and not yet synced at all."""
        with open(path, "rb") as found:
            content = found.read()
        file = File(pending=[(0, content)] if content else [])
        directory.pending.append([(name, file)])
        self.on_operation()
        return file

    def _mkdir(self, path: Any, *rest: Any, **more: Any) -> None:
        self._real["mkdir"](path, *rest, **more)

    def _open(self, path: Any, flags: int, *rest: Any, **more: Any) -> int:
        descriptor = int(self._real["open"](path, flags, *rest, **more))
        relative = self._inside(path)
        if relative is None or os.path.isdir(path):
            if relative is not None:
                self._files[descriptor] = File(), f"dir:{'' if relative == '.' else relative}"
            return descriptor
        directory, name = self._place(relative)
        file = directory.now().get(name)
        if file is None:
            file = self._unseen(directory, name, path)
        elif flags & os.O_TRUNC:
            file.pending.append((0, None))
            self.on_operation()
        self._files[descriptor] = file, relative
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        self._real["close"](descriptor)

    def _write(self, descriptor: int, data: Any) -> int:
        written = int(self._real["write"](descriptor, data))
        if descriptor in self._files:
            file, _ = self._files[descriptor]
            file.pending.append((len(file.all()), bytes(data)[:written]))
            self.on_operation()
        return written

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        written = int(self._real["pwrite"](descriptor, data, offset))
        if descriptor in self._files:
            self._files[descriptor][0].pending.append((offset, bytes(data)[:written]))
        return written

    def _ftruncate(self, descriptor: int, size: int) -> None:
        self._real["ftruncate"](descriptor, size)
        if descriptor in self._files:
            self._files[descriptor][0].pending.append((size, None))
            self.on_operation()

    def _fsync(self, descriptor: int) -> None:
        if descriptor in self._files:
            file, name = self._files[descriptor]
            if name.startswith("dir:"):
                self.directories.setdefault(name[4:], Directory()).sync()
            else:
                file.sync()
            self.on_operation()

    _fdatasync = _fsync

    def _rename(self, source: Any, target: Any, **more: Any) -> None:
        self._real["rename"](source, target, **more)
        one, two = self._inside(source), self._inside(target)
        if one is not None and two is not None:
            (directory, old), (_, new) = self._place(one), self._place(two)
            file = directory.now().get(old) or self._unseen(directory, old, target)
            directory.pending.append([(old, None), (new, file)])
            self.on_operation()

    def _unlink(self, path: Any, **more: Any) -> None:
        self._real["unlink"](path, **more)
        relative = self._inside(path)
        if relative is not None:
            directory, name = self._place(relative)
            if name in directory.now():
                directory.pending.append([(name, None)])
                self.on_operation()

    def lay_out(self, home: Path, rng: random.Random) -> None:
        """Writes one state that a power loss at this moment may leave into `home`."""
        for path in ("", "journal", "completions"):
            (home / path).mkdir(exist_ok=True)
        for parent, directory in self.directories.items():
            for name, file in directory.state(rng).items():
                (home / parent / name).write_bytes(file.state(rng))


def result(row: int, *, failed: bool = False) -> Result:
    """The result of a row, as a run would have it; never the same for two rows."""
    identity = {"row_id": row, "custom_id": str(row), "request_hash": row.to_bytes(16, "big"), "attempts": 1}
    if failed:
        return Failure(**identity, error_class="bad_request", error_message=f"no {row}", error_code=400)
    usage = Usage(prompt_tokens=3, completion_tokens=row + 1, total_tokens=row + 4)
    reply = Reply(completion=f"answer {row} " + "x" * (37 * row % 90), finish_reason="stop", usage=usage)
    timing = Timing(started_at=1.5, finished_at=2.5, latency_ms=1000.0)
    return Completion(**identity, status="ok", reply=reply, timing=timing)


def table(shard: Shard) -> pa.Table:
    """A shard's input rows."""
    return pa.table({"text": [f"row {shard.first_row + n}" for n in range(shard.rows)]})


@dataclass
class Found:
    """What a check of many states came to."""

    states: int = 0
    finished: int = 0
    problems: list[str] = field(default_factory=list)


class _NoThread:
    def join(self) -> None:
        """There is nothing to wait for."""


class Scenario:
    """One small run of the real store on a SimDisk; every crash state it may leave is checked.

    Args:
        states: states to check at each operation.
    """

    def __init__(self, seed: int, states: int, found: Found) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self._states = states
        self._found = found
        self._written = {
            row: result(row, failed=self._rng.random() < 0.2) for row in range(SHARDS * SHARD_ROWS)
        }
        self._synced: set[int] = set()
        self._operations = 0

    def run(self) -> None:
        """Runs it; the found problems are in `found`."""
        with scratch() as home, SimDisk(home / "run") as disk:
            self._disk = disk
            disk.on_operation = self._crash
            run = LockedRun.create(home / "run", manifest(*PLAN))
            run._group._thread = cast("Any", _NoThread())  # syncs happen where the scenario says
            try:
                self._work(run)
            finally:
                disk.on_operation = lambda: None
                run.close()

    def _work(self, run: LockedRun) -> None:
        shards = [run.open_shard(shard) for shard in PLAN]
        rows = list(self._written)
        self._rng.shuffle(rows)
        for number, row in enumerate(rows):
            shard = shards[row // SHARD_ROWS]
            shard.append_sent(row, 1)
            if self._rng.random() < 0.2:
                shard.append_back(row, None)
                shard.append_sent(row, 2)
            shard.append(self._written[row])
            if self._rng.random() < 0.7:  # else the next record takes it along
                shard.flush()
            if self._rng.random() < 0.3:
                for one in shards:
                    one.flush()
                run._group.flush()
                self._synced.update(rows[: number + 1])
            if shard.complete:
                shard.seal(table(shard.shard))
                first = shard.shard.first_row
                self._synced.update(range(first, first + SHARD_ROWS))

    def _crash(self) -> None:
        self._operations += 1
        with paused(self._disk):
            for _ in range(self._states):
                with scratch() as home:
                    seed = self._rng.randrange(2**60)
                    self._disk.lay_out(home, random.Random(seed))
                    self._found.states += 1
                    for problem in check(home, self._written, set(self._synced), self._found, self._rng):
                        self._found.problems.append(
                            f"seed {self._seed}, operation {self._operations}, state {seed}: {problem}"
                        )


def check(
    home: Path, written: dict[int, Result], synced: set[int], found: Found, rng: random.Random
) -> Iterator[str]:
    """What is wrong after resuming from a state."""
    if not is_run(home):
        if synced:
            yield "the run is gone, and results were acknowledged"
        return
    results: dict[int, Result] = {}
    try:
        run = LockedRun.open(home)
        if lost_ones := find_losses(run):
            yield f"takes for a loss what was never acknowledged: {[loss_text(one) for one in lost_ones]}"
        shards = [run.open_shard(shard) for shard in PLAN]
        for shard in shards:
            results |= {one.row_id: one for one in shard_results(shard) if one is not None}
    except CorruptRun as error:
        yield f"cannot be resumed: {error}"
        return
    for row, one in results.items():
        if one != written[row]:
            yield f"row {row} differs from what was written"
    if lost := synced - results.keys():
        yield f"acknowledged rows are lost: {sorted(lost)}"
    if rng.random() < 0.05:
        found.finished += 1
        for shard in shards:
            missing = [row for row in shard_rows(shard.shard) if row not in results]
            for row in missing:
                shard.append(written[row])
            if missing or run.layout.journal_names(shard.shard.index):
                shard.seal(table(shard.shard))
        report = verify(run, PLAN)
        if report.problems or report.totals.rows != len(written):
            yield f"verify after the resume: {report.problems}"
    for shard in shards:
        shard.close()
    run.close()


def shard_rows(shard: Shard) -> range:
    """The rows of a shard."""
    return range(shard.first_row, shard.first_row + shard.rows)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, so that a hundred thousand states wear out no disk."""
    base = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="batchlab-power-", dir=base if base.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def paused(disk: SimDisk) -> Iterator[None]:
    """The real operations, while a state is checked."""
    disk.__exit__()
    try:
        yield
    finally:
        disk.__enter__()


def explore(states: int, *, first_seed: int = 1, each: int = 20) -> Found:
    """Checks at least so many states, over as many scenarios as that takes."""
    found = Found()
    size, ballast.BALLAST_BYTES = ballast.BALLAST_BYTES, 4096
    try:
        seed = first_seed
        while found.states < states:
            Scenario(seed, each, found).run()
            seed += 1
    finally:
        ballast.BALLAST_BYTES = size
    return found


def main() -> None:
    """Prints the figures; exits with 1 when a promise was broken."""
    given = options(__doc__, states=100_000, seed=1)
    found = explore(given.states, first_seed=given.seed)
    print(
        f"{found.states} crash states, {found.finished} run to their end and verified; "
        f"problems {len(found.problems)}"
    )
    ended(found.problems)


if __name__ == "__main__":
    main()

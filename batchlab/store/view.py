"""A run, for reading. No lock is needed, and another process may be at work on it."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from batchlab.arrow import pa
from batchlab.records import Failure, Result, Shard
from batchlab.run_state import BatchStanding
from batchlab.store.asking import AskAgain
from batchlab.store.batches import standings_out
from batchlab.store.disk.files import small_file
from batchlab.store.disk.run_lock import is_left_locked, lock_holder
from batchlab.store.integrity.checksums import Checksums, Noted, damaged
from batchlab.store.integrity.lost import lost_totals
from batchlab.store.integrity.odd_files import odd_files
from batchlab.store.journals.replay import OpenResults, open_results
from batchlab.store.layout import Layout, part_number, part_numbers
from batchlab.store.manifest import Manifest, read_manifest
from batchlab.store.parts import PartFile, part_results, part_totals, whole_tables, with_results
from batchlab.store.standing import Standing, read_standing
from batchlab.totals import Totals, sum_of

ROLL_IS_OLD_S = 30.0
ROLL_BYTES = 16 * 1_024 * 1_024  # at most


class RunView:
    """What a run has come to so far. Nothing here writes.

    Attributes:
        path: the run's directory; of a run at a URL, one that holds its small files.
        url: where it is read, of a run at a URL.
    """

    url: str | None = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.layout = Layout(path)
        self._checksums = Checksums(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run in a directory.

        Raises:
            UsageError: it cannot be read, or a later version wrote it; CorruptRun: it is none.
        """
        return cls(path, read_manifest(path))

    @property
    def place(self) -> str:
        """Where a person finds it: its directory, or its URL; in a command never an option."""
        path = str(self.path)
        return self.url or (f"./{path}" if path.startswith("-") else path)

    @property
    def is_away(self) -> bool:
        """Whether workers leave what they have done at the run's URL, or have, and not all of it is here."""
        return self.layout.away.exists()

    def lock_holder(self) -> int | None:
        """pid of the process that works here now, None when there is none."""
        return lock_holder(self.path)

    def other_host(self) -> str | None:
        """Name of another machine that works on the run now; only at a URL can there be one."""
        return None

    def is_left_locked(self) -> bool:
        """Whether who worked here last was killed, or lost its machine; asked while nobody does."""
        return is_left_locked(self.path)

    def last_standing(self) -> Standing | None:
        """How the run said it stands, or stood when it ended; None when it never said."""
        return read_standing(self.path)

    def batches_out(self) -> tuple[BatchStanding, ...]:
        """The batches that services have of it, as far as was known when somebody looked last."""
        if not self.layout.batches.exists():
            return ()
        last = self.last_standing()
        return standings_out(self.path, () if last is None else last.state.batches, sealed=self.sealed)

    def roll(self) -> dict[str, Any] | None:
        """Who works on which shards, as `LockedRun.write_roll` wrote it last, if that is recent."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            roll = json.loads(small_file(self.layout.roll, ROLL_BYTES))
            if isinstance(roll, dict) and abs(time.time() - roll["at"]) < ROLL_IS_OLD_S:
                return roll
        return None

    def part(self, index: int) -> PartFile:
        """Where a sealed shard's part is read from."""
        return self.layout.part(index)

    def noted(self) -> Noted:
        """What `checksums.log` says must be there."""
        return self._checksums.noted()

    def damaged_notes(self) -> list[str]:
        """What is damaged in `checksums.log` and `lost.log`, and what stands in the place of a file, in a few
        words each."""
        return odd_files(self.layout) + [
            f"{path}: {length} damaged bytes at {offset}"
            for path in (self.layout.checksums, self.layout.lost)
            for offset, length in damaged(path)
        ]

    def part_sizes(self) -> dict[int, int | None]:
        """Numbers of the parts that are there, each with its bytes; None where that takes a request."""
        sizes: dict[int, int | None] = {}
        for path in self.layout.part_files():
            with contextlib.suppress(OSError):
                if (index := part_number(path.name)) is not None:
                    sizes[index] = path.stat().st_size
        return sizes

    def sealed(self) -> set[int]:
        """Numbers of the shards that are done."""
        return self._parts() - self.unsealed()

    def is_sealed(self, index: int) -> bool:
        """Whether one shard is done; `sealed` lists every file of the run."""
        return self._has_part(index) and not self._is_open(index)

    def unsealed(self) -> set[int]:
        """Numbers of the shards that have a journal: begun, or asked again."""
        return self.layout.with_journals()

    def totals(self) -> Totals:
        """Sums over all final results: what was noted of sealed shards, journals of open ones.

        What was given up as lost is in them as paid and not kept.
        """
        opened = sum_of(self.shard_books(index)[0] for index in sorted(self.unsealed()))
        return self._sealed_sums() + opened + lost_totals(self.layout)

    def shard_books(self, index: int) -> tuple[Totals, int]:
        """A shard's totals so far, and how many of its requests are in flight, or were at a crash."""
        if not self._is_open(index):
            return (part_totals(self.part(index)) if self._has_part(index) else Totals()), 0
        opened = self.open_results(index)
        return opened.totals(), len(opened.replay.in_flight)

    def shards_to_ask(self, retry: AskAgain) -> set[int]:
        """Numbers of the sealed shards that may have rows to ask again, by their totals."""
        return {index for index, totals in self._part_totals() if retry.may_be_among(totals)}

    def error_counts(self) -> dict[str, int]:
        """Failed rows by error class, most frequent first; reads every result."""
        counts: Counter[str] = Counter()
        open_shards = self.unsealed()
        for index in sorted(self.sealed() | open_shards):
            results = self._results(index, is_open=index in open_shards)
            counts.update(result.error_class for result in results if isinstance(result, Failure))
        return dict(counts.most_common())

    def shard_tables(self, shard: Shard, input_table: Callable[[], pa.Table]) -> Iterator[pa.Table]:
        """A shard's rows with input and result columns; pending rows have the status `pending`."""
        manifest = self.manifest
        if self._has_part(shard.index) and not self._is_open(shard.index):
            yield from whole_tables(self.part(shard.index), manifest.prefix)
            return
        results = self.open_results(shard.index).by_row
        rows = (results.get(row) for row in range(shard.first_row, shard.first_row + shard.rows))
        yield with_results(
            input_table(), rows, shard.first_row, manifest.prefix, manifest.expanded, manifest.vectors
        )

    def shard_results(self, index: int) -> Iterator[Result]:
        """Every final result of a shard; sealed or not, begun or not."""
        if self._is_open(index):
            yield from self._results(index, is_open=True)
        elif self._has_part(index):
            yield from self._results(index, is_open=False)

    def all_results(self) -> Iterator[Result]:
        """Every final result of the run, shard by shard."""
        open_shards = self.unsealed()
        for index in sorted(self.sealed()):
            yield from self._results(index, is_open=False)
        for index in sorted(open_shards):
            yield from self._results(index, is_open=True)

    def open_results(self, index: int) -> OpenResults:
        """What a shard that is not sealed holds."""
        return open_results(self.layout, index, self.manifest)

    def _results(self, index: int, *, is_open: bool) -> Iterator[Result]:
        if is_open:
            yield from self.open_results(index).by_row.values()
        else:
            yield from part_results(self.part(index), self.manifest.prefix, self.manifest.vectors)

    def _parts(self) -> set[int]:
        return part_numbers(path.name for path in self.layout.part_files())

    def _is_open(self, index: int) -> bool:
        return bool(self.layout.journal_names(index))

    def _has_part(self, index: int) -> bool:
        return self.layout.part(index).exists()

    def _sealed_sums(self) -> Totals:
        return sum_of(totals for _, totals in self._part_totals())

    def _part_totals(self) -> Iterator[tuple[int, Totals]]:
        """Each sealed shard's totals, as `checksums.log` has them; from the footer of an older part.

        The last record of a part is that of the one which is there: with a record of a later one that
        was never published, there is a journal still, and the shard is not sealed.
        """
        noted = self._checksums.totals()
        for index in sorted(self.sealed()):
            part = self.part(index)
            try:
                yield index, Totals.of(noted[part.name])
            except (KeyError, TypeError):
                yield index, part_totals(part)

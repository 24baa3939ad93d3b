"""How far a journal is known to go: noted beside it, as `000042.1.due`, each time it was synced.

Who leaves a run in order notes how its open shards were left (`checksums`). A process that is killed notes
nothing more; what it had noted here by then is still due: a journal that ends before, or has other records
there, has lost some that were paid. The note is one record of 512 bytes, as a journal's, and written over
and over in place, without a sync of its own: it may be older than the journal is, and never says too much.

    {"bytes": N, "end": DIGEST, "rows": …, "attempts": …, "prompt_tokens": …, …}

`bytes` of the journal are on disk, `end` is the digest of their last 4 KiB, and the others are what the
shard had come to by then.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

import orjson

from batchlab.records import Completion, Result
from batchlab.store.disk.files import FILE_MODE, O_BINARY, AppendFile, file_content, plain_file, write_at
from batchlab.store.integrity.checksums import prefix_digest
from batchlab.store.journals.journal import decode, encode
from batchlab.totals import Totals

DUE_BYTES = 512  # one sector of any disk: a note is there, or the one before
END_BYTES = 4096
_FRAME_BYTES = len(encode(b" " * (DUE_BYTES // 2))) - DUE_BYTES // 2


Sums: TypeAlias = tuple[int, int, int, int, int, float]  # the values of a `Tally`, in its order


@dataclass(slots=True)
class Tally:
    """What a shard has come to, in the few sums that cost next to nothing for each result.

    Tokens and dollars are those of answers, kept or not; `unpriced` is as `Totals.unpriced`.
    """

    rows: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unpriced: int = 0
    usd: float = 0.0

    def count(self, result: Result) -> None:
        """One result more; `rows` is not changed."""
        self.attempts += result.attempts
        if result.wasted_prompt_tokens or result.wasted_completion_tokens:
            self.prompt_tokens += result.wasted_prompt_tokens or 0
            self.completion_tokens += result.wasted_completion_tokens or 0
            self.unpriced += result.cost_wasted_usd is None
        self.usd += result.cost_wasted_usd or 0.0
        if isinstance(result, Completion):
            usage = result.reply.usage
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0
            if result.cost_usd is None:
                self.unpriced += 1
            else:
                self.usd += result.cost_usd

    def change(self, by: Totals) -> None:
        """What was counted has changed."""
        self.attempts += by.attempts
        self.prompt_tokens += by.prompt_tokens + by.wasted_prompt_tokens
        self.completion_tokens += by.completion_tokens + by.wasted_completion_tokens
        self.unpriced += by.unpriced
        self.usd += by.cost_usd + by.cost_wasted_usd

    def sums(self, rows: int) -> Sums:
        """Its values now, with so many rows that have a result: a tuple costs a fifth of a copy."""
        return (rows, self.attempts, self.prompt_tokens, self.completion_tokens, self.unpriced, self.usd)

    @property
    def totals(self) -> Totals:
        """The same, to be compared with other totals `as_waste`."""
        return Totals(
            rows=self.rows,
            attempts=self.attempts,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            rows_without_cost=self.unpriced,
            cost_usd=self.usd,
        )


_NAMES = tuple(one.name for one in fields(Tally))


@dataclass(frozen=True, slots=True)
class Due:
    """What must be there of a journal, at least."""

    size: int
    end: str
    tally: Tally

    def is_met_by(self, path: Path) -> bool:
        """Whether a journal goes so far, and has the same records there."""
        with contextlib.suppress(OSError), plain_file(path) as file:
            file.seek(max(0, self.size - END_BYTES))
            return prefix_digest(file.read(min(self.size, END_BYTES))) == self.end
        return False


def read_due(path: Path) -> Due | None:
    """What a note says; None when there is none, or not a whole one."""
    with contextlib.suppress(OSError, LookupError, TypeError, ValueError):
        data = decode(file_content(path))
        if data is not None:
            return Due(int(data.pop("bytes")), str(data.pop("end")), Tally(**data))
    return None


class NotedFile(AppendFile):
    """A journal that this process writes, and what is due of it.

    `reached` is set by who appends, in one piece; `sync` may be called by a thread.

    Attributes:
        reached: whole records end there, and what the shard has come to with them.
    """

    def __init__(self, path: Path, note: Path) -> None:
        super().__init__(path)
        self.reached: tuple[int, Sums] | None = None
        self._noted = 0
        self._noting = threading.Lock()
        self._note: int | None = None
        with contextlib.suppress(OSError):  # a full disk: then nothing more is known than without a note
            self._note = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_BINARY, FILE_MODE)

    def sync(self) -> None:
        """As of any file. Then that is noted; a disk that refuses the note is no trouble of the run's."""
        reached = self.reached
        super().sync()
        if reached is None or reached[0] <= self._noted:
            return
        size, sums = reached
        with self._noting, contextlib.suppress(OSError):
            if self._note is not None:
                end = prefix_digest(self.read(max(0, size - END_BYTES), min(size, END_BYTES)))
                payload = orjson.dumps({"bytes": size, "end": end, **dict(zip(_NAMES, sums, strict=True))})
                write_at(self._note, encode(payload.ljust(DUE_BYTES - _FRAME_BYTES)), 0)
                self._noted = size

    def close(self) -> None:
        """Closes the descriptors."""
        with self._noting:  # another file may get the number of a descriptor that is closed
            if self._note is not None:
                os.close(self._note)
                self._note = None
            super().close()

"""Numbers of every row, brought together where they are equal, in memory that does not grow with the rows."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from batchlab.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

BLOCK_ROWS = 1 << 17  # records that are held before they go to disk: 1 to 3 MB
GROUPS = 256  # a group of 20 million records of three numbers: 2 MB


class Spill:
    """Records of `width` whole numbers of 64 bits, the first of which is a hash.

    More than a block of them is written to a file without a name, sorted into groups by that hash: records
    that share it are in one group, in the order in which they came.

    Attributes:
        pending: numbers of the records that are not written yet; whoever has many adds to it directly, a
            record at a time, and calls `write_block` at each `BLOCK_ROWS`.
    """

    def __init__(self, width: int) -> None:
        self.pending: array[int] = array("q")
        self._width = width
        self._file: IO[bytes] | None = None
        self._blocks: list[list[int]] = []  # where the groups of each begin, in records
        self._written = 0

    def add(self, *record: int) -> None:
        """Takes one record."""
        self.pending.extend(record)
        if len(self.pending) >= BLOCK_ROWS * self._width:
            self.write_block()

    def write_block(self) -> None:
        """Moves what is pending to the file.

        Raises:
            UsageError: there is no room for it.
        """
        import numpy as np

        records = self._records(self.pending)
        group = _group_of(records)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(GROUPS + 1))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="batchlab-")  # noqa: SIM115 - closed by `close`
            self._file.write(records[order].tobytes())
        except OSError as error:
            raise UsageError(
                f"{tempfile.gettempdir()}: cannot hold what is known of each row ({error.strerror}); set "
                "TMPDIR to a directory with more room."
            ) from error
        self._blocks.append((starts + self._written).tolist())
        self._written += len(records)
        self.pending = array("q")

    def groups(self) -> Iterator[np.ndarray]:
        """Every record, in arrays of shape (n, width), each of which has all that share a hash."""
        import numpy as np

        last = self._records(self.pending)
        if self._file is None:
            yield last
            return
        group = _group_of(last)
        for number in range(GROUPS):
            pieces = [self._read(block[number], block[number + 1]) for block in self._blocks]
            yield np.concatenate([*pieces, last[group == number]])

    def close(self) -> None:
        """Gives the file back."""
        if self._file is not None:
            self._file.close()

    def _read(self, start: int, stop: int) -> np.ndarray:
        assert self._file is not None
        size = self._width * 8
        self._file.seek(start * size)
        return self._records(self._file.read((stop - start) * size))

    def _records(self, data: array[int] | bytes) -> np.ndarray:
        import numpy as np

        return (
            np.frombuffer(data, dtype=np.int64).reshape(-1, self._width)
            if data
            else np.zeros((0, self._width), dtype=np.int64)
        )


def _group_of(records: np.ndarray) -> np.ndarray:
    """The group of each record, by some bits of its hash."""
    found: np.ndarray = records[:, 0] & (GROUPS - 1)
    return found

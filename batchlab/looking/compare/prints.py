"""A fingerprint of each answer of a run: whether two are the same is known without keeping them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from batchlab.arrow import pa
from batchlab.errors import BatchlabError
from batchlab.looking.browse.index import Piece, RowIndex
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.result_columns import VECTOR_COLUMNS

_ANSWER = Wanted((), ("completion", "refusal", "tool_calls", "error_class", *VECTOR_COLUMNS))


class Prints:
    """Fingerprints of one run's answers, 9 bytes a row, made piece by piece.

    Attributes:
        values: of each row; 0 before it is known.
        known: whether it is.
        problems: what cannot be read, a line each.
    """

    def __init__(self, index: RowIndex) -> None:
        self.index = index
        self.values = np.zeros(index.rows, np.int64)
        self.known = np.zeros(index.rows, np.bool_)
        self.problems: list[str] = []
        self._reader = RowReader(index.run, index)
        self._versions: dict[int, int] = {}  # of the shards that were read
        self._left: Iterator[Piece] = iter(())

    def begin(self) -> None:
        """Forgets what has changed since, and goes through what is not known from its beginning."""
        for shard in self.index.run.manifest.plan.shards:
            version = self.index.version_of(shard)
            if self._versions.get(shard.index, version) != version:
                self.known[shard.first_row : shard.first_row + shard.rows] = False
            self._versions[shard.index] = version
        self._left = (
            piece for piece in self.index.pieces() if not self.known[piece.first_row : piece.stop].all()
        )

    def advance(self, until: float) -> bool:
        """Reads on until that time of the monotonic clock; whether all is known."""
        while time.monotonic() < until:
            piece = next(self._left, None)
            if piece is None:
                return True
            self._read(piece)
        return False

    def _read(self, piece: Piece) -> None:
        rows = slice(piece.first_row, piece.stop)
        try:
            for found in self._reader.rows(piece, _ANSWER):
                columns = [_hashable(found.results[name]) for name in found.results.column_names]
                self.values[list(found.ids)] = [hash(values) for values in zip(*columns, strict=True)]
        except BatchlabError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
        self.known[rows] = True


def _hashable(column: pa.ChunkedArray) -> list[object]:
    values: list[object] = column.to_pylist()
    return [repr(one) for one in values] if pa.types.is_nested(column.type) else values

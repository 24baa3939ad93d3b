"""Parquet: a file, or several in name order."""

from __future__ import annotations

from collections.abc import Iterator

from batchlab.arrow import pa, pq
from batchlab.inputs.sources.arrow_files.batches import ArrowSource, damage, rows_for_bytes
from batchlab.inputs.sources.source import InputFile
from batchlab.remote.storage import RemoteFile

BUFFER_BYTES = 256 * 1024
ENCRYPTED = b"PARE"


class ParquetSource(ArrowSource):
    """Rows of one or more Parquet files."""

    def _schema_of(self, path: InputFile) -> pa.Schema:
        with self._open(path) as file, damage(path, "damaged Parquet file"):
            return file.schema_arrow

    def _count(self, path: InputFile) -> int:
        with self._open(path) as file:
            return int(file.metadata.num_rows)

    def _open(self, path: InputFile) -> pq.ParquetFile:
        with damage(path, "not a Parquet file"):
            return pq.ParquetFile(path.open_random() if isinstance(path, RemoteFile) else path)

    def _open_for_rows(self, path: InputFile) -> pq.ParquetFile:
        """The file, of which no more is held than is read at a time.

        Arrow's usual way reads all row groups ahead: 400 MB of images took 1,000 MB of memory, and 20 million
        tiny rows as much as their file.
        """
        file = self._open(path)
        if isinstance(path, RemoteFile):
            return file
        with file, damage(path, "not a Parquet file"):
            return pq.ParquetFile(path, metadata=file.metadata, pre_buffer=False, buffer_size=BUFFER_BYTES)

    def _read(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        """Record batches from row `skip` of a file; row groups before it are not read."""
        with self._open_for_rows(path) as file, damage(path, "damaged Parquet file"):
            groups = list(range(file.metadata.num_row_groups))
            while groups and skip >= file.metadata.row_group(groups[0]).num_rows:
                skip -= file.metadata.row_group(groups.pop(0)).num_rows
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), row_groups=groups):
                if skip < batch.num_rows:
                    yield batch.slice(skip)
                skip = max(0, skip - batch.num_rows)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    return rows_for_bytes(metadata.num_rows, size)

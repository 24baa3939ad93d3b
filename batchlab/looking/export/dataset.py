"""Rows as a Hugging Face data set: a directory that `datasets.load_dataset` and the Hub read.

`data/train-00000-of-00002.parquet`, …, and a README.md whose YAML names them.
"""

from __future__ import annotations

from pathlib import Path

from batchlab.arrow import pa, pq
from batchlab.errors import UsageError
from batchlab.looking.export.staging import StagedDirectory

SHARD_BYTES = 256 << 20  # of zstd; the Hub's own uploads are cut at 500 MB before compression

CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
Prompts and completions of a batchlab run, a row per input row, in input order.
"""


class DatasetDirectory:
    """A data set directory with one split, `train`.

    A fixed-size binary column becomes a plain one: `datasets` has no type for the former.

    Args:
        shard_bytes: size at which the next file begins.

    Raises:
        UsageError: `path` holds something that is not an earlier export.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, shard_bytes: int = SHARD_BYTES) -> None:
        refuse_foreign(path)
        self._schema = pa.schema([_plain_binary(field) for field in schema], metadata=schema.metadata)
        self._staged = StagedDirectory(path)
        self._data = self._staged.tmp / "data"
        self._data.mkdir()
        self._shard_bytes = shard_bytes
        self._files: list[Path] = []
        self._next_file()

    def write(self, table: pa.Table) -> None:
        """See `export.Writer.write`."""
        if self._sink.tell() >= self._shard_bytes:
            self._close_file()
            self._next_file()
        self._writer.write_table(table.cast(self._schema))

    def commit(self) -> None:
        """See `export.Writer.commit`."""
        self._close_file()
        for number, path in enumerate(self._files):
            path.rename(path.with_name(f"train-{number:05}-of-{len(self._files):05}.parquet"))
        (self._staged.tmp / "README.md").write_text(CARD, encoding="utf-8")
        self._staged.commit()

    def discard(self) -> None:
        """See `export.Writer.discard`."""
        self._close_file()
        self._staged.discard()

    def _next_file(self) -> None:
        self._files.append(self._data / f"{len(self._files):05}")
        self._sink = self._files[-1].open("wb")
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")

    def _close_file(self) -> None:
        self._writer.close()
        self._sink.close()


def refuse_foreign(path: Path) -> None:
    """Raises UsageError when there is something at `path` that an export must not replace."""
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError(f"{path}: is a file; a data set is a directory.")
    found = {entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()}
    ours = {name for name in found if name.startswith("data/train-") and name.endswith(".parquet")}
    card = path / "README.md"
    same_card = card.is_file() and card.read_bytes() == CARD.encode()
    if found and (found - ours != {"README.md"} or not same_card):
        raise UsageError(
            f"{path}: holds files that are not an earlier export's. Name a new directory, or empty this one."
        )


def _plain_binary(field: pa.Field) -> pa.Field:
    return field.with_type(pa.binary()) if pa.types.is_fixed_size_binary(field.type) else field

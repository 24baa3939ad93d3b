"""Rows as a Hugging Face data set: a directory that `datasets.load_dataset` and the Hub read.

`data/train-00000-of-00002.parquet`, …, and a README.md whose YAML names them.
"""

from __future__ import annotations

from pathlib import Path

from batchlab.arrow import pa, pq
from batchlab.errors import UsageError
from batchlab.inputs.sources.arrow_files.recast import recast
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

    Columns of types that `datasets` does not have become what holds the same: a map a list of its keys and
    values, a UUID text, small decimals larger ones, bytes of a fixed size bytes.

    Args:
        shard_bytes: size at which the next file begins.

    Raises:
        UsageError: `path` holds something that is not an earlier export.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, shard_bytes: int = SHARD_BYTES) -> None:
        refuse_foreign(path)
        fields = [field.with_type(_loadable(field.type)) for field in schema]
        self._schema = pa.schema(fields, metadata=schema.metadata)
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
        columns = [
            _as_loadable(column, field.type)
            for column, field in zip(table.columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

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


def _loadable(kind: pa.DataType) -> pa.DataType:
    """The type that `datasets` has for values of `kind`; see its `generate_from_arrow_type`."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        name = str(kind.extension_name)
        if name == "arrow.json":
            return kind
        return pa.string() if name == "arrow.uuid" else _loadable(kind.storage_type)
    if types.is_dictionary(kind):
        return _loadable(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_loadable(field.type)) for field in kind])
    if types.is_map(kind):
        pair = [("key", _loadable(kind.key_type)), ("value", _loadable(kind.item_type))]
        return pa.list_(pa.struct(pair))
    if types.is_fixed_size_list(kind):
        return pa.list_(_loadable(kind.value_type), kind.list_size)
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(_loadable(kind.value_type))
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(_loadable(kind.value_type))
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_string_view(kind):  # a map's are now a struct's
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    return pa.binary() if types.is_fixed_size_binary(kind) else kind


def _as_loadable(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.type.equals(wanted):
        return column
    if isinstance(column.type, pa.BaseExtensionType):
        if pa.types.is_string(wanted):
            texts = [None if value is None else str(value) for value in column.to_pylist()]
            return pa.chunked_array([texts], type=wanted)
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)
    return pa.chunked_array([recast(chunk, wanted) for chunk in column.chunks], type=wanted)

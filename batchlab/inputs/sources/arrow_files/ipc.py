"""Arrow's own files: `.arrow`, `.feather`, streams, and the folders of Hugging Face's `save_to_disk`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import InputError
from batchlab.inputs.sources.arrow_files.batches import BATCH_ROWS, ArrowSource, damage
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.source import InputFile, file_size
from batchlab.remote.storage import RemoteFile

FILE_MAGIC = b"ARROW1"
STREAM_MAGIC = b"\xff\xff\xff\xff"
STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class IpcSource(ArrowSource):
    """Rows of one or more Arrow files or streams."""

    storable = False

    def _schema_of(self, path: InputFile) -> pa.Schema:
        with damage(path, "damaged Arrow file"), self._opened(path) as file:
            return file.schema

    def _count(self, path: InputFile) -> int:
        return sum(batch.num_rows for batch in self._all(path))

    def _read(self, path: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        """Record batches from row `skip` of a file, a few rows at a time."""
        for batch in self._all(path):
            if skip < batch.num_rows:
                for start in range(skip, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)
            skip = max(0, skip - batch.num_rows)

    def _all(self, path: InputFile) -> Iterator[pa.RecordBatch]:
        with damage(path, "damaged or cut-off Arrow file"), self._opened(path) as file:
            if isinstance(file, pa.RecordBatchFileReader):
                for index in range(file.num_record_batches):
                    yield file.get_batch(index)
            else:
                yield from file

    def _opened(self, path: InputFile) -> Any:
        opened = path.open_random() if isinstance(path, RemoteFile) else pa.memory_map(str(path))
        opened = opened if not isinstance(path, RemoteFile) else pa.PythonFile(opened, "r")
        is_file = opened.read(len(FILE_MAGIC)) == FILE_MAGIC
        if not is_file:
            opened.seek(max(0, file_size(path) - 8))
            if opened.read(8) != STREAM_END:
                raise InputError(
                    str(path), "cut-off Arrow stream: it has no end", "Copy or download it again."
                )
        opened.seek(0)
        return pa.ipc.open_file(opened) if is_file else pa.ipc.open_stream(opened)


def saved_dataset(path: str) -> list[DataFile] | None:
    """The files of a folder that `datasets` saved; None where it is no such folder.

    Raises:
        InputError: it has several splits, or rows that were only selected.
    """
    root = Path(path)
    if (root / "dataset_dict.json").is_file():
        splits = _json(root / "dataset_dict.json").get("splits") or []
        if len(splits) == 1:
            return saved_dataset(str(root / splits[0]))
        raise InputError(
            path,
            f"is a data set with the splits {', '.join(splits)}",
            f"Name one: {path.rstrip('/')}/{splits[0] if splits else 'train'}.",
        )
    state = root / "state.json"
    if not state.is_file() or not (root / "dataset_info.json").is_file():
        return None
    found = _json(state)
    if found.get("_indices_data_files"):
        raise InputError(
            path, "is a data set of selected rows", "Save it again after data_set.flatten_indices()."
        )
    names = [str(one["filename"]) for one in found.get("_data_files") or []]
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise InputError(path, f"its file {missing[0]} is not there", "Copy or download the folder again.")
    return [DataFile(root / name) for name in names]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read ({error})") from error
    return found if isinstance(found, dict) else {}

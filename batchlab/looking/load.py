"""The rows of a run as a pandas frame."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from batchlab.arrow import pa, pq
from batchlab.inputs.sources.frames import index_columns
from batchlab.job import MEMORY
from batchlab.looking.labels.placed import labelled
from batchlab.looking.labels.store import Labels
from batchlab.looking.opening import input_of, open_run
from batchlab.looking.rows.tables import run_tables
from batchlab.store.view import RunView


def load_run(path: str | Path) -> Any:
    """The rows of a run as a pandas DataFrame, sealed and open shards alike.

    Columns keep Arrow types (`dtype_backend="pyarrow"`): a missing token count stays missing
    and whole numbers stay whole. The run of a frame has the frame's index. An embedding is a NumPy
    array of float32. Labels, if somebody has given any, are in `label` and `label_note` (`looking.labels`).
    `frame.attrs["batchlab"]` says what the run has used so far.
    """
    import pandas as pd

    run = open_run(path)
    manifest = run.manifest
    tables = list(labelled(run, run_tables(run, cache(lambda: input_of(run))), Labels(run).all()))
    table = pa.concat_tables(tables).unify_dictionaries()
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    for name in manifest.vectors:
        column = manifest.prefix + name
        frame[column] = table.column(column).to_pandas()
    levels, names = _index_of(run)
    frame = frame.set_index(levels).rename_axis(index=names) if levels else frame
    facts = {"run_dir": str(path), "input_rows": manifest.plan.rows, "totals": run.totals().stated()}
    frame.attrs["batchlab"] = facts
    return frame


def _index_of(run: RunView) -> tuple[list[str], list[str | None]]:
    """Columns that were the index of the frame a run was started with, and their names."""
    path = run.manifest.job.input.path
    file = run.path / path.removeprefix(MEMORY)
    if not path.startswith(MEMORY) or file.suffix != ".parquet":
        return [], []
    return index_columns(pq.read_schema(file))

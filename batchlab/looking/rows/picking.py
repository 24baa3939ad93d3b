"""Some rows and some columns of a run's tables, for an export of less than all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchlab.arrow import pa
from batchlab.looking.rows.conditions import column_named, status_mask


def picked(
    tables: Iterator[pa.Table], *, statuses: frozenset[str], columns: Sequence[str], prefix: str
) -> Iterator[pa.Table]:
    """The rows that have one of the states, and the columns that are named, in that order; all where none is.

    As many tables as there were, so that each run has at least one. Raises UsageError for an unknown column.
    """
    for table in tables:
        if statuses:
            table = table.filter(status_mask(table, prefix + "status", statuses))
        if columns:
            names = [column_named(name, table.column_names, prefix, where="columns") for name in columns]
            # what the schema says of a frame's index or features may be of columns that are left out
            table = table.select(list(dict.fromkeys(names))).replace_schema_metadata(None)
        yield table

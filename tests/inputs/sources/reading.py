"""Reading a whole input, for tests."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from batchlab.errors import InputError
from batchlab.inputs.sources.opening import open_source
from batchlab.inputs.sources.records import FaultyRow
from batchlab.inputs.sources.source import InputPlan
from batchlab.records import Row


def read(path, shard_rows=3, **options):
    """(plan, whole table, all rows, notes) of an input, whose plan has been through run.json."""
    source = open_source(str(path), **options)
    plan = source.scan(shard_rows, check=lambda row_id, values, number: None)
    plan = InputPlan.from_json(json.loads(json.dumps(plan.to_json())))
    again = open_source(str(path), **options)
    assert again.unchanged(plan, racy_ok=True)
    tables = [again.table(shard, plan) for shard in plan.shards]
    rows = [row for shard in plan.shards for row in again.rows(shard, plan)]
    for shard in reversed(plan.shards):  # and each without the ones before
        fresh = open_source(str(path), **options)
        assert [_stored(row) for row in fresh.rows(shard, plan)] == [
            _stored(row) for row in rows[shard.first_row : shard.first_row + shard.rows]
        ]
        fresh.close()
    again.close()
    assert [row.row_id for row in rows] == list(range(plan.rows))
    return plan, pa.concat_tables(tables) if tables else None, rows, source.notes


def _stored(row: Row) -> dict:
    return dict(row.values.stored if isinstance(row.values, FaultyRow) else row.values)


def refused(path, **options) -> str:
    """The one line with which an input is refused."""
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)

"""The lane batch at each service: rows in, rows out, and books that are the ledger's."""

from __future__ import annotations

import pytest

from batchlab.protocol.batches.table import DIALECTS


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_row_is_answered_by_batches_and_paid_at_their_price(lane, rows_file, dialect):
    at = lane(dialect)

    done = at.run(rows_file(25), "--shard-rows", "10", "--max-tokens", "4000")

    assert done.code == 0, done.err
    found = at.columns("status", "lane", "endpoint", "completion", "attempts", "cost_usd")
    assert found["status"] == ["ok"] * 25
    assert set(found["lane"]) == {"batch"}
    assert set(found["attempts"]) == {1}
    assert all(found["completion"])
    assert all(found["cost_usd"])
    assert sorted(one["total"] for one in at.server.batches()["batches"]) == [5, 10, 10]
    at.check(answered=25)

"""The short form of `python -m tests.proofs.crash.power_loss`, and proof that it would find a mistake."""

from __future__ import annotations

import pytest

from batchlab.store.disk import fence, files
from batchlab.store.journals import of_shard as journals
from tests.proofs.crash.power_loss import explore


def test_p1_p4_p6_no_state_that_a_power_loss_leaves_breaks_a_promise():
    found = explore(1_500, first_seed=20261124)

    assert found.problems == []
    assert found.finished > 25


def without_fsync(tmp, final):
    tmp.rename(final)
    files.fsync_dir(final.parent)


@pytest.mark.parametrize(
    ("module_names", "name", "mistake"),
    [
        ([files.AppendFile], "sync", lambda _: None),
        ([files, journals], "fsync_dir", lambda _: None),
        ([files, fence], "publish", without_fsync),
    ],
    ids=["no fdatasync", "no fsync of directories", "a part is renamed before it is synced"],
)
def test_a_store_with_a_mistake_is_found_out(monkeypatch, module_names, name, mistake):
    for module in module_names:
        monkeypatch.setattr(module, name, mistake)

    assert explore(600).problems

"""Whether a batch that a service lists is one of ours: by its label, its file of lines, or its results."""

from __future__ import annotations

from pathlib import Path

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.batch_calls import GONE
from batchlab.engines.batch_api.answers.downloads import download
from batchlab.engines.batch_api.answers.results import has_one_of
from batchlab.engines.batch_api.lane import BatchLane
from batchlab.protocol.batches.dialect import BatchState
from batchlab.store.batch_log import BatchLog
from batchlab.store.batches import Batch
from batchlab.store.disk.files import disk_errors

LABEL = "batchlab"  # under which a batch's key is, at a service that keeps labels


def bears(batch: Batch, state: BatchState) -> bool:
    """Whether a listed batch bears our label, or was made of our file of lines."""
    if state.labels.get(LABEL) == batch.key:
        return True
    return batch.file is not None and state.lines_file == batch.file


class Marks:
    """Tells batches of one lane apart that bear no mark of ours.

    Args:
        scratch: a folder for what is looked into.
    """

    def __init__(self, lane: BatchLane, log: BatchLog, scratch: Path) -> None:
        self._lane = lane
        self._log = log
        self._scratch = scratch

    def may_be(self, batch: Batch, state: BatchState) -> bool:
        """Whether a listed batch, which nothing names ours, may be so all the same."""
        if state.lines_file is not None and batch.file is not None:
            return False
        if self._lane.dialect.keeps_labels and LABEL in state.labels:
            return False  # another one of ours
        if state.id in self._log.all.ids():
            return False
        return state.total in (None, 0, batch.lines)  # 0 until its lines have been counted

    async def has_lines_of(self, batch: Batch, state: BatchState) -> bool | None:
        """Whether a batch that has ended has our custom_ids; None when it has no results at all."""
        result, named = self._lane.dialect.result, False
        for one in state.inline or ():
            if batch.row_of(custom_id := result(one).custom_id) is not None:
                return True
            named |= bool(custom_id)
        path = self._scratch / f"{batch.key}.look"
        try:
            for file in state.files:
                with disk_errors(path):
                    await download(self._lane.service, file, path)
                    found = has_one_of(batch, self._lane.dialect, path)
                if found:
                    return True
                named |= found is False
        except ApiError as error:
            if error.outcome.code not in GONE:
                raise
        finally:
            path.unlink(missing_ok=True)
        return False if named else None

"""Answers set aside, to be found by the request they answer; and the copy that another row gets.

Nothing is paid for a copy: it says nothing of tokens, because none were used for its row, and costs
0. That is how a part tells it from an answer whose provider reported no usage (its cost is null).
What the answer itself had used stays in `usage_raw`.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from batchlab.records import ChatRequest, Completion, Usage
from batchlab.store.journals.journal import decode, result_of, result_record
from batchlab.store.layout import Layout


class Answers:
    """Answers by request hash, the first one to each, in a file that ends with the context.

    On disk, because they may be as many as the data set has rows. The file is `journal/answers.tmp`
    of a run: whoever locks the run next removes what a crash leaves of it.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = Layout(run_dir).copied_answers
        self._path.unlink(missing_ok=True)
        self._found = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._found.execute("PRAGMA journal_mode=OFF")
        self._found.execute("PRAGMA synchronous=OFF")
        self._found.execute("CREATE TABLE answer (hash BLOB PRIMARY KEY, origin INTEGER, record BLOB)")
        self._found.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._found.close()
        self._path.unlink(missing_ok=True)

    def add(self, answers: Iterable[Completion], *, origin: int = 0) -> None:
        """Sets answers aside; one to a request that has one is left out."""
        self._found.executemany(
            "INSERT OR IGNORE INTO answer VALUES (?, ?, ?)",
            ((answer.request_hash, origin, result_record(answer)) for answer in answers),
        )

    def find(self, request_hash: bytes) -> tuple[Completion, int] | None:
        """The answer to a request, and the origin it was added with; None when there is none."""
        row = self._found.execute(
            "SELECT record, origin FROM answer WHERE hash = ?", (request_hash,)
        ).fetchone()
        data = decode(row[0]) if row is not None else None
        result = result_of(data) if data is not None else None
        return (result, row[1]) if isinstance(result, Completion) else None


def copied(answer: Completion, request: ChatRequest) -> Completion:
    """The answer as that of another row with the same request, for which nothing was sent."""
    assert answer.request_hash == request.request_hash, "answers to different requests never mix"
    now = time.time()
    return dataclasses.replace(
        answer,
        row_id=request.row_id,
        custom_id=request.custom_id,
        reply=dataclasses.replace(answer.reply, usage=Usage(raw=answer.reply.usage.raw)),
        attempts=0,
        cut_off=0,
        timing=dataclasses.replace(answer.timing, started_at=now, finished_at=now, queue_ms=0.0),
        wasted_prompt_tokens=None,
        wasted_completion_tokens=None,
        cost_usd=0.0,
        cost_wasted_usd=None,
        parsed=None if answer.parsed is None else dataclasses.replace(answer.parsed, corrections=0),
    )

"""How a row is asked in a batch: as it would be live, with what a retry or a correction turn changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchlab.dispatch.correction import Correction
from batchlab.dispatch.longer import with_max_tokens
from batchlab.inputs.requests import RequestBuilder
from batchlab.records import ChatRequest, Row
from batchlab.store.shard import OpenShard


@dataclass(frozen=True, slots=True)
class Asking:
    """Makes the requests of a run: the same when a line is packed and when its result comes.

    Attributes:
        correction: of answers that do not fit the schema, if there is one.
        max_tokens: of rows that a retry asks again, in the place of their own; `owed` has it of those that an
            earlier one has ordered.
    """

    builder: RequestBuilder
    correction: Correction | None = None
    max_tokens: int | None = None
    owed: Mapping[int, int | None] = field(default_factory=dict)

    def request(self, row: Row, opened: OpenShard) -> ChatRequest:
        """What is asked for a row of an open shard. Raises RowProblem."""
        request = self.builder.build(row)
        kept = opened.kept(row.row_id)
        if kept is not None and self.correction is not None and self.correction.wants_turn(kept):
            return self.correction.next_turn(request, kept)
        if opened.asks_again(row.row_id) and (cap := self.cap(row.row_id)) is not None:
            return with_max_tokens(request, cap)
        return request

    def cap(self, row_id: int) -> int | None:
        """The max_tokens of a row that is asked again; None for its own."""
        return self.owed.get(row_id, self.max_tokens)


def asked_before(opened: OpenShard, row_id: int) -> int:
    """How often a row has been asked, that for the answer which it has kept among them."""
    kept = opened.kept(row_id)
    return opened.attempts(row_id) + (kept.attempts if kept is not None else 0)

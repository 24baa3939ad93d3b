"""Labelling the rows of a run that somebody looks at: said, taken back, and what they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from batchlab.counts import counted
from batchlab.errors import UsageError
from batchlab.looking.browse.columns import UNREADABLE
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.looking.labels.label import PASS, Answer, Key, Label
from batchlab.looking.labels.placed import Moved, Placed, labels_by_row, now_of
from batchlab.looking.labels.sample import sample
from batchlab.looking.labels.share import Share, share_of, shares_by
from batchlab.looking.labels.store import AS_IS, Kept, Labels, Said, overtaken
from batchlab.store.view import RunView

_READ = Wanted((), ("custom_id", "request_hash"))
_UNANSWERED = ("pending", UNREADABLE, "failed")


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a row now; `undo` takes back that it is."""

    row: int
    label: str | None
    note: str | None
    undo: str

    def json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the labels of a run come to.

    Attributes:
        names: those of the keys from 1 on.
        counts: rows by label; labels of earlier answers do not count, and are `earlier`.
        label: whose `share` this is: `pass`, or the first name where none is called so.
        by: the share for each value of the column that was asked for.
    """

    names: tuple[str, ...]
    counts: Mapping[str, int]
    earlier: int
    label: str
    share: Share | None
    by: Sequence[tuple[str, Share]] = ()

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "names": list(self.names),
            "counts": dict(self.counts),
            "earlier": self.earlier,
            "label": self.label,
            "share": None if self.share is None else self.share.json(),
            "by": [{"value": value, **one.json()} for value, one in self.by],
        }


class Review:
    """The labels of one run, for those who look at its rows."""

    def __init__(self, run: RunView) -> None:
        self.labels = Labels(run)
        self._placed: tuple[Mapping[Key, Label], RowIndex, int, dict[int, Placed]] | None = None
        self._moved = Moved({}, 0)

    def by_row(self, index: RowIndex) -> Mapping[int, Placed]:
        """What is said of each row. Raises UsageError when the labels cannot be read."""
        labels, version = self.labels.all(), index.version
        known = self._placed
        if known is None or known[0] is not labels or known[1] is not index or known[2] != version:
            if known is None or known[0] is not labels or known[1] is not index:
                self._moved = Moved(labels, index.run.manifest.generation)
            known = self._placed = labels, index, version, labels_by_row(index, labels, self._moved)
        return known[3]

    def of_rows(self, index: RowIndex) -> dict[int, tuple[str | None, str | None]]:
        """Label and note of each row; none when they cannot be read: `problem` says why."""
        try:
            return {row: (one.label, one.note) for row, one in self.by_row(index).items()}
        except UsageError:
            return {}

    def problem(self) -> str:
        """Why labels cannot be read; "" when they can."""
        try:
            self.labels.all()
        except UsageError as error:
            return str(error)
        return ""

    def say(
        self,
        index: RowIndex,
        row: int,
        label: str | Kept | None = AS_IS,
        note: str | Kept | None = AS_IS,
        *,
        seen: Mapping[str, str | None] | None = None,
    ) -> Told:
        """Says what a row's answer is; nothing, where both are None.

        Args:
            seen: the `label` and the `note` that the person had before his eyes, as far as his are to count
                only while they are these.

        Raises:
            UsageError: it has no answer yet, that is no label, or another was faster.
        """
        before = self.by_row(index).get(row)
        shown = dict(seen or {})
        moved: Said = (None, None)
        if before is not None and before.is_earlier:
            # what was shown of the earlier answer is no note on this one
            note = None if note == before.note else note
            shown = {name: None if one == before.note else one for name, one in shown.items()}
        elif before is not None:
            moved = before.label, before.note
        custom_id, answer = answer_at(index, row)

        def may(now: Said) -> None:
            for name, said in zip(("label", "note"), now, strict=True):
                if name in shown and (shown[name] or None) != said:
                    raise overtaken(row, said)

        change = self.labels.say(row, answer, label, note, custom_id=custom_id, moved=moved, may=may)
        now = self.by_row(index).get(row, Placed(None, None))
        return Told(row, now.label, now.note, change.token)

    def undo(self, index: RowIndex, token: str) -> Told:
        """Takes back what was said. Raises UsageError when another has said something since."""
        change = self.labels.undo(token)
        now = self.by_row(index).get(change.key[0], Placed(None, None))
        return Told(change.key[0], now.label, now.note, change.token)

    def standing(self, index: RowIndex, by: str | None = None) -> Standing:
        """What has been said so far. Raises UsageError when it cannot be read."""
        said, names = self.by_row(index), self.labels.names()
        counts = Counter(one.label for one in said.values() if one.label is not None)
        label = PASS if PASS in names or PASS in counts else names[0]
        return Standing(
            names,
            dict(counts.most_common()),
            sum(one.is_earlier for one in said.values()),
            label,
            share_of((one.label for one in said.values()), label),
            shares_by(index, said, by, label) if by else (),
        )


def answer_at(index: RowIndex, row: int) -> tuple[str, Answer]:
    """A row's custom_id, and which answer it has. Raises UsageError when it has none, or cannot be read."""
    if not 0 <= row < index.rows:
        raise UsageError(f"row {row}: the run has {counted(index.rows, 'row')}.")
    index.look_at([row])
    status = index.word("status", row)
    if status in ("pending", UNREADABLE):
        raise UsageError(f"row {row}: {'has no answer yet' if status == 'pending' else 'cannot be read'}.")
    at, attempts = now_of(index, row)
    custom_id, hashed = str(row), None
    for found in RowReader(index.run, index).rows(index.piece_of(row), _READ, [row]):
        custom_id = str(found.result("custom_id", 0) or row)
        hashed = found.result("request_hash", 0)
    return custom_id, Answer(at, attempts, hashed)


def rows_to_review(index: RowIndex, rows: Sequence[int], count: int, seed: int) -> list[int]:
    """A random sample of those of some rows that have an answer, in order; of failed ones if none has."""
    ids = np.asarray(rows, np.int64)
    answered = ~np.isin(index["status"][ids], index.codes("status", list(_UNANSWERED)))
    if not answered.any():
        answered = np.isin(index["status"][ids], index.codes("status", ["failed"]))
    return sample(ids[answered], count, seed)

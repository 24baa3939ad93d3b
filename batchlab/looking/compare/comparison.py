"""Two runs compared: sums of both over the rows they share, pairs that differ, and which answer is better."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from batchlab.errors import UsageError
from batchlab.looking.browse.columns import UNREADABLE
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.compare.halves import Half, Halves
from batchlab.looking.compare.matching import Matched, Rows, matched
from batchlab.looking.compare.prints import Prints
from batchlab.looking.labels.label import Answer, Label
from batchlab.looking.labels.placed import now_of
from batchlab.looking.labels.review import Review, answer_at
from batchlab.looking.labels.share import Share, share
from batchlab.looking.labels.store import overtaken
from batchlab.store.view import RunView

SCAN_S = 1.0  # how long a question may take while there is more to read
MOST_PAIRS = 200  # of a page
BETTER, WORSE, SAME = "better", "worse", "same"  # of the answer of the run that holds the label
_NO_ANSWER = ("pending", UNREADABLE)
_MEASURED = ("prompt_tokens", "completion_tokens")

Mask = npt.NDArray[np.bool_]
Choice: TypeAlias = Literal["a", "b", "same"]
_CHOICES: Mapping[Choice, tuple[str, str]] = {
    "a": (BETTER, WORSE),
    "b": (WORSE, BETTER),
    "same": (SAME, SAME),
}


@dataclass(frozen=True, slots=True)
class Side:
    """One run over the rows that both have; a sum of what nobody knows is None.

    Attributes:
        ok: rows with an answer of the status ok.
    """

    model: str
    rows: int
    ok: int
    cost_usd: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    p50_ms: float | None
    p90_ms: float | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same.

    Attributes:
        choice: which is better, if somebody has said so.
    """

    a: Half
    b: Half
    is_same: bool
    choice: Choice | None

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "row": self.a.row,
            "row_b": self.b.row,
            "custom_id": self.a.custom_id,
            "asked": self.a.asked if self.a.asked is not None else self.b.asked,
            "same": self.is_same,
            "choice": self.choice,
            "a": self.a.json(),
            "b": self.b.json(),
        }


@dataclass(frozen=True, slots=True)
class Preferred:
    """What the decisions come to.

    Attributes:
        share: of the second among the decisions for one of the two.
    """

    choices: Mapping[Choice, int]
    share: Share | None

    @classmethod
    def of(cls, chosen: Mapping[int, Choice]) -> Preferred:
        """Of the choices by row."""
        counts = Counter(chosen.values())
        return cls(counts, share(counts["b"], counts["a"] + counts["b"]))

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "choices": {name: self.choices.get(name, 0) for name in _CHOICES},
            "share": None if self.share is None else self.share.json(),
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """A page of pairs, and what is known of all.

    Attributes:
        total: pairs with a final result on both sides.
        searched: those of them that were compared so far, of which `different` differ.
        matched: pairs that are meant: all, or those that differ.
    """

    matching: Matched
    a: Side
    b: Side
    total: int
    searched: int
    different: int
    matched: int
    is_done: bool
    offset: int
    pairs: Sequence[Pair]
    preferred: Preferred
    problems: Sequence[str]

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "a": self.a.json(),
            "b": self.b.json(),
            "joined_by": self.matching.by,
            "only_a": self.matching.only_a,
            "only_b": self.matching.only_b,
            "total": self.total,
            "searched": self.searched,
            "different": self.different,
            "matched": self.matched,
            "done": self.is_done,
            "offset": self.offset,
            "pairs": [one.json() for one in self.pairs],
            **self.preferred.json(),
            "problems": list(self.problems),
        }


class Comparison:
    """Two runs beside each other, asked again and again; each answer reads a little further."""

    def __init__(self, a: RowIndex, b: RowIndex, reviews: tuple[Review, Review]) -> None:
        """Of two runs whose rows are known: matching by id reads the ids of both."""
        self.a, self.b = a, b
        self._reviews = reviews
        self._prints = Prints(a), Prints(b)
        self._halves = Halves(a), Halves(b)
        self._matched = matched(a, b)
        # of the pairs by the rows of the second run, which ids may have brought out of order
        self._order_b = None if self._matched.by == "row" else np.argsort(self._matched.b, kind="stable")
        self._versions: tuple[int, int] | None = None
        self._is_done = False

    def page(self, *, different: bool, offset: int, limit: int, seconds: float = SCAN_S) -> Compared:
        """A page of all pairs, or of those that differ, as far as that is known."""
        self._advance(seconds)
        pairs = self._matched
        is_final = _final(self.a, pairs.a) & _final(self.b, pairs.b)
        a, b = (prints.known[rows] for prints, rows in zip(self._prints, (pairs.a, pairs.b), strict=True))
        values = [prints.values[rows] for prints, rows in zip(self._prints, (pairs.a, pairs.b), strict=True)]
        known = is_final & a & b
        differs = known & (values[0] != values[1])
        meant = np.flatnonzero(differs if different else is_final)
        shown = meant[offset : offset + min(limit, MOST_PAIRS)]
        chosen = self._choices()
        return Compared(
            matching=pairs,
            a=_side(self.a, pairs.a[is_final]),
            b=_side(self.b, pairs.b[is_final]),
            total=int(is_final.sum()),
            searched=int(known.sum()),
            different=int(differs.sum()),
            matched=len(meant),
            is_done=self._is_done,
            offset=offset,
            pairs=self._pairs(shown, chosen, known, differs),
            preferred=Preferred.of(chosen),
            problems=self._problems(),
        )

    def prefer(self, row: int, choice: str | None, seen: str = "") -> Choice | None:
        """Says which answer of a pair is better, kept with the first run's labels; `row` is the first run's.

        Args:
            seen: what the person takes back, where `choice` is None; "" for whatever it is.

        Raises:
            UsageError: there is no such pair, that is no choice, or another has made a different one.
        """
        word = next((one for one in _CHOICES if one == choice), None)
        if choice is not None and word is None:
            raise UsageError(f"choice {choice!r}: expected a, b, same, or null.")
        place = int(np.searchsorted(self._matched.a, row))
        if place >= len(self._matched.a) or self._matched.a[place] != row:
            raise UsageError(f"row {row}: the two runs do not share it.")
        if choice is None and seen and self._choices().get(row) not in (None, seen):
            raise overtaken(row)
        answers = [answer_at(self.a, row), answer_at(self.b, int(self._matched.b[place]))]
        said = None if word is None else _CHOICES[word][0]
        custom_id, answer = answers[0]
        other = Answer(answers[1][1].at, answers[1][1].attempts)
        against = name_of(self.b.run)
        self._reviews[0].labels.say(
            row, answer, said, None, custom_id=custom_id, against=against, other=other
        )
        if said is None:  # it may have been said where the second run was the first
            known = self._reviews[1].labels.all()
            key = int(self._matched.b[place]), name_of(self.a.run), self.b.run.manifest.generation
            if (theirs := known.get(key)) is not None:
                self._reviews[1].labels.say(
                    theirs.row, theirs.answer, None, None, custom_id=theirs.custom_id, against=theirs.against
                )
        return word

    def preferred(self) -> dict[str, Any]:
        """What all decisions come to by now, for the page."""
        return Preferred.of(self._choices()).json()

    def _advance(self, seconds: float) -> None:
        versions = self.a.version, self.b.version
        if versions != self._versions:
            self._versions, self._is_done = versions, False
            for prints in self._prints:
                prints.begin()
        until = time.monotonic() + seconds
        done = [False, False]
        while time.monotonic() < until and not all(done):  # in turn: early pairs are known early
            step = min(until, time.monotonic() + 0.1)
            done = [is_done or one.advance(step) for is_done, one in zip(done, self._prints, strict=True)]
        self._is_done = self._is_done or all(done)

    def _pairs(
        self, places: npt.NDArray[np.intp], chosen: Mapping[int, Choice], known: Mask, differs: Mask
    ) -> list[Pair]:
        rows_a, rows_b = (rows[places].tolist() for rows in (self._matched.a, self._matched.b))
        halves_a, halves_b = self._halves[0].of(rows_a), self._halves[1].of(rows_b)
        made = []
        for place, row_a, row_b in zip(places.tolist(), rows_a, rows_b, strict=True):
            one, other = halves_a[row_a], halves_b[row_b]
            is_same = not differs[place] if known[place] else _are_same(one, other)
            made.append(Pair(one, other, bool(is_same), chosen.get(row_a)))
        return made

    def _choices(self) -> dict[int, Choice]:
        """What was said last of the answers that the pairs have now, in whichever run it is kept."""
        found: dict[int, tuple[float, Choice]] = {}
        sides = ((self.a, self.b, 0), (self.b, self.a, 1))
        for own, other, side in sides:
            against = name_of(other.run)
            review = self._reviews[side]
            if review.problem():
                continue
            for label in [one for one in review.labels.all().values() if one.against == against]:
                if (place := self._place(label.row, side)) is None:
                    continue
                row_a, row_b = int(self._matched.a[place]), int(self._matched.b[place])
                theirs = row_b if side == 0 else row_a
                word = next((one for one, words in _CHOICES.items() if words[side] == label.label), None)
                if word is None or not _is_of(label, own, label.row, other, theirs):
                    continue
                if row_a not in found or found[row_a][0] <= label.at:
                    found[row_a] = label.at, word
        return {row: word for row, (_, word) in found.items()}

    def _place(self, row: int, side: int) -> int | None:
        """Where the pair of a row is."""
        rows: Rows = (self._matched.a, self._matched.b)[side]
        order = self._order_b if side == 1 else None
        place = int(np.searchsorted(rows, row, sorter=order))
        if place >= len(rows):
            return None
        place = place if order is None else int(order[place])
        return place if rows[place] == row else None

    def _problems(self) -> list[str]:
        said = [self._matched.note] if self._matched.note else []
        for index, prints in zip((self.a, self.b), self._prints, strict=True):
            said += [*index.problems, *prints.problems]
        said += [problem for review in self._reviews if (problem := review.problem())]
        return list(dict.fromkeys(said))


def name_of(run: RunView) -> str:
    """What a run is called in the labels of another: its own random name, or its place if it has none."""
    return run.manifest.run_id or run.place


def _is_of(label: Label, own: RowIndex, row: int, other: RowIndex, theirs: int) -> bool:
    """Whether both answers that a choice is about are still there."""
    if row >= own.rows or label.generation != own.run.manifest.generation:
        return False
    is_other_same = label.other is not None and label.other.is_same(*now_of(other, theirs))
    return is_other_same and label.answer.is_same(*now_of(own, row))


def _final(index: RowIndex, rows: Rows) -> Mask:
    return ~np.isin(index["status"][rows], index.codes("status", list(_NO_ANSWER)))


def _are_same(one: Half, other: Half) -> bool:
    if one.text is None or other.text is None:
        return one.text is other.text and one.error_class == other.error_class
    return (one.text, one.cut) == (other.text, other.cut)


def _side(index: RowIndex, rows: Rows) -> Side:
    """What a run has come to over some of its rows."""
    job = index.run.manifest.job
    latency = index["latency_ms"][rows]
    latency = latency[~np.isnan(latency)]
    p50, p90 = (float(one) for one in np.quantile(latency, [0.5, 0.9])) if len(latency) else (None, None)
    cost, wasted = index["cost_usd"][rows], index["cost_wasted_usd"][rows]
    tokens = {name: index[name][rows] for name in _MEASURED}
    sums = {name: int(one[one >= 0].sum()) if (one >= 0).any() else None for name, one in tokens.items()}
    is_known = not np.isnan(cost).all()
    return Side(
        model=job.request.model,
        rows=len(rows),
        ok=int(np.isin(index["status"][rows], index.codes("status", ["ok"])).sum()),
        cost_usd=float(np.nansum(cost) + np.nansum(wasted)) if is_known else None,
        prompt_tokens=sums["prompt_tokens"],
        completion_tokens=sums["completion_tokens"],
        p50_ms=p50,
        p90_ms=p90,
    )

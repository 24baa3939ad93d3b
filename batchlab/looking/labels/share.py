"""How many of the labelled answers pass, and between which bounds the share of all answers is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.looking.browse.columns import WORDS
from batchlab.looking.browse.index import RowIndex
from batchlab.looking.browse.reader import RowReader, Wanted
from batchlab.looking.labels.label import PASS, UNSURE
from batchlab.looking.labels.placed import Placed

Z95 = 1.959963984540054  # of the normal distribution, for 95 % between the two bounds
MOST_VALUES, VALUE_CHARS = 200, 200


@dataclass(frozen=True, slots=True)
class Share:
    """A share of labelled answers, with the bounds of its 95 % interval.

    They are bounds for all answers if those that were labelled are a random sample.

    Attributes:
        k, n: how many have the label, of how many that were decided on: `unsure` is no decision.
    """

    k: int
    n: int
    p: float
    low: float
    high: float

    def json(self) -> dict[str, Any]:
        """For the page."""
        return asdict(self)


def share(k: int, n: int, z: float = Z95) -> Share | None:
    """The share k of n with Wilson's score interval; None of nothing.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927). It
    keeps its promise at shares near 0 and 1 and for few answers, where the plain one (p ± 2 s) does not.
    """
    if n <= 0:
        return None
    p = k / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if k == 0 else (middle - width) / scale
    high = 1.0 if k == n else (middle + width) / scale
    return Share(k, n, p, low, high)


def share_of(labels: Iterable[str | None], label: str = PASS) -> Share | None:
    """The share of a label among those that were decided on."""
    counts = Counter(one for one in labels if one is not None and one != UNSURE)
    return share(counts[label], counts.total())


def shares_by(
    index: RowIndex, said: Mapping[int, Placed], column: str, label: str = PASS
) -> list[tuple[str, Share]]:
    """The share of a label for each value of a column, the most frequent first.

    Args:
        column: of the input, of the job's schema, or a result column, also by its bare name where the input
            has none of that name.
    """
    labels: dict[str, list[str | None]] = {}
    for row, value in _values(index, [row for row, one in said.items() if one.label is not None], column):
        labels.setdefault(value, []).append(said[row].label)
    shares = ((value, share_of(own, label)) for value, own in labels.items())
    found = [(value, one) for value, one in shares if one is not None]
    return sorted(found, key=lambda one: (-one[1].n, one[0]))[:MOST_VALUES]


def _values(index: RowIndex, rows: list[int], column: str) -> Iterable[tuple[int, str]]:
    """The value of a column in each of some rows; those that cannot be read are left out."""
    manifest = index.run.manifest
    is_input = column in manifest.plan.columns
    name = column if is_input else column.removeprefix(manifest.prefix)
    if name in WORDS and not is_input:
        yield from ((row, index.word(name, row) or "") for row in rows)
        return
    reader, wanted = RowReader(index.run, index), Wanted((column,), () if is_input else (name,))
    for piece, own in index.by_piece(sorted(rows)):
        try:
            for found in reader.rows(piece, wanted, own):
                is_other = column in found.others.column_names
                table, there = (found.others, column) if is_other else (found.results, name)
                if there in table.column_names:
                    values = table[there].to_pylist()
                    yield from zip(found.ids, (_text(value) for value in values), strict=True)
        except BatchlabError:
            continue  # that is told where rows are read


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:VALUE_CHARS]

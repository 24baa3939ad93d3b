"""What the page asks about labels, and has kept: of one run, and of two that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchlab.errors import UsageError
from batchlab.looking.browse.query import RowQuery
from batchlab.looking.labels.label import NAMES
from batchlab.looking.labels.review import rows_to_review
from batchlab.page.opened import Opened

MOST_SAMPLED = 10_000
MOST_SEED = 2**53  # as JavaScript has whole numbers


def labels_of(opened: Opened, by: str | None) -> dict[str, Any]:
    """The names of the keys, and what has been said so far."""
    return opened.review.standing(opened.browser().index, by).json()


def sample_of(opened: Opened, query: RowQuery, count: int, seed: int) -> dict[str, Any]:
    """A random sample of the rows that are meant."""
    if not 0 < count <= MOST_SAMPLED:
        raise UsageError(f"n: expected a number from 1 to {MOST_SAMPLED:,}.")
    browser = opened.browser()
    rows = rows_to_review(browser.index, browser.matching(query), count, seed)
    return {"rows": rows, "n": count, "seed": seed}


def label(opened: Opened, body: Mapping[str, Any]) -> dict[str, Any]:
    """Says what a row's answer is, or takes that back."""
    if "undo" in body:
        return opened.review.undo(opened.browser().index, str(body["undo"])).json()
    row, seen = body.get("row"), body.get("seen") or {}
    if not isinstance(row, int) or isinstance(row, bool):
        raise UsageError("row: expected a number.")
    if not isinstance(seen, dict):
        raise UsageError("seen: expected an object.")
    said = {name: body[name] for name in ("label", "note") if name in body}  # the other stays as it is
    for name, value in (*said.items(), *seen.items()):
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name}: expected a text, or null.")
    whole = {name: value or None for name, value in said.items()}
    return opened.review.say(opened.browser().index, row, **whole, seen=seen).json()


def rename(opened: Opened, body: Mapping[str, Any]) -> dict[str, Any]:
    """Chooses the labels for the keys; without any, those from the start."""
    names = body.get("names")
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise UsageError("names: expected a list of texts.")
    opened.review.labels.rename(names or NAMES)
    return labels_of(opened, None)

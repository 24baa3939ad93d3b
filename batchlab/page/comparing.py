"""What the page asks of two runs side by side, and has kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from batchlab.errors import UsageError
from batchlab.looking.compare.comparison import Comparison
from batchlab.page.opened import Opened, OpenRuns
from batchlab.page.shelf import NoSuchRun
from batchlab.page.threads import in_thread

MOST_KEPT = 2  # comparisons: each has 9 bytes for each row of both runs


class Comparisons:
    """Pairs of runs that somebody looks at. What was read of their answers is kept for the next question.

    Args:
        known: waits until all rows of a run are known.
    """

    def __init__(self, runs: OpenRuns, known: Callable[[Opened], Awaitable[None]]) -> None:
        self._runs = runs
        self._known = known
        self._kept: dict[tuple[str, str], Comparison] = {}
        self._turn = asyncio.Lock()

    async def page(self, a: str, b: str, *, different: bool, offset: int, limit: int) -> dict[str, Any]:
        """A page of pairs."""
        async with self._turn:
            compared = await self._compared(a, b)
            page = await in_thread(
                lambda: compared.page(different=different, offset=offset, limit=limit).json()
            )
        return {**page, "a": {"id": a, **page["a"]}, "b": {"id": b, **page["b"]}}

    async def prefer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Says which answer of a pair is better."""
        a, b, row, choice, seen = (body.get(name) for name in ("a", "b", "row", "choice", "seen"))
        if not isinstance(row, int) or isinstance(row, bool):
            raise UsageError("row: expected a number.")
        if choice is not None and not isinstance(choice, str):
            raise UsageError("choice: expected a, b, same, or null.")
        async with self._turn:
            compared = await self._compared(str(a or ""), str(b or ""))
            made = await in_thread(lambda: compared.prefer(row, choice, str(seen or "")))
            return {"choice": made, **await in_thread(compared.preferred)}

    async def _compared(self, a: str, b: str) -> Comparison:
        if a == b:
            raise UsageError("name two runs to compare.")
        try:
            sides = [await self._runs.get(name) for name in (a, b)]
        except NoSuchRun:
            self._kept.pop((a, b), None)  # one of them was deleted
            raise
        with sides[0].held(), sides[1].held():
            for side in sides:
                await self._known(side)
            first, second = (side.browser().index for side in sides)
        kept = self._kept.pop((a, b), None)
        if kept is None or kept.a is not first or kept.b is not second:
            reviews = sides[0].review, sides[1].review
            kept = await in_thread(lambda: Comparison(first, second, reviews))
        self._kept[a, b] = kept
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return kept

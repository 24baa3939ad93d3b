"""The cost cap: what is spent plus what is in flight never passes it.

Each request reserves the most it may cost before it is sent, and settles what it did cost.
Near the cap a request waits until others have settled and their unused reservations are
free again, so what stays unused at the end is less than one request's worst case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from batchlab.costs.pricing import Price, cost_usd
from batchlab.dispatch.slots import Stopped
from batchlab.errors import RunStopped, UsageError
from batchlab.records import Usage

# A row that sets no max_tokens: its worst case is a guess, twice the longest answer seen.
UNCAPPED_COMPLETION = 4_096
PROMPT_SAFETY = 2  # bytes/4 is low for code and for scripts other than Latin
PROMPT_OVERHEAD = 16  # roles and separators of the chat format


class Reservation:
    """Money set aside for one request.

    Attributes:
        charged_usd: what the attempt counts as; its worst case until it is settled, because a
            request that was cut off may have been billed.
    """

    __slots__ = ("charged_usd", "worst_usd")

    def __init__(self, worst_usd: float) -> None:
        self.worst_usd = worst_usd
        self.charged_usd = worst_usd


class Budget:
    """Spends at most `max_cost_usd`; without a cap it only counts.

    Raises:
        UsageError: a cap on a model whose price nobody states.
    """

    def __init__(self, max_cost_usd: float | None, price: Price | None, *, spent_usd: float = 0.0) -> None:
        if max_cost_usd is not None and price is None:
            raise UsageError(
                "a cost cap needs a price, and this model's is unknown. "
                "Pass --price-in and --price-out (USD per 1M tokens), or leave --max-cost out."
            )
        self._cap = max_cost_usd
        self._price = price
        self.spent_usd = spent_usd
        self._reserved_usd = 0.0
        self._in_flight = 0
        self._longest_completion = 0
        self._stopped = False
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reserved(self, prompt_tokens: int, max_tokens: int | None) -> AsyncIterator[Reservation]:
        """Sets money aside for one request, waiting for others to settle if need be.

        Raises:
            RunStopped: nothing is in flight and the rest does not cover this request.
            Stopped: the run stops for another reason.
        """
        reservation = Reservation(self._worst_usd(prompt_tokens, max_tokens))
        if self._cap is not None:
            await self._until_covered(reservation, self._cap)
        self._reserved_usd += reservation.worst_usd
        self._in_flight += 1
        try:
            yield reservation
        finally:
            self._reserved_usd -= reservation.worst_usd
            self.spent_usd += reservation.charged_usd
            self._in_flight -= 1
            self._changed.set()

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """The attempt was billed for `usage`; without token counts its worst case stays charged."""
        cost = cost_usd(self._price, usage)
        if cost is not None:
            reservation.charged_usd = cost
        self._longest_completion = max(self._longest_completion, usage.completion_tokens or 0)

    def release(self, reservation: Reservation) -> None:
        """The attempt was refused: nothing is billed for it."""
        reservation.charged_usd = 0.0

    def stop(self) -> None:
        """Whoever waits for money gets Stopped."""
        self._stopped = True
        self._changed.set()

    async def _until_covered(self, reservation: Reservation, cap: float) -> None:
        while self.spent_usd + self._reserved_usd + reservation.worst_usd > cap:
            if self._stopped:
                raise Stopped
            if not self._in_flight:
                raise RunStopped(
                    "budget",
                    f"${self.spent_usd:.6f} of --max-cost {cap:g} is spent, and the next request may cost "
                    f"${reservation.worst_usd:.6f}. Go on with a higher --max-cost.",
                )
            self._changed.clear()
            await self._changed.wait()

    def _worst_usd(self, prompt_tokens: int, max_tokens: int | None) -> float:
        longest = 2 * self._longest_completion or UNCAPPED_COMPLETION
        worst = Usage(
            prompt_tokens=prompt_tokens * PROMPT_SAFETY + PROMPT_OVERHEAD,
            completion_tokens=longest if max_tokens is None else max_tokens,
        )
        return cost_usd(self._price, worst) or 0.0

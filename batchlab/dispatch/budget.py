"""Caps on cost and tokens: what is spent plus what is in flight never passes them.

Each request reserves the most it may use before it is sent, and settles what it did use.
Near a cap a request waits until others have settled and their unused reservations are free
again, so what stays unused at the end is less than one request's worst case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from batchlab.costs.pricing import Price, cost_usd
from batchlab.dispatch.slots import Stopped
from batchlab.errors import RunStopped
from batchlab.records import Usage

# A row that sets no max_tokens: its worst case is a guess, twice the longest answer seen.
UNCAPPED_COMPLETION = 4_096
PROMPT_SAFETY = 2  # bytes/4 is low for code and for scripts other than Latin
PROMPT_OVERHEAD = 16  # roles and separators of the chat format


NO_PRICE = (
    "a cost cap needs a price, and this model's is unknown. "
    "Pass --price-in and --price-out (USD per 1M tokens), or leave --max-cost out."
)


def _tokens(usage: Usage) -> float:
    return float((usage.prompt_tokens or 0) + (usage.completion_tokens or 0))


class _Meter:
    """What is spent and reserved of one thing, and its cap (None: it is only counted)."""

    __slots__ = ("cap", "option", "reserved", "spent")

    def __init__(self, option: str, cap: float | None, spent: float) -> None:
        self.option = option
        self.cap = cap
        self.spent = spent
        self.reserved = 0.0

    def covers(self, amount: float) -> bool:
        return self.cap is None or self.spent + self.reserved + amount <= self.cap


class Reservation:
    """What is set aside for one request; it counts as used in full until it is settled,
    because a request that was cut off may have been billed."""

    __slots__ = ("charged", "price", "worst")

    def __init__(self, worst_usd: float, worst_tokens: float, price: Price | None) -> None:
        self.price = price
        self.worst = (worst_usd, worst_tokens)
        self.charged = self.worst


class Budget:
    """Spends at most `max_cost_usd` and `max_tokens`; without a cap it only counts."""

    def __init__(
        self,
        max_cost_usd: float | None = None,
        *,
        max_tokens: float | None = None,
        spent_usd: float = 0.0,
        spent_tokens: float = 0.0,
    ) -> None:
        self._meters = (
            _Meter("--max-cost", max_cost_usd, spent_usd),
            _Meter("--max-tokens-total", max_tokens, spent_tokens),
        )
        self._in_flight = 0
        self._longest_completion = 0
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def spent_usd(self) -> float:
        """Settled cost, earlier invocations included."""
        return self._meters[0].spent

    @property
    def spent_tokens(self) -> float:
        """Settled tokens, earlier invocations included."""
        return self._meters[1].spent

    @contextlib.asynccontextmanager
    async def reserved(
        self, prompt_tokens: int, max_tokens: int | None, price: Price | None
    ) -> AsyncIterator[Reservation]:
        """Sets aside what one request at `price` may use, waiting for others to settle if need be.

        Raises:
            RunStopped: nothing is in flight and what is left does not cover this request, or there
                is a cap on cost and the price is unknown.
            Stopped: the run stops for another reason.
        """
        if price is None and self._meters[0].cap is not None:
            raise RunStopped("budget", NO_PRICE)
        reservation = self._worst(prompt_tokens, max_tokens, price)
        await self._until_covered(reservation)
        for meter, amount in zip(self._meters, reservation.worst, strict=True):
            meter.reserved += amount
        self._in_flight += 1
        try:
            yield reservation
        finally:
            for meter, amount, charged in zip(
                self._meters, reservation.worst, reservation.charged, strict=True
            ):
                meter.reserved -= amount
                meter.spent += charged
            self._in_flight -= 1
            self._changed.set()

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """The attempt was billed for `usage`; without token counts its worst case stays charged."""
        cost = cost_usd(reservation.price, usage)
        known = usage.prompt_tokens is not None and usage.completion_tokens is not None
        worst_usd, worst_tokens = reservation.worst
        reservation.charged = (
            worst_usd if cost is None else cost,
            _tokens(usage) if known else worst_tokens,
        )
        self._longest_completion = max(self._longest_completion, usage.completion_tokens or 0)

    def release(self, reservation: Reservation) -> None:
        """The attempt was refused: nothing is billed for it."""
        reservation.charged = (0.0, 0.0)

    def stop(self) -> None:
        """Whoever waits gets Stopped."""
        self._stopped = True
        self._changed.set()

    async def _until_covered(self, reservation: Reservation) -> None:
        while (meter := self._short_meter(reservation)) is not None:
            if self._stopped:
                raise Stopped
            if not self._in_flight:
                need = reservation.worst[self._meters.index(meter)]
                raise RunStopped(
                    "budget",
                    f"{meter.spent:g} of {meter.option} {meter.cap:g} is used, and the next request may use "
                    f"{need:g}. Go on with a higher {meter.option}.",
                )
            self._changed.clear()
            await self._changed.wait()

    def _short_meter(self, reservation: Reservation) -> _Meter | None:
        pairs = zip(self._meters, reservation.worst, strict=True)
        return next((meter for meter, amount in pairs if not meter.covers(amount)), None)

    def _worst(self, prompt_tokens: int, max_tokens: int | None, price: Price | None) -> Reservation:
        longest = 2 * self._longest_completion or UNCAPPED_COMPLETION
        worst = Usage(
            prompt_tokens=prompt_tokens * PROMPT_SAFETY + PROMPT_OVERHEAD,
            completion_tokens=longest if max_tokens is None else max_tokens,
        )
        return Reservation(cost_usd(price, worst) or 0.0, _tokens(worst), price)

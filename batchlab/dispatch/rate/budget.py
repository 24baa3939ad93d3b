"""Caps on cost and tokens: what is spent plus what is in flight never passes them.

Each request reserves the most it may use before it is sent, and settles what it did use.
Near a cap a request waits until others have settled and their unused reservations are free
again, so what stays unused at the end is less than one request's worst case.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from batchlab.counts import plain
from batchlab.dispatch.rate.money import NOTHING, Money
from batchlab.dispatch.rate.slots import Stopped
from batchlab.dispatch.rate.worst_case import Dear, Reservation, WorstCase
from batchlab.job.limits import Caps
from batchlab.records import Usage
from batchlab.run_end import RunStopped, StopReason

NO_PRICE = (
    "a cost cap needs a price, and this model's is unknown. "
    "Pass {price.input} and {price.output} (USD per 1M tokens), or leave {limits.max_cost} out."
)


def used_up(option: str, spent: float, cap: float | None, need: float) -> str:
    """What to say when what is left of a cap, the setting `option`, does not cover the next request."""
    used = f"{plain(spent)} of {{{option}={plain(cap or 0.0)}}} is used"
    return f"{used}, and the next request may use {plain(need)}. Go on with a higher {{{option}}}."


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


class Budget:
    """Spends at most its caps; without a cap it only counts.

    Args:
        spent: before.
        on_short: told of a request that the caps do not cover, which then waits for greater ones (`allow`).
            Without it they stay as they are.
    """

    def __init__(
        self,
        caps: Caps = Caps(),  # noqa: B008 - a constant
        *,
        spent: Money = NOTHING,
        on_short: Callable[[], None] | None = None,
    ) -> None:
        self._usd = _Meter("limits.max_cost", caps.usd, spent.usd)
        self._tokens = _Meter("limits.max_tokens_total", caps.tokens, spent.tokens)
        self._capped = caps != (None, None)
        self._on_short = on_short
        self._waiting: list[Reservation] = []
        self._largest = NOTHING
        self._in_flight = 0
        self._worst_case = WorstCase()
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def caps_cost(self) -> bool:
        """Whether each request must say the most that it may cost."""
        return self._usd.cap is not None

    @property
    def caps(self) -> Caps:
        """What may be spent in all."""
        return Caps(self._usd.cap, self._tokens.cap)

    @property
    def spent(self) -> Money:
        """What is settled, earlier invocations included."""
        return Money(self._usd.spent, self._tokens.spent)

    @property
    def set_aside(self) -> Money:
        """For what is in flight."""
        return Money(self._usd.reserved, self._tokens.reserved)

    @property
    def in_flight(self) -> int:
        """Requests for which something is set aside."""
        return self._in_flight

    @property
    def least_waiting(self) -> Money | None:
        """The least that a request which waits may use; None when none waits."""
        return min((one.worst for one in self._waiting), default=None)

    @property
    def largest(self) -> Money:
        """The most that one request may have used so far; only counted while caps can grow."""
        return self._largest

    @property
    def left(self) -> Caps:
        """What is neither spent nor set aside; None without a cap."""
        return Caps(
            *(
                None if meter.cap is None else meter.cap - meter.spent - meter.reserved
                for meter in (self._usd, self._tokens)
            )
        )

    def set_aside_for(self, worst: Money, *, priced: bool) -> Reservation:
        """Sets aside at once what `left` is known to cover; `end` gives it back."""
        reservation = Reservation(worst.usd, worst.tokens, priced=priced)
        self._usd.reserved += worst.usd
        self._tokens.reserved += worst.tokens
        self._in_flight += 1
        return reservation

    def add_to(self, reservation: Reservation, more: Money) -> None:
        """Sets aside more for the same, as far as `left` is known to cover it."""
        reservation.worst_usd += more.usd
        reservation.worst_tokens += more.tokens
        self._usd.reserved += more.usd
        self._tokens.reserved += more.tokens

    def restrict(self, caps: Caps) -> None:
        """What may be spent in all from now on, which is less. What has no cap is never given one."""
        self._usd.cap, self._tokens.cap = caps

    def allow(self, caps: Caps) -> None:
        """What may be spent in all from now on, which may be more: who waits looks again."""
        self.restrict(caps)
        self._changed.set()

    def reserved(self, prompt_tokens: int, max_tokens: int | None, price: Dear | None) -> Reserved:
        """Sets aside the most that one request may use, as an async context; `price` is None when unknown.

        Entering it waits for others to settle if need be, and raises:
            RunStopped: nothing is in flight and what is left does not cover this request, or there
                is a cap on cost and the price is unknown.
            Stopped: the run stops for another reason.
        """
        if not self._capped:
            return Reserved(self, Reservation(0.0, 0.0, priced=price is not None, max_tokens=max_tokens))
        return Reserved(self, self._worst_case.reservation(prompt_tokens, max_tokens, price))

    async def reserve(self, reservation: Reservation) -> None:
        """See `reserved`, which is how to use it."""
        if self._capped:
            if not reservation.priced and self._usd.cap is not None:
                raise RunStopped(StopReason.BUDGET, NO_PRICE)
            await self._until_covered(reservation)
        self._usd.reserved += reservation.worst_usd
        self._tokens.reserved += reservation.worst_tokens
        self._in_flight += 1
        reservation.at = time.time()

    def end(self, reservation: Reservation) -> None:
        """What was set aside is free again, but for what is charged."""
        self._usd.reserved -= reservation.worst_usd
        self._usd.spent += reservation.charged_usd
        self._tokens.reserved -= reservation.worst_tokens
        self._tokens.spent += reservation.charged_tokens
        self._in_flight -= 1
        if self._capped:
            self._changed.set()

    def settle(self, reservation: Reservation, usage: Usage, usd: float | None) -> None:
        """The attempt was billed for `usage`, which costs `usd`; of what is unknown the worst case stays
        charged."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        reservation.charged_usd = reservation.worst_usd if usd is None else usd
        reservation.charged_tokens = reservation.worst_tokens
        if prompt is not None and completion is not None:
            reservation.charged_tokens = float(prompt + completion)
        if self._capped:
            self._worst_case.answered(reservation, prompt, completion)

    def release(self, reservation: Reservation) -> None:
        """The attempt was refused: nothing is billed for it."""
        reservation.charged_usd = reservation.charged_tokens = 0.0

    def stop(self) -> None:
        """Whoever waits gets Stopped."""
        self._stopped = True
        self._changed.set()

    async def _until_covered(self, reservation: Reservation) -> None:
        if self._on_short is not None:
            self._largest = Money(*map(max, self._largest, reservation.worst))
        if self._short(reservation) is None:
            return
        self._waiting.append(reservation)
        try:
            while (short := self._short(reservation)) is not None:
                if self._stopped:
                    raise Stopped
                if self._on_short is not None:
                    self._on_short()
                elif not self._in_flight:
                    meter, need = short
                    raise RunStopped(
                        StopReason.BUDGET,
                        used_up(meter.option, meter.spent, meter.cap, need),
                    )
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting.remove(reservation)

    def _short(self, reservation: Reservation) -> tuple[_Meter, float] | None:
        """The meter that does not cover the reservation, and what it would have to."""
        if not self._usd.covers(reservation.worst_usd):
            return self._usd, reservation.worst_usd
        if not self._tokens.covers(reservation.worst_tokens):
            return self._tokens, reservation.worst_tokens
        return None


class Reserved:
    """One request's reservation, as an async context. A class, because a generator costs 3 µs a use."""

    __slots__ = ("_budget", "_reservation")

    def __init__(self, budget: Budget, reservation: Reservation) -> None:
        self._budget = budget
        self._reservation = reservation

    async def __aenter__(self) -> Reservation:
        await self._budget.reserve(self._reservation)
        return self._reservation

    async def __aexit__(self, *error: object) -> None:
        self._budget.end(self._reservation)

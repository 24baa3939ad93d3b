"""Caps on cost and tokens: what is spent plus what is in flight never passes them.

Each request reserves the most it may use before it is sent, and settles what it did use.
Near a cap a request waits until others have settled and their unused reservations are free
again, so what stays unused at the end is less than one request's worst case.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from batchlab.dispatch.rate.slots import Stopped
from batchlab.records import Usage
from batchlab.run_end import RunStopped, StopReason

# Reasoning beyond max_tokens, where a service bills it so and no answer has told how long it gets.
UNCAPPED_REASONING = 16_384
ENOUGH_ANSWERS = 20  # without any reasoning beyond max_tokens: then it is not that model's way
# A row that sets no max_tokens: its worst case is a guess, twice the longest answer seen.
UNCAPPED_COMPLETION = 4_096
PROMPT_SAFETY = 2  # bytes/4 is low for code and for scripts other than Latin
PROMPT_OVERHEAD = 16  # roles and separators of the chat format


NO_PRICE = (
    "a cost cap needs a price, and this model's is unknown. "
    "Pass {price.input} and {price.output} (USD per 1M tokens), or leave {limits.max_cost} out."
)


class Dear(Protocol):
    """The most that a request may be billed, of a known price; see `costs.price.Ceiling`."""

    @property
    def reasons_on(self) -> bool:
        """Whether reasoning may be billed beyond max_tokens."""
        ...

    def most_usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for up to so many tokens."""
        ...


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
    because a request that was cut off may have been billed. `at` is when it left, in Unix seconds;
    `prompt` the most tokens that its own text may be."""

    __slots__ = (
        "at",
        "charged_tokens",
        "charged_usd",
        "max_tokens",
        "priced",
        "prompt",
        "worst_tokens",
        "worst_usd",
    )

    def __init__(
        self,
        worst_usd: float,
        worst_tokens: float,
        *,
        priced: bool,
        max_tokens: int | None = None,
        prompt: int | None = None,
    ) -> None:
        self.at = 0.0
        self.priced = priced
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.worst_usd = self.charged_usd = worst_usd
        self.worst_tokens = self.charged_tokens = worst_tokens


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
        self._usd = _Meter("max_cost", max_cost_usd, spent_usd)
        self._tokens = _Meter("max_tokens_total", max_tokens, spent_tokens)
        self._capped = max_cost_usd is not None or max_tokens is not None
        self._in_flight = 0
        self._longest_completion = 0
        self._longest_beyond = 0  # completion tokens past a request's max_tokens
        self._hidden_prompt = 0  # prompt tokens past the most that a request's own text may be
        self._answers = 0  # with a known number of completion tokens, to requests with max_tokens
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def caps_cost(self) -> bool:
        """Whether each request must say the most that it may cost."""
        return self._usd.cap is not None

    @property
    def spent_usd(self) -> float:
        """Settled cost, earlier invocations included."""
        return self._usd.spent

    @property
    def spent_tokens(self) -> float:
        """Settled tokens, earlier invocations included."""
        return self._tokens.spent

    def reserved(self, prompt_tokens: int, max_tokens: int | None, price: Dear | None) -> Reserved:
        """Sets aside the most that one request may use, as an async context; `price` is None when unknown.

        Entering it waits for others to settle if need be, and raises:
            RunStopped: nothing is in flight and what is left does not cover this request, or there
                is a cap on cost and the price is unknown.
            Stopped: the run stops for another reason.
        """
        return Reserved(self, self._worst(prompt_tokens, max_tokens, price))

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
        known = prompt is not None and completion is not None
        reservation.charged_tokens = _tokens(usage) if known else reservation.worst_tokens
        if prompt is not None and (own := reservation.prompt) is not None:
            self._hidden_prompt = max(self._hidden_prompt, prompt - own)
        if completion is not None and completion > self._longest_completion:
            self._longest_completion = completion
        if completion is not None and (most := reservation.max_tokens) is not None:
            self._answers += 1
            if completion - most > self._longest_beyond:
                self._longest_beyond = completion - most

    def release(self, reservation: Reservation) -> None:
        """The attempt was refused: nothing is billed for it."""
        reservation.charged_usd = reservation.charged_tokens = 0.0

    def stop(self) -> None:
        """Whoever waits gets Stopped."""
        self._stopped = True
        self._changed.set()

    async def _until_covered(self, reservation: Reservation) -> None:
        while (short := self._short(reservation)) is not None:
            if self._stopped:
                raise Stopped
            if not self._in_flight:
                meter, need = short
                raise RunStopped(
                    StopReason.BUDGET,
                    f"{meter.spent:g} of {meter.option} {meter.cap:g} is used, and the next request may use "
                    f"{need:g}. Go on with a higher {meter.option}.",
                )
            self._changed.clear()
            await self._changed.wait()

    def _short(self, reservation: Reservation) -> tuple[_Meter, float] | None:
        """The meter that does not cover the reservation, and what it would have to."""
        if not self._usd.covers(reservation.worst_usd):
            return self._usd, reservation.worst_usd
        if not self._tokens.covers(reservation.worst_tokens):
            return self._tokens, reservation.worst_tokens
        return None

    def _worst(self, prompt_tokens: int, max_tokens: int | None, price: Dear | None) -> Reservation:
        """What a request may use at the most.

        A service may answer with more than max_tokens, because its reasoning comes on top: then it is
        twice the most that came beyond it so far, and a guess before anything did. It may also put a prompt
        of its own before ours, which is known from the first answer on.
        """
        if not self._capped:
            return Reservation(0.0, 0.0, priced=price is not None, max_tokens=max_tokens)
        own = prompt_tokens * PROMPT_SAFETY + PROMPT_OVERHEAD
        prompt = own + self._hidden_prompt
        completion = max_tokens
        if completion is None:
            completion = 2 * self._longest_completion or UNCAPPED_COMPLETION
        elif self._longest_beyond:
            completion += 2 * self._longest_beyond
        elif price is not None and price.reasons_on and self._answers < ENOUGH_ANSWERS:
            completion += UNCAPPED_REASONING
        usd = 0.0 if price is None else price.most_usd(prompt, completion)
        worst = float(prompt + completion)
        return Reservation(usd, worst, priced=price is not None, max_tokens=max_tokens, prompt=own)


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

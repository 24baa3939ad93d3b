"""What the simulated provider charges: by tier, hour, length of the prompt, and what its cache held.

The shapes of price that providers publish: a rate for each tier (OpenAI flex and priority), another rate
for every token of a request whose prompt is long (Gemini, OpenAI, xAI), prices of cache reads and writes
(Anthropic, OpenAI), and hours at a factor (DeepSeek).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

MINUTES_A_DAY = 24 * 60
BATCH = "batch"  # the tier of what comes through the batch API
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Bill:
    """What one answer used.

    Attributes:
        prompt_tokens: all of them; `cached_tokens` and `cache_write_tokens` are among them.
        completion_tokens: all that are charged as output, reasoning included.
        seen: whether the client is told what was used.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    tier: str = "default"
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per 1M tokens; a read or write of the cache without a price of its own costs as `input`."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    @classmethod
    def of(cls, where: str, data: Any) -> Rates:
        """Rates from plain data. Raises ValueError, one line."""
        known = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or not {"input", "output"} <= set(data) <= set(known):
            raise ValueError(f"{where} needs input and output, and may have cache_read and cache_write")
        if any(not isinstance(value, int | float) or value < 0 for value in data.values()):
            raise ValueError(f"{where}: USD per 1M tokens must be numbers, 0 or more")
        return cls(**data)

    def usd(self, bill: Bill) -> float:
        """What a bill costs."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        plain = bill.prompt_tokens - bill.cached_tokens - bill.cache_write_tokens
        return (
            plain * self.input
            + bill.cached_tokens * read
            + bill.cache_write_tokens * write
            + bill.completion_tokens * self.output
        ) / 1e6

    def times(self, factor: float) -> Rates:
        """These rates at a factor."""
        read = None if self.cache_read is None else self.cache_read * factor
        write = None if self.cache_write is None else self.cache_write * factor
        return Rates(self.input * factor, self.output * factor, read, write)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day (UTC, minutes since midnight; it may span midnight) at a factor.

    Attributes:
        days: weekdays on which it begins, Monday is 0.
    """

    start: int
    end: int
    factor: float
    days: tuple[int, ...] = tuple(range(7))

    @classmethod
    def of(cls, data: Any) -> Hours:
        """Hours from plain data: `from`, `to` (HH:MM), `factor`, `days`. Raises ValueError, one line."""
        try:
            days = tuple(data.get("days", range(7)))
            return cls(_minutes(data["from"]), _minutes(data["to"]), float(data["factor"]), days)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError(
                "hours need from and to as HH:MM (UTC) and a factor; days are 0 (Monday) to 6"
            ) from None

    def hold(self, at: datetime) -> bool:
        """Whether a moment is in them."""
        minute, day = at.hour * 60 + at.minute, at.weekday()
        if self.start < self.end:
            return self.start <= minute < self.end and day in self.days
        return (minute >= self.start and day in self.days) or (
            minute < self.end and (day - 1) % 7 in self.days
        )


@dataclass(frozen=True, slots=True)
class Tariff:
    """The whole price list.

    Attributes:
        tiers: rates by tier; a tier without any costs as the default one, `batch` half of it.
        long_above: prompt tokens beyond which `long` is the rate of every token.
        hours: the first that hold give a factor.
    """

    base: Rates
    tiers: tuple[tuple[str, Rates], ...] = ()
    long_above: int | None = None
    long: Rates | None = None
    hours: tuple[Hours, ...] = ()

    @classmethod
    def of(cls, data: Any) -> Tariff:
        """A price list from plain data, such as [simulator.price]. Raises ValueError, one line."""
        if not isinstance(data, Mapping):
            raise ValueError("price must be a table with input and output in USD per 1M tokens")
        own = dict(data)
        tiers, long, hours = own.pop("tiers", {}), own.pop("long_context", None), own.pop("hours", ())
        base = Rates.of("price", own)
        above = None
        if long is not None:
            long = dict(long)
            above = long.pop("above", None)
            if not isinstance(above, int):
                raise ValueError("price.long_context needs above: prompt tokens, a whole number")
        return cls(
            base,
            tuple((name, _tier(base, name, given)) for name, given in tiers.items()),
            above,
            None if long is None else Rates.of("price.long_context", long),
            tuple(map(Hours.of, hours)),
        )

    def with_batch(self, share: float) -> Tariff:
        """The same with a share of the live price for batches, unless it has one."""
        if BATCH in dict(self.tiers):
            return self
        return replace(self, tiers=(*self.tiers, (BATCH, self.base.times(share))))

    def usd(self, bill: Bill, at_s: float) -> float:
        """What a bill costs at a moment, in seconds since 1970."""
        usual = self.base.times(HALF) if bill.tier == BATCH else self.base
        rates = dict(self.tiers).get(bill.tier, usual)
        if self.long is not None and self.long_above is not None and bill.prompt_tokens > self.long_above:
            # a tier that is a factor stays one: the long rate is scaled as the short one was
            scale = rates.input / self.base.input if self.base.input else 1.0
            rates = self.long.times(scale)
        at = datetime.fromtimestamp(at_s, UTC)
        return rates.usd(bill) * next((hours.factor for hours in self.hours if hours.hold(at)), 1.0)


def _tier(base: Rates, name: str, given: Any) -> Rates:
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return base.times(float(given))
    return Rates.of(f"price.tiers.{name}", given)


def _minutes(text: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if not 0 <= hours * 60 + minutes <= MINUTES_A_DAY or not 0 <= minutes < 60:
        raise ValueError(text)
    return hours * 60 + minutes

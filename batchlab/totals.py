"""Sums over results: what a part's footer, a run, its report and the simulator's books all state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from batchlab.protocol.finish import unknown_finish
from batchlab.records import Failure, Result


class WordCounts(dict[str, int]):
    """How often each word came; sums and differences are by word, and a word with 0 is not in it."""

    def __add__(self, other: Mapping[str, int]) -> WordCounts:
        return self._with(other, 1) if other else self

    def __sub__(self, other: Mapping[str, int]) -> WordCounts:
        return self._with(other, -1) if other else self

    def _with(self, other: Mapping[str, int], sign: int) -> WordCounts:
        sums = {word: self.get(word, 0) + sign * other.get(word, 0) for word in {**self, **other}}
        return WordCounts({word: count for word, count in sums.items() if count})


NO_WORDS = WordCounts()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rows; the same object for a part's footer, a run, and the simulator's reconciliation.

    Token sums count what was reported; `rows_without_usage` says how many answered rows reported none,
    beside the `reused` ones, which have a copy of another row's answer, unpaid (see `store.answers`).
    `waste_without_cost` counts rows whose attempts that were paid and not kept have no known cost,
    `empty` answered rows without content, `unknown_finish` the finish reasons that `protocol.finish` does
    not know.
    """

    rows: int = 0
    ok: int = 0
    truncated: int = 0
    filtered: int = 0
    invalid: int = 0
    failed: int = 0
    retryable_failed: int = 0
    bad_input: int = 0
    attempts: int = 0
    cut_off: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    wasted_prompt_tokens: int = 0
    wasted_completion_tokens: int = 0
    rows_without_usage: int = 0
    rows_without_cost: int = 0
    waste_without_cost: int = 0
    cost_usd: float = 0.0
    cost_wasted_usd: float = 0.0
    reused: int = 0
    empty: int = 0
    unknown_finish: WordCounts = field(default_factory=lambda: NO_WORDS)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The sums that `asdict` gave, in this or an earlier version.

        Raises:
            TypeError: they are of a version that counts more.
        """
        return cls(**{**data, "unknown_finish": WordCounts(data.get("unknown_finish", ()))})

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __sub__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) - getattr(other, name) for name in self.__slots__))

    @property
    def tokens_used(self) -> int:
        """Tokens kept and wasted."""
        kept = self.prompt_tokens + self.completion_tokens
        return kept + self.wasted_prompt_tokens + self.wasted_completion_tokens

    @property
    def answered(self) -> int:
        """Rows with a completion of any status."""
        return self.rows - self.failed

    @property
    def spent_usd(self) -> float | None:
        """US dollars spent, kept and wasted; None when something was billed and the cost of nothing is known.

        With some of it known, it is the sum of that; `rows_without_cost` and `waste_without_cost` say
        for how many rows more was billed.
        """
        spent = self.cost_usd + self.cost_wasted_usd
        unknown = self.rows_without_cost + self.waste_without_cost
        known = self.answered - self.reused - self.rows_without_cost
        return None if unknown and not known and not spent else spent


def result_totals(result: Result) -> Totals:
    """The totals of one row."""
    tally = Tally()
    tally.add_result(result)
    return tally.totals()


class Tally:
    """Totals that grow: one result at a time, without an object for each."""

    __slots__ = Totals.__slots__

    rows: int
    ok: int
    truncated: int
    filtered: int
    invalid: int
    failed: int
    retryable_failed: int
    bad_input: int
    attempts: int
    cut_off: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    wasted_prompt_tokens: int
    wasted_completion_tokens: int
    rows_without_usage: int
    rows_without_cost: int
    waste_without_cost: int
    cost_usd: float
    cost_wasted_usd: float
    reused: int
    empty: int
    unknown_finish: WordCounts

    def __init__(self, totals: Totals = Totals()) -> None:
        for name in Totals.__slots__:
            setattr(self, name, getattr(totals, name))

    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(*(getattr(self, name) for name in self.__slots__))

    def add(self, totals: Totals) -> None:
        """Adds sums."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(totals, name))

    def add_result(self, result: Result) -> None:
        """Adds one row."""
        self.rows += 1
        self.attempts += result.attempts
        self.cut_off += result.cut_off
        self.wasted_prompt_tokens += result.wasted_prompt_tokens or 0
        self.wasted_completion_tokens += result.wasted_completion_tokens or 0
        self.cost_wasted_usd += result.cost_wasted_usd or 0.0
        if result.cost_wasted_usd is None and (
            result.wasted_prompt_tokens or result.wasted_completion_tokens
        ):
            self.waste_without_cost += 1
        if isinstance(result, Failure):
            self.failed += 1
            self.retryable_failed += result.retryable
            self.bad_input += result.error_class == "bad_input"
            return
        match result.status:
            case "ok":
                self.ok += 1
            case "truncated":
                self.truncated += 1
            case "filtered":
                self.filtered += 1
            case "invalid":
                self.invalid += 1
        if (word := unknown_finish(result.reply.finish_reason)) is not None:
            self.unknown_finish += {word: 1}
        self.empty += result.error_class == "empty"
        usage = result.reply.usage
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.total_tokens += usage.total_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        self.cache_write_tokens += usage.cache_write_tokens or 0
        self.reasoning_tokens += usage.reasoning_tokens or 0
        if usage.prompt_tokens is None and usage.completion_tokens is None:
            if result.cost_usd == 0.0:
                self.reused += 1
            else:
                self.rows_without_usage += 1
        if result.cost_usd is None:
            self.rows_without_cost += 1
        else:
            self.cost_usd += result.cost_usd

"""Sums over results: what a part's footer, a run, its report and the simulator's books all state."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from batchlab.protocol.finish import unknown_finish
from batchlab.protocol.redact import printable, redact
from batchlab.records import Failure, Result

MOST_WORDS = 10  # that are counted one by one: a server may say another with each answer
WORD_CHARS = 40
OTHERS = "…"  # stands for all further words
KEPT_RESULTS = 64  # that `RunningTotals` sums at once: so few that their answers are no memory to speak of


class WordCounts(dict[str, int]):
    """How often each word came; sums and differences are by word, and a word with 0 is not in it.

    The first `MOST_WORDS` are named, as they can be shown, and the others counted together under
    `OTHERS`. Which are the first depends on the order of the rows: two counts with others are equal when
    their sums are.
    """

    def __init__(self, counts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        super().__init__()
        for word, count in dict(counts).items():
            self._count(word, count)

    def __add__(self, other: Mapping[str, int]) -> WordCounts:
        return self._with(other, 1) if other else self

    def __sub__(self, other: Mapping[str, int]) -> WordCounts:
        return self._with(other, -1) if other else self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping) and (OTHERS in self or OTHERS in other):
            return self.rows == sum(other.values())
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as a dict's

    @property
    def rows(self) -> int:
        """How often any of them came."""
        return sum(self.values())

    def _with(self, other: Mapping[str, int], sign: int) -> WordCounts:
        made = WordCounts(self)
        for word, count in WordCounts(other).items():
            made._count(word, sign * count)
        return made

    def _count(self, word: str, count: int) -> None:
        name = printable(redact(word), WORD_CHARS) or OTHERS
        if name not in self and (
            len(self.keys() - {OTHERS}) >= MOST_WORDS
            or (count < 0 and OTHERS in self)  # it came when there was no room for its name
        ):
            name = OTHERS
        if left := self.get(name, 0) + count:
            self[name] = left
        else:
            self.pop(name, None)


NO_WORDS = WordCounts()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rows; the same object for a part's footer, a run, and the simulator's reconciliation.

    Token sums count what was reported; `rows_without_usage` says how many answered rows reported none,
    beside the `reused` ones, which have a copy of another row's answer, unpaid (see `store.answers`).
    `waste_without_cost` counts rows whose attempts that were paid and not kept have no known cost,
    `empty` answered rows without content, `unknown_finish` the finish reasons that `protocol.finish` does
    not know. `cost_usd` and `cost_wasted_usd` are the sums of what is known, 0 without any: whoever shows
    money, or reckons with it, takes it from `spent_usd`, `whole_usd`, `kept_usd`, `wasted_usd` or `stated`,
    and asks nothing else whether a cost is known.
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
        return Totals(*map(operator.add, _values(self), _values(other)))

    def __sub__(self, other: Totals) -> Totals:
        return Totals(*map(operator.sub, _values(self), _values(other)))

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

        With some of it known, it is the sum of that; `unpriced` says for how many rows more was billed.
        """
        spent = self.cost_usd + self.cost_wasted_usd
        return None if self.unpriced and not self._priced and not spent else spent

    @property
    def whole_usd(self) -> float | None:
        """As `spent_usd`; None as soon as the cost of anything that was billed is not known."""
        return None if self.unpriced else self.spent_usd

    @property
    def unpriced(self) -> int:
        """How often something was billed at a cost that nobody knows: in no sum."""
        return self.rows_without_cost + self.waste_without_cost

    @property
    def is_silent(self) -> bool:
        """Whether all that is `unpriced` are answers of which no usage was reported."""
        return not self.waste_without_cost and 0 < self.rows_without_cost <= self.rows_without_usage

    def as_waste(self) -> Totals:
        """The same as paid and not kept: of rows whose results are lost. Nothing is less than 0."""
        return Totals(
            attempts=max(0, self.attempts),
            cut_off=max(0, self.cut_off),
            wasted_prompt_tokens=max(0, self.prompt_tokens + self.wasted_prompt_tokens),
            wasted_completion_tokens=max(0, self.completion_tokens + self.wasted_completion_tokens),
            waste_without_cost=max(0, self.unpriced),
            cost_wasted_usd=max(0.0, self.cost_usd + self.cost_wasted_usd),
        )

    @property
    def _priced(self) -> int:
        """Rows that were billed for their answers, at a known cost."""
        return self.answered - self.reused - self.rows_without_cost

    @property
    def kept_usd(self) -> float | None:
        """Of `spent_usd`, what the answers cost; None when some were billed and the cost of none is known."""
        unknown = self.rows_without_cost and not self._priced and not self.cost_usd
        return None if unknown or self.spent_usd is None else self.cost_usd

    @property
    def wasted_usd(self) -> float | None:
        """Of `spent_usd`, what was paid and not kept; None when some was and the cost of none is known."""
        unknown = self.waste_without_cost and not self.cost_wasted_usd
        return None if unknown or self.spent_usd is None else self.cost_wasted_usd

    def stated(self) -> dict[str, Any]:
        """The sums as a program is told them: money that is not known is None, and never 0."""
        return {
            **asdict(self),
            "cost_usd": self.kept_usd,
            "cost_wasted_usd": self.wasted_usd,
            "spent_usd": self.spent_usd,
            "unknown_finish": dict(self.unknown_finish),
        }


_values = operator.attrgetter(*Totals.__slots__)


def totals_of(results: Iterable[Result]) -> Totals:
    """The totals of some rows, by their results."""
    rows = ok = truncated = filtered = invalid = failed = retryable_failed = bad_input = 0
    attempts = cut_off = prompt = completion = total = cached = cache_write = reasoning = 0
    wasted_prompt = wasted_completion = without_usage = without_cost = waste_without_cost = 0
    reused = empty = 0
    cost_usd = cost_wasted_usd = 0.0
    words = NO_WORDS
    for result in results:
        rows += 1
        attempts += result.attempts
        cut_off += result.cut_off
        if result.wasted_prompt_tokens or result.wasted_completion_tokens:
            wasted_prompt += result.wasted_prompt_tokens or 0
            wasted_completion += result.wasted_completion_tokens or 0
            waste_without_cost += result.cost_wasted_usd is None
        cost_wasted_usd += result.cost_wasted_usd or 0.0
        if isinstance(result, Failure):
            failed += 1
            retryable_failed += result.retryable
            bad_input += result.error_class == "bad_input"
            continue
        match result.status:
            case "ok":
                ok += 1
            case "truncated":
                truncated += 1
            case "filtered":
                filtered += 1
            case "invalid":
                invalid += 1
        if (word := unknown_finish(result.reply.finish_reason)) is not None:
            words += {word: 1}
        empty += result.error_class == "empty"
        usage = result.reply.usage
        prompt += usage.prompt_tokens or 0
        completion += usage.completion_tokens or 0
        total += usage.total_tokens or 0
        cached += usage.cached_tokens or 0
        cache_write += usage.cache_write_tokens or 0
        reasoning += usage.reasoning_tokens or 0
        if usage.prompt_tokens is None and usage.completion_tokens is None:
            if result.cost_usd == 0.0:
                reused += 1
            else:
                without_usage += 1
        if result.cost_usd is None:
            without_cost += 1
        else:
            cost_usd += result.cost_usd
    return Totals(
        rows=rows,
        ok=ok,
        truncated=truncated,
        filtered=filtered,
        invalid=invalid,
        failed=failed,
        retryable_failed=retryable_failed,
        bad_input=bad_input,
        attempts=attempts,
        cut_off=cut_off,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        wasted_prompt_tokens=wasted_prompt,
        wasted_completion_tokens=wasted_completion,
        rows_without_usage=without_usage,
        rows_without_cost=without_cost,
        waste_without_cost=waste_without_cost,
        cost_usd=cost_usd,
        cost_wasted_usd=cost_wasted_usd,
        reused=reused,
        empty=empty,
        unknown_finish=words,
    )


def sum_of(parts: Iterable[Totals]) -> Totals:
    """The sum of totals."""
    return sum(parts, Totals())


class RunningTotals:
    """Totals that grow with each result: some results are kept and summed at once.

    For each by itself, a sum costs four times as much as what it sums (`Totals` has 26 counts).
    """

    __slots__ = ("_results", "_sum")

    def __init__(self) -> None:
        self._sum = Totals()
        self._results: list[Result] = []

    @property
    def totals(self) -> Totals:
        """The sums so far."""
        if self._results:
            self._sum += totals_of(self._results)
            self._results.clear()
        return self._sum

    def count(self, result: Result) -> None:
        """One row more."""
        self._results.append(result)
        if len(self._results) >= KEPT_RESULTS:
            self._sum += totals_of(self._results)
            self._results.clear()

    def change(self, by: Totals) -> None:
        """What was counted for rows has changed."""
        self._sum += by

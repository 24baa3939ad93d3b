"""What a run may take: tokens, cost and time as ranges, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchlab.costs.price import PER_MTOK, Price, Tariff
from batchlab.costs.tokens import BYTES_PER_TOKEN
from batchlab.counts import counted

COMPLETION_SHARE = 0.1  # of max_tokens, at the low end
NO_MAX_TOKENS = (50, 1_000)  # completion tokens a row when no cap is set
SECONDS_PER_REQUEST = (0.3, 2.0)  # before the first token: fast and slow providers
SECONDS_PER_TOKEN = (0.005, 0.05)  # of a completion


@dataclass(frozen=True, slots=True)
class Estimate:
    """Ranges are (low, high). `cost_usd` is None when the price is unknown. Rows may share requests."""

    rows: int
    prompt_tokens: int
    completion_tokens: tuple[int, int]
    cost_usd: tuple[float, float] | None
    duration_s: tuple[float, float]
    bound_by: str
    counted_by: str = f"{BYTES_PER_TOKEN} bytes a token"
    requests: int = 0

    def lines(self) -> list[str]:
        """The estimate for a person."""
        low, high = self.completion_tokens
        several = self.rows != self.requests
        lines = [
            f"to send: {counted(self.rows, 'row')} in about {counted(self.requests, 'request')}"
            if several
            else f"to send: {counted(self.rows, 'request')}",
            f"prompt tokens: about {self.prompt_tokens:,} ({self.counted_by})",
        ]
        if high:
            lines.append(f"completion tokens: {low:,} to {high:,}")
        if self.cost_usd is not None:
            lines.append(f"cost: ${self.cost_usd[0]:,.4f} to ${self.cost_usd[1]:,.4f}")
        shortest, longest = map(about_time, self.duration_s)
        lines.append(f"time: {shortest} to {longest}, bound by {self.bound_by}")
        return lines


def estimate(
    *,
    rows: int,
    prompt_bytes: int,
    lengths: Mapping[int, int],
    max_tokens: int | None,
    tariff: Tariff | None,
    at: float,
    concurrency: int,
    rpm: float | None,
    tpm: float | None,
    tokens_per_byte: float | None = None,
    batch_rows: int = 1,
    batch_tokens: int = 0,
) -> Estimate:
    """The ranges for `rows` rows with `prompt_bytes` of prompts in all.

    The cost runs from the shortest answers at the cheapest hour the run may fall into to the longest at
    the dearest; each row is priced by its own length.

    Args:
        lengths: how many rows have prompts of so many bytes, of those rows or of more of their kind.
        tariff: what answers cost; None for an unknown price.
        at: when the run would begin, in Unix seconds.
        batch_rows, batch_tokens: most rows, and most tokens (0: any number), in one request.
        max_tokens: of a row's completion; 0 for embeddings, which have none.
        tokens_per_byte: by the model's tokenizer, if there is one.
    """
    prompt_tokens = -(-prompt_bytes // BYTES_PER_TOKEN)
    if tokens_per_byte is not None:
        prompt_tokens = round(prompt_bytes * tokens_per_byte)
    requests = max(-(-rows // batch_rows), -(-prompt_tokens // batch_tokens) if batch_tokens else 0)
    if max_tokens == 0:
        each = 0, 0
    elif max_tokens is not None:
        each = max(1, round(COMPLETION_SHARE * max_tokens)), max_tokens
    else:
        each = NO_MAX_TOKENS
    completion = each[0] * rows, each[1] * rows
    durations, binding = [], ""
    for tokens, start, per_token in zip(completion, SECONDS_PER_REQUEST, SECONDS_PER_TOKEN, strict=True):
        candidates = {f"concurrency {concurrency}": (requests * start + tokens * per_token) / concurrency}
        if rpm:
            candidates[f"rpm {rpm:g}"] = requests * 60 / rpm
        if tpm:
            candidates[f"tpm {tpm:g}"] = (prompt_tokens + tokens) * 60 / tpm
        binding = max(candidates, key=lambda name: candidates[name])
        durations.append(candidates[binding])
    by = f"{BYTES_PER_TOKEN} bytes a token" if tokens_per_byte is None else "by the tokenizer"
    lasts = durations[0], durations[1]
    prices = tariff.between(at, at + lasts[1]) if tariff is not None else []
    a_byte = 1 / BYTES_PER_TOKEN if tokens_per_byte is None else tokens_per_byte
    share = rows / max(1, sum(lengths.values()))
    costs = [[share * _usd(price, lengths, a_byte, tokens) for price in prices] for tokens in each]
    cost = (min(costs[0]), max(costs[1])) if prices else None
    return Estimate(rows, prompt_tokens, completion, cost, lasts, binding, by, requests)


def _usd(price: Price, lengths: Mapping[int, int], tokens_per_byte: float, completion_tokens: float) -> float:
    """What rows of these lengths cost, each with so many completion tokens."""
    usd = 0.0
    for size, rows in lengths.items():
        own = price.at_length(size * tokens_per_byte)
        tokens = size * tokens_per_byte * own.input + completion_tokens * own.output
        usd += rows * (tokens / PER_MTOK + own.request)
    return usd


def about_time(seconds: float) -> str:
    """A time that is not known better, for a person: `40 s`, `12 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"

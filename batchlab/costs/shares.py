"""One request's usage and cost, divided among the rows that it carried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from batchlab.records import Usage


def whole_shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in proportion to `weights` (> 0), in whole numbers whose sum is exactly `total`.

    What is left after rounding down goes to the largest remainders, the first of equal ones first.
    """
    weight = sum(weights)
    shares = [total * one // weight for one in weights]
    remainders = [total * one % weight for one in weights]
    left = total - sum(shares)
    for index in sorted(range(len(weights)), key=lambda index: (-remainders[index], index))[:left]:
        shares[index] += 1
    return shares


def usage_shares(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    """A usage for each row; every count adds up to the request's, and what is unknown stays so."""

    def shares(total: int | None) -> Sequence[int | None]:
        return [None] * len(weights) if total is None else whole_shares(total, weights)

    counts = [shares(getattr(usage, name)) for name in Usage.__slots__ if name != "raw"]
    return list(map(Usage, *counts, _raw_shares(usage.raw, weights)))


def cost_shares(usd: float | None, shares: Sequence[Usage], weights: Sequence[int]) -> list[float | None]:
    """The request's cost for each row, in proportion to its tokens; None when it is unknown."""
    if usd is None:
        return [None] * len(weights)
    tokens = [(one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in shares]
    parts = tokens if sum(tokens) else weights
    whole = sum(parts)
    return [usd * part / whole for part in parts]


def _raw_shares(raw: str | None, weights: Sequence[int]) -> Sequence[str | None]:
    """The provider's own usage object for each row: its numbers divided, all else as it is."""
    if raw is None:
        return [None] * len(weights)
    try:
        return [json.dumps(one, separators=(",", ":")) for one in _divided(json.loads(raw), weights)]
    except RecursionError:  # nested hundreds deep: the counts above are all that counts
        return [None] * len(weights)


def _divided(value: Any, weights: Sequence[int]) -> list[Any]:
    if isinstance(value, dict):
        keys = list(value)
        columns = [_divided(item, weights) for item in value.values()]
        rows = zip(*columns, strict=True) if columns else repeat((), len(weights))
        return [dict(zip(keys, row, strict=True)) for row in rows]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return list(whole_shares(value, weights))
    if isinstance(value, float):
        weight = sum(weights)
        return [value * one / weight for one in weights]
    return [value] * len(weights)

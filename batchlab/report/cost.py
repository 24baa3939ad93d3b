"""Where the money went: sums over usage columns, by any column. Rows are a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from batchlab.costs.pricing import PER_MTOK, Price

PriceOf = Callable[[str | None, str | None], Price | None]  # of a model at an endpoint

BATCH_API_SHARE = 0.5  # of the price: OpenAI, Anthropic and Google state half for their batch APIs
TOTAL = "total"

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
NUMBERS = (
    *TOKENS, "wasted_prompt_tokens", "wasted_completion_tokens", "cost_usd", "cost_wasted_usd", "attempts",
    "cut_off", "provider_usd",
)  # fmt: skip
WORDS = ("status", "model", "endpoint", "error_class")
HELP = {
    "rows": "input rows with a final result",
    "requests": "requests sent for them",
    "reused": "rows that got the answer to an identical request, unpaid (--reuse, --dedupe)",
    "kept_usd": "cost of the answers that were kept",
    "wasted_usd": "cost of answers that were paid and not kept",
    "repaid_usd": "at most what a crash made you pay again: requests cut off, at their row's own cost",
    "cached_savings_usd": "what cached prompt tokens saved against the full price",
    "provider_usd": "the cost that the provider's own usage states",
    "rows_without_cost": "answered rows whose price or token count is not known",
    "what_if_usd": "the kept answers at the prices of --price or --what-if",
}


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every column that sums need; a number that is missing is NaN, a word None."""
    made = frame.copy(deep=False)
    for name in NUMBERS:
        given = pd.to_numeric(made[name], errors="coerce") if name in made else pd.Series(np.nan, made.index)
        made[name] = given.astype("float64")
    for name in WORDS:
        if name not in made:
            made[name] = None
    if made["status"].isna().all():  # a foreign table without states: a row with usage was answered
        made["status"] = "ok"
    if "finished_at" in made:
        at = pd.to_datetime(made["finished_at"], utc=True, errors="coerce")
        made["day"] = at.dt.strftime("%Y-%m-%d")
    elif "day" not in made:
        made["day"] = None
    copied = made["prompt_tokens"].isna() & made["completion_tokens"].isna() & (made["cost_usd"] == 0.0)
    made["reused"] = copied & (made["status"] != "failed")
    made["provider_usd"] = made["provider_usd"].mask(made["reused"])  # stated of the answer, not of the copy
    return made


def cost_table(
    frame: pd.DataFrame,
    by: Sequence[str],
    *,
    price_of: PriceOf,
    what_if: Mapping[str, Price] | None = None,
    share: float = 1.0,
) -> pd.DataFrame:
    """One line a group, dearest first, and a line `total`. Sums without any known value are NaN.

    Args:
        frame: from `prepared`; all its rows have a final result.
        by: names of columns.
        what_if: prices to try, by model; "*" is any other model.
        share: of the price that a what-if pays.
    """
    rows = frame.assign(**_derived(frame, price_of, what_if or {}, share))
    names = list(_sums(rows.iloc[:0]))
    groups = []
    if by and len(rows):
        for key, group in rows.groupby(list(by), dropna=False, observed=True, sort=True):
            values = ["" if value is None or value != value else str(value) for value in key]
            groups.append({**dict(zip(by, values, strict=True)), **_sums(group)})
    table = pd.DataFrame(groups, columns=[*by, *names])
    if len(table):
        order = ["kept_usd", "completion_tokens", "rows"]
        table = table.sort_values(order, ascending=False, na_position="last", kind="stable")
    labels = dict.fromkeys(by, "")
    if by:
        labels[by[0]] = TOTAL
    total = pd.DataFrame([{**labels, **_sums(rows)}])
    table = pd.concat([table, total], ignore_index=True) if len(table) else total
    if what_if is None and share == 1.0:
        table = table.drop(columns="what_if_usd")
    return table if table["provider_usd"].notna().any() else table.drop(columns="provider_usd")


def _derived(
    rows: pd.DataFrame, price_of: PriceOf, what_if: Mapping[str, Price], share: float
) -> dict[str, pd.Series]:
    """Columns that need prices: what a crash repaid, what the cache saved, what other prices come to."""
    models = rows["model"].astype("object").where(rows["model"].notna(), None)
    endpoints = rows["endpoint"].astype("object").where(rows["endpoint"].notna(), None)
    pairs = pd.MultiIndex.from_arrays([models, endpoints])
    codes, kinds = pd.factorize(pairs)
    listed = [price_of(_word(kind[0]), _word(kind[1])) for kind in kinds]
    tried = [_tried(_word(kind[0]), what_if, price) for kind, price in zip(kinds, listed, strict=True)]
    cached = rows["cached_tokens"].fillna(0).clip(upper=rows["prompt_tokens"])
    full, less = _each(listed, codes, "input"), _each(listed, codes, "cached_input")
    trial_in, trial_cached = _each(tried, codes, "input"), _each(tried, codes, "cached_input")
    trial_out = _each(tried, codes, "output")
    trial = (
        (rows["prompt_tokens"] - cached) * trial_in
        + cached * trial_cached
        + rows["completion_tokens"] * trial_out
    )
    own = rows["cost_usd"].fillna(0) + rows["cost_wasted_usd"].fillna(0)
    paid = rows["cost_usd"].mask(rows["reused"])
    each = own.where(paid.notna(), paid.mean())
    cut_off = rows["cut_off"].fillna(0)
    return {
        "repaid": (cut_off * each).where(cut_off > 0, 0.0),
        "saved": cached * (full - less) / PER_MTOK,
        "tried": trial * share / PER_MTOK,
    }


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _tried(model: str | None, what_if: Mapping[str, Price], listed: Price | None) -> Price | None:
    return what_if.get(model or "", what_if.get("*", listed))


def _each(prices: Sequence[Price | None], codes: np.ndarray, name: str) -> np.ndarray:
    values = np.array([np.nan if price is None else getattr(price, name) for price in prices] or [np.nan])
    return values[codes] if len(codes) else np.zeros(0)


def _sums(rows: pd.DataFrame) -> dict[str, float]:
    answered = rows["status"] != "failed"
    silent = rows["prompt_tokens"].isna() & rows["completion_tokens"].isna()
    wasted = rows["wasted_prompt_tokens"].fillna(0) + rows["wasted_completion_tokens"].fillna(0) > 0
    unpriced = wasted & rows["cost_wasted_usd"].isna()
    return {
        "rows": len(rows),
        "failed": int((~answered).sum()),
        "requests": _sum(rows["attempts"]),
        "reused": int(rows["reused"].sum()),
        **{name: _sum(rows[name]) for name in TOKENS},
        "kept_usd": _sum(rows["cost_usd"]),
        "wasted_usd": np.nan if unpriced.any() else float(rows["cost_wasted_usd"].sum()),
        "repaid_usd": _sum(rows["repaid"]),
        "cached_savings_usd": _sum(rows["saved"]),
        "provider_usd": _sum(rows["provider_usd"]),
        "rows_without_usage": int((answered & silent & ~rows["reused"]).sum()),
        "rows_without_cost": int((answered & rows["cost_usd"].isna()).sum()),
        "what_if_usd": _sum(rows["tried"]),
    }


def _sum(values: pd.Series) -> float:
    return float(values.sum()) if values.notna().any() else float("nan")

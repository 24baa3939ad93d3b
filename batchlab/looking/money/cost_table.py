"""Where the money went: sums over usage columns, by any column. Rows are a pandas DataFrame."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from batchlab.costs.price import PER_MTOK, Price
from batchlab.looking.money.answer_prices import Kind, PriceOf
from batchlab.records import Usage
from batchlab.totals import Totals

WAYS: Mapping[str, str] = {"batch-api": "batch", "flex": "flex"}  # of a what-if
MINUTE_S = 60.0  # no price changes within one
TOTAL = "total"
LOST = "lost"  # the status of what stands for paid results that a run has lost: no row, only its waste

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
NUMBERS = (
    *TOKENS, "cache_write_tokens", "wasted_prompt_tokens", "wasted_completion_tokens", "cost_usd",
    "cost_wasted_usd", "attempts", "cut_off", "provider_usd",
)  # fmt: skip
WORDS = ("status", "model", "endpoint", "lane", "error_class", "service_tier", "usage_raw")
HELP = {
    "rows": "input rows with a final result",
    "requests": "requests sent for them",
    "reused": "rows that got the answer to an identical request, unpaid (reuse, dedupe)",
    "kept_usd": "cost of the answers that were kept",
    "wasted_usd": "cost of answers that were paid and not kept",
    "repaid_usd": "at most what a crash made you pay again: requests cut off, at their row's own cost",
    "cached_savings_usd": "what cached prompt tokens saved against the full price",
    "provider_usd": "the cost that the provider's own usage states",
    "rows_without_cost": "answered rows whose price or token count is not known",
    "what_if_usd": "the kept answers at other prices that were asked about, as far as there are such prices",
    "what_if_wasted_usd": "the same of answers that were paid and not kept",
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
    made["asked_at"] = np.nan
    if "started_at" in made:
        asked = pd.to_datetime(made["started_at"], utc=True, errors="coerce")
        made["asked_at"] = (asked - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
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
    way: str | None = None,
) -> pd.DataFrame:
    """One line a group, dearest first, and a line `total`. Sums without any known value are NaN.

    Args:
        frame: from `prepared`; all its rows have a final result.
        by: names of columns.
        what_if: prices to try, by model; "*" is any other model.
        way: one of `WAYS`, by which answers without a price in `what_if` are tried; see `without_price`.
    """
    rows = frame.assign(**_derived(frame, price_of, what_if or {}, way))
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
    if what_if is None and way is None:
        table = table.drop(columns="what_if_usd")
    if (what_if is None and way is None) or not _has_waste(rows).any():
        table = table.drop(columns="what_if_wasted_usd")
    return table if table["provider_usd"].notna().any() else table.drop(columns="provider_usd")


def without_price(rows: pd.DataFrame, price_of: PriceOf, what_if: Mapping[str, Price], way: str) -> list[str]:
    """Models that have no price of their own for a way, among those of rows with usage."""
    _, kinds = _kinds(rows[rows["prompt_tokens"].notna() & rows["completion_tokens"].notna()])
    known = {kind.model for kind in kinds if _tried(kind, what_if, price_of, way) is not None}
    return sorted({kind.model or "?" for kind in kinds if kind.model not in known})


def _derived(
    rows: pd.DataFrame, price_of: PriceOf, what_if: Mapping[str, Price], way: str | None
) -> dict[str, pd.Series]:
    """Columns that need prices: what a crash repaid, what the cache saved, what other prices come to."""
    codes, kinds = _kinds(rows)
    saved, tried, tried_waste = (pd.Series(np.nan, rows.index) for _ in range(3))
    for price, among in _by_price([price_of(kind) for kind in kinds], codes):
        saved[among] = _saved(price, rows[among])
    for price, among in _by_price([_tried(kind, what_if, price_of, way) for kind in kinds], codes):
        tried[among] = _usd(price, rows[among])
        tried_waste[among] = _waste_usd(price, rows[among])
    own = rows["cost_usd"].fillna(0) + rows["cost_wasted_usd"].fillna(0)
    paid = rows["cost_usd"].mask(rows["reused"])
    each = own.where(paid.notna(), paid.mean())
    cut_off = rows["cut_off"].fillna(0)
    return {
        "repaid": (cut_off * each).where(cut_off > 0, 0.0),
        "saved": saved,
        "tried": tried,
        "tried_waste": tried_waste,
    }


def _kinds(rows: pd.DataFrame) -> tuple[np.ndarray, list[Kind]]:
    """Each row's kind, as its number, and the kinds."""
    words = [rows[name].astype("object").where(rows[name].notna(), None) for name in _KIND_WORDS]
    minutes = np.floor(rows["asked_at"].fillna(time.time()) / MINUTE_S)
    codes, kinds = pd.factorize(pd.MultiIndex.from_arrays([*words, minutes]))
    return codes, [
        Kind(_word(model), _word(endpoint), _word(tier), minute * MINUTE_S, _word(lane))
        for model, endpoint, tier, lane, minute in kinds
    ]


_KIND_WORDS = ("model", "endpoint", "service_tier", "lane")


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _tried(kind: Kind, what_if: Mapping[str, Price], price_of: PriceOf, way: str | None) -> Price | None:
    given = what_if.get(kind.model or "", what_if.get("*"))
    return given if given is not None else price_of(kind, way)


def _by_price(prices: Sequence[Price | None], codes: np.ndarray) -> Iterator[tuple[Price, np.ndarray]]:
    """Each known price once, and which rows have it."""
    numbers: dict[Price, list[int]] = {}
    for number, price in enumerate(prices):
        if price is not None:
            numbers.setdefault(price, []).append(number)
    for price, own in numbers.items():
        yield price, np.isin(codes, own)


def _steps(price: Price, prompt: pd.Series) -> Iterator[tuple[Price, pd.Series]]:
    """The price of each class of lengths, and which rows are of it."""
    ends = [*(above for above, _ in price.longer), math.inf]
    for (above, own), end in zip([(-1, price), *price.longer], ends, strict=True):
        yield own, (prompt > above) & (prompt <= end)


def _usd(price: Price, rows: pd.DataFrame) -> pd.Series:
    """What answers cost: `Price.cost_usd`, of columns."""
    prompt, completion, usd = rows["prompt_tokens"], rows["completion_tokens"], pd.Series(np.nan, rows.index)
    cached = rows["cached_tokens"].fillna(0).clip(upper=prompt)
    written = rows["cache_write_tokens"].fillna(0).clip(upper=prompt - cached)
    for own, among in _steps(price, prompt):
        tokens = (prompt - cached - written) * own.input + completion * own.output
        tokens += cached * own.cached_input + written * own.written_input
        usd = usd.mask(among, tokens / PER_MTOK + own.request)
    if price.exact is not None:
        special = (rows["usage_raw"].notna() | (rows["reasoning_tokens"] > 0)).to_numpy()
        for place in np.flatnonzero(special).tolist():
            if (exact := price.exact(_usage_of(rows.iloc[place]))) is not None:
                usd.iloc[place] = exact
    return usd


def _has_waste(rows: pd.DataFrame) -> pd.Series:
    return rows["wasted_prompt_tokens"].fillna(0) + rows["wasted_completion_tokens"].fillna(0) > 0


def _waste_usd(price: Price, rows: pd.DataFrame) -> pd.Series:
    """What answers that were not kept come to, nothing of them cached: only these two sums are on record."""
    prompt = rows["wasted_prompt_tokens"].fillna(0)
    return (prompt * price.input + rows["wasted_completion_tokens"].fillna(0) * price.output) / PER_MTOK


def _usage_of(row: pd.Series) -> Usage:
    counts = {name: None if row[name] != row[name] else int(row[name]) for name in _COUNTS}
    return Usage(**counts, raw=_word(row["usage_raw"]))


_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def _saved(price: Price, rows: pd.DataFrame) -> pd.Series:
    """What cached prompt tokens saved against the full price."""
    prompt, saved = rows["prompt_tokens"], pd.Series(np.nan, rows.index)
    cached = rows["cached_tokens"].fillna(0).clip(upper=prompt)
    for own, among in _steps(price, prompt):
        saved = saved.mask(among, cached * (own.input - own.cached_input) / PER_MTOK)
    return saved


def _sums(rows: pd.DataFrame) -> dict[str, float]:
    lost = rows["status"] == LOST
    answered = (rows["status"] != "failed") & ~lost
    silent = rows["prompt_tokens"].isna() & rows["completion_tokens"].isna()
    wasted = rows["wasted_prompt_tokens"].fillna(0) + rows["wasted_completion_tokens"].fillna(0) > 0
    # whether a cost is known is for `Totals` to say, of these rows as of a run
    totals = Totals(
        rows=len(rows) - int(lost.sum()),
        failed=int((rows["status"] == "failed").sum()),
        reused=int(rows["reused"].sum()),
        rows_without_cost=int((answered & rows["cost_usd"].isna()).sum()),
        waste_without_cost=int((wasted & rows["cost_wasted_usd"].isna()).sum()),
        cost_usd=float(rows["cost_usd"].sum()),
        cost_wasted_usd=float(rows["cost_wasted_usd"].sum()),
    )
    return {
        "rows": totals.rows,
        "failed": totals.failed,
        "requests": _sum(rows["attempts"]),
        "reused": totals.reused,
        **{name: _sum(rows[name]) for name in TOKENS},
        "kept_usd": _known(totals.kept_usd),
        "wasted_usd": _known(totals.wasted_usd),
        "repaid_usd": _sum(rows["repaid"]),
        "cached_savings_usd": _sum(rows["saved"]),
        "provider_usd": _sum(rows["provider_usd"]),
        "rows_without_usage": int((answered & silent & ~rows["reused"]).sum()),
        "rows_without_cost": totals.rows_without_cost,
        "what_if_usd": _sum(rows["tried"]),
        "what_if_wasted_usd": _sum(rows["tried_waste"].where(_has_waste(rows))),
    }


def _known(usd: float | None) -> float:
    return math.nan if usd is None else usd


def _sum(values: pd.Series) -> float:
    if not len(values):
        return 0.0  # of no rows at all
    return float(values.sum()) if values.notna().any() else float("nan")

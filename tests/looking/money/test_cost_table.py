"""The books: sums by any column, of runs and of tables that somebody else made."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from batchlab.costs.price import Price
from batchlab.looking.money.cost_table import cost_table, prepared
from batchlab.looking.money.table_text import table_text
from batchlab.progress.terminal import width

PRICE = Price(1.0, 4.0, 0.5)


def rows(**columns) -> pd.DataFrame:
    usual = {
        "status": ["ok", "ok", "failed"],
        "model": ["a", "b", None],
        "attempts": [1, 3, 2],
        "cut_off": [0, 2, 0],
        "prompt_tokens": [1_000_000.0, 2_000_000.0, None],
        "completion_tokens": [1_000_000.0, 0.0, None],
        "cached_tokens": [0.0, 1_000_000.0, None],
        "cost_usd": [5.0, 1.5, None],
        "wasted_prompt_tokens": [None, None, 1_000_000.0],
        "cost_wasted_usd": [None, None, 1.0],
    }
    return prepared(pd.DataFrame(usual | columns))


def price_of(kind, way=None) -> Price | None:
    return PRICE if way is None else PRICE.times(0.5) if way == "batch" and kind.model == "b" else None


def table(frame, by=(), **more) -> pd.DataFrame:
    return cost_table(frame, list(by), price_of=price_of, **more)


def test_the_total_keeps_kept_wasted_repaid_and_saved_apart():
    [total] = table(rows()).to_dict("records")

    assert (total["rows"], total["failed"], total["requests"]) == (3, 1, 6)
    assert (total["kept_usd"], total["wasted_usd"]) == (6.5, 1.0)
    assert total["repaid_usd"] == 2 * 1.5  # two requests cut off, at their row's own cost
    assert total["cached_savings_usd"] == 0.5
    assert total["rows_without_cost"] == 0


def test_groups_are_sorted_by_cost_and_add_up_to_the_total():
    found = table(rows(), ["model"])

    assert list(found["model"]) == ["a", "b", "", "total"]
    for name in ("rows", "requests", "kept_usd", "wasted_usd", "prompt_tokens"):
        assert found[name][:-1].sum() == found[name].iloc[-1]


def test_what_nobody_knows_is_not_zero():
    unknown = rows(cost_usd=[None, None, None], cost_wasted_usd=[None, None, None])
    [total] = table(unknown).to_dict("records")

    assert np.isnan(total["kept_usd"])
    assert np.isnan(total["wasted_usd"])
    assert total["rows_without_cost"] == 2
    assert "?" in table_text(table(unknown))[1]


def test_no_rows_at_all_make_a_table_all_the_same():
    found = table(rows().iloc[:0], ["model"])

    assert list(found["rows"]) == [0]


def test_other_prices_and_the_batch_api_are_tried_on_the_kept_answers():
    tried = table(rows(), what_if={"a": Price(2.0, 2.0), "*": Price(0.0, 0.0)})
    half = table(rows(), way="batch")

    assert tried["what_if_usd"].iloc[-1] == 4.0
    assert half["what_if_usd"].iloc[-1] == pytest.approx(1.5 / 2)  # nobody states a price of a's batches
    assert "what_if_usd" not in table(rows())


def test_a_price_that_is_said_afterwards_is_tried_on_what_was_not_kept_too():
    """After a retry most of a bill can be answers that were replaced."""
    usual = {"wasted_prompt_tokens": [2_000_000.0, None, 1_000_000.0]}
    wasted = rows(**usual, wasted_completion_tokens=[1_000_000.0, None, None])
    tried = table(wasted, ["model"], what_if={"*": Price(1.0, 3.0)})

    assert dict(zip(tried["model"], tried["what_if_wasted_usd"].fillna(0.0), strict=True)) == {
        "a": 5.0, "b": 0.0, "": 1.0, "total": 6.0,
    }  # fmt: skip
    assert "what_if_wasted_usd" not in table(wasted)
    kept = rows(wasted_prompt_tokens=[None] * 3, cost_wasted_usd=[None] * 3)
    assert "what_if_wasted_usd" not in table(kept, what_if={"*": Price(1.0, 3.0)})


def test_a_foreign_table_without_states_or_attempts_has_books_too():
    found = table(prepared(pd.DataFrame({"prompt_tokens": [5, 6], "completion_tokens": [1, None]})))

    assert found["prompt_tokens"].iloc[-1] == 11
    assert np.isnan(found["requests"].iloc[-1])


@pytest.mark.parametrize("room", [60, 80, 120])
@pytest.mark.parametrize("by", [(), ("model",), ("model", "status")])
def test_a_table_fits_the_terminal_and_keeps_every_figure(room, by):
    long_names = rows(model=["Qwen/Qwen2.5-VL-72B-Instruct-together-and-more-still", "日本語" * 20, None])
    found = table(long_names, by, what_if={"*": Price(1_234.0, 5_678.0)})
    whole, fitted = table_text(found), table_text(found, room=room, keys=len(by))

    assert max(map(width, fitted)) <= room
    figures = re.compile(r"[\d,]+\.\d{6}|\?")
    assert sorted(figures.findall("\n".join(fitted))) == sorted(figures.findall("\n".join(whole)))
    names = {name for line in whole[:1] for name in line.split()}
    assert names == {name for name in re.findall(r"[a-z_]+", "\n".join(fitted)) if name in names}


def test_one_row_that_is_too_wide_is_a_list():
    lines = table_text(table(rows()), room=60)

    assert lines[0].split() == ["rows", "3"]
    assert max(map(len, lines)) < 40

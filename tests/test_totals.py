"""Sums over results: the words that nobody knows, however many a server thinks of."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from batchlab.arrow import pa
from batchlab.looking.last_lines import last_lines
from batchlab.looking.not_ok import Cause
from batchlab.looking.phrases import finish_text, notes
from batchlab.records import Completion, Reply, Timing
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.run_end import RunSummary
from batchlab.store.columns.results import columns_totals
from batchlab.store.parts import with_results
from batchlab.totals import (
    MOST_WORDS,
    NO_WORDS,
    OTHERS,
    WORD_CHARS,
    RunningTotals,
    Totals,
    WordCounts,
    totals_of,
)


def ended(row: int, word: str, **more) -> Completion:
    reply = Reply("Yes.", finish_reason=word)
    return Completion(row, str(row), b"h" * 16, "ok", reply, 1, Timing(1.0, 2.0, 1_000.0), **more)


def test_a_server_with_a_new_word_for_each_answer_fills_neither_totals_nor_screen():
    results = [ended(row, f"word-{row}" + "x" * 10_000) for row in range(3_000)]
    running = RunningTotals()
    for result in results:
        running.count(result)
    words = running.totals.unknown_finish

    assert len(words) == MOST_WORDS + 1
    assert words.rows == 3_000
    assert all(len(word) <= WORD_CHARS for word in words)
    assert len(finish_text(words)) < 250
    assert finish_text(words).endswith("2,997 rows with others")


def test_words_are_shown_as_they_can_be_and_name_no_key():
    words = WordCounts({"we\x1b[31mird\u202e\n": 2, "sk-abcdefgh12345678": 1, "": 1})

    assert words == {"we [31mird": 2, "****": 1, OTHERS: 1}


def test_rows_that_are_asked_again_leave_the_counts_as_if_they_had_never_come():
    many = WordCounts((f"w{number}", 1) for number in range(MOST_WORDS + 5))

    for word in ("w0", f"w{MOST_WORDS + 2}"):
        left = many + (NO_WORDS - {word: 1})
        assert left.rows == MOST_WORDS + 4
        assert min(left.values()) > 0
    assert many - many == {}
    assert WordCounts({"a": 2}) + (NO_WORDS - {"a": 1}) == {"a": 1}
    assert WordCounts({"a": 2}) != {"b": 2}


def test_counts_survive_files_and_processes():
    totals = Totals(rows=40, unknown_finish=WordCounts((f"w{number}", 1) for number in range(40)))

    assert Totals.of(json.loads(json.dumps(dataclasses.asdict(totals)))) == totals
    assert pickle.loads(pickle.dumps(totals)) == totals


@pytest.mark.parametrize("words", [["odd"] * 3, [f"w{number % 25}" for number in range(60)]])
def test_a_part_s_footer_agrees_with_its_rows_whatever_the_words(words):
    results = [ended(row, word) for row, word in enumerate(words)]
    table = with_results(pa.table({"i": list(range(len(words)))}), results, 0, "")
    halves = [table.slice(0, len(words) // 2), table.slice(len(words) // 2)]
    stated = Totals()
    for half in halves:
        stated += columns_totals([half.column(name).combine_chunks() for name in RESULT_COLUMNS])

    assert stated.unknown_finish == totals_of(results).unknown_finish


def test_the_end_of_a_run_says_what_the_states_do_not():
    totals = Totals(
        rows=100, ok=80, truncated=5, filtered=3, invalid=2, failed=10, empty=3, cost_usd=0.25,
        cost_wasted_usd=0.125, rows_without_cost=2, rows_without_usage=2, wasted_completion_tokens=70,
        unknown_finish=WordCounts({"odd": 3}),
    )  # fmt: skip
    summary = RunSummary("runs/x", 100, totals, 120, 12.34, exit_code=1, fail_on=("truncated", "empty"))

    why = [Cause("timeout", None, 4, ""), Cause("context_length", 400, 3, "too long"),
           Cause("odd", None, 2, "!"), Cause("server", 500, 1, "")]  # fmt: skip

    assert (
        last_lines(summary, "batchlab run job.toml", why, 200)
        == """\
done: 100 rows = 80 ok + 5 truncated + 3 filtered + 2 invalid + 10 failed (120 requests in 12.3 s)
unknown finish reasons: 3 rows "odd"; kept as ok
tokens: 0 prompt + 0 completion, 70 more paid and not kept (2 rows reported no usage)
cost: $0.25 + $0.125 not kept and 2 rows of unknown cost
results: runs/x/completions
5 cut off by max_tokens 200; to ask them with more: batchlab retry runs/x --only truncated --max-tokens 400
3 filtered by the provider; to ask them again: batchlab retry runs/x --only filtered
3 empty (paid, without content); to ask them again: batchlab retry runs/x --only empty
4 rows failed by timeout: no answer in time; raise {limits.timeout}, or ask again with a lower concurrency
3 rows failed by context_length 400 ("too long"): too long for the model; shorten them, or ask one with \
a longer context
2 rows failed by odd ("!")
1 failed by other causes: error_class and error_message have them
to ask again for failed rows: batchlab retry runs/x
invalid answers do not fit the schema (error_message says why); to ask again for them: \
batchlab retry runs/x --only invalid
next: batchlab show runs/x --status failed,invalid
exit code 1: {output.fail_on} names 5 truncated and 3 empty""".splitlines()
    )
    assert notes(Totals(rows=9, ok=9)) == []

"""Rows that travel together: how requests are formed, taken apart, and halved."""

from __future__ import annotations

import math

import pytest

from batchlab.dispatch.grouping import Groups
from batchlab.records import ChatRequest, Completion, Failure, Reply, Result, Timing, Usage
from batchlab.run_end import RunStopped, StopReason


def row(number: int, text: str | None = None, size: int = 40, **more) -> ChatRequest:
    body = {"model": "m", "input": text or f"text {number}", **more.pop("params", {})}
    return ChatRequest(
        number, f"id-{number}", body, bytes([number % 256]) * 16, size, 0, task="embeddings", **more
    )


class Books:
    """What a journal would hold."""

    def __init__(self) -> None:
        self.sent_rows: list[list[int]] = []
        self.back_rows: list[tuple[list[int], list[Usage] | None]] = []
        self.results: dict[int, Result] = {}
        self.full_at: int | None = None

    def sent(self, row_id, attempt): ...

    def back(self, row_id, usage, usd): ...

    def sent_together(self, row_ids, attempt):
        self.sent_rows.append(list(row_ids))

    def back_together(self, row_ids, usages, usds):
        self.back_rows.append((list(row_ids), usages))

    def emit(self, result):
        assert result.row_id not in self.results, "a row has two results"
        self.results[result.row_id] = result
        if result.row_id == self.full_at:
            raise RunStopped(StopReason.DISK, "full")


def groups(singles: list[ChatRequest], books: Books | None = None, **limits) -> Groups:
    limits = {"rows": 4, "tokens": 1_000, "shard_rows": 100, **limits}
    return Groups(books or Books(), **limits).of(iter(singles))


def formed(singles: list[ChatRequest], **limits) -> list[list[str]]:
    return [
        request.body["input"] if isinstance(request.body["input"], list) else [request.body["input"]]
        for request in groups(singles, **limits)
    ]


def sizes(singles: list[ChatRequest], **limits) -> list[int]:
    return [len(texts) for texts in formed(singles, **limits)]


@pytest.mark.parametrize(
    ("rows", "limits", "wanted"),
    [
        ([row(n) for n in range(10)], {}, [4, 4, 2]),
        ([row(n) for n in range(3)], {"rows": 1}, [1, 1, 1]),
        ([row(n) for n in range(6)], {"tokens": 30}, [3, 3]),  # 10 tokens each
        ([row(0, size=9_000), row(1), row(2)], {}, [1, 2]),  # too long for any other to go with it
        ([row(n) for n in range(6)], {"shard_rows": 3}, [3, 3]),
        ([row(98), row(99), row(100), row(101)], {}, [2, 2]),  # two shards, two journals
        ([row(0), row(1, params={"dimensions": 8}), row(2, params={"dimensions": 8})], {}, [1, 2]),
        ([row(0), row(1, endpoint="b"), row(2)], {}, [1, 1, 1]),
        ([], {}, []),
    ],
)
def test_how_rows_are_put_together(rows, limits, wanted):
    assert sizes(rows, **limits) == wanted
    assert [text for texts in formed(rows, **limits) for text in texts] == [one.body["input"] for one in rows]


def test_a_request_has_the_size_of_all_its_rows_and_a_row_alone_is_sent_as_it_is():
    [both] = groups([row(0), row(1)])
    [alone] = groups([row(0)])

    assert (both.rows, both.row_id, both.custom_id) == (2, 0, "id-0 and 1 more")
    assert both.prompt_bytes >= 2 * 40
    assert (alone.rows, alone.body) == (1, row(0).body)


def completion(request: ChatRequest, *, attempts: int = 1, **more) -> Completion:
    usage = Usage(10 * request.rows + 1, 0, 10 * request.rows + 1)
    reply = Reply(None, usage=usage, vectors=tuple(f"v{request.row_id + n}" for n in range(request.rows)))
    timing = Timing(1_000.0, 1_000.5, 500.0)
    return Completion(
        request.row_id, request.custom_id, b"", "ok", reply, attempts, timing, cost_usd=0.42, **more
    )


def test_each_row_gets_its_own_vector_and_its_share():
    books = Books()
    groups_ = groups([row(0), row(1, size=80), row(2)], books)
    [request] = groups_
    groups_.sent(0, 1)
    groups_.emit(
        completion(
            request, attempts=2, wasted_prompt_tokens=7, wasted_completion_tokens=0, cost_wasted_usd=0.07
        )
    )

    rows = [books.results[number] for number in range(3)]
    assert [one.reply.vectors for one in rows] == [("v0",), ("v1",), ("v2",)]
    assert [one.custom_id for one in rows] == ["id-0", "id-1", "id-2"]
    assert [one.request_hash for one in rows] == [row(n).request_hash for n in range(3)]
    assert [one.reply.usage.prompt_tokens for one in rows] == [8, 15, 8]
    assert sum(one.wasted_prompt_tokens for one in rows) == 7
    assert math.fsum(one.cost_usd for one in rows) == pytest.approx(0.42)
    assert math.fsum(one.cost_wasted_usd for one in rows) == pytest.approx(0.07)
    assert [one.attempts for one in rows] == [2, 2, 2]
    assert len({round(one.timing.started_at * 1e6) for one in rows}) == 3  # equal rows stay two answers
    assert books.sent_rows == [[0, 1, 2]]


def provider(groups_: Groups, refuses: set[int], **failure) -> int:
    """Answers requests as an endpoint that refuses some rows; returns how many there were."""
    count = 0
    for request in groups_:
        count += 1
        held = range(request.row_id, request.row_id + request.rows)
        groups_.sent(request.row_id, 1)
        if refuses.intersection(held):
            groups_.back(request.row_id, failure.get("usage"), failure.get("usd"))
            told = {"error_class": "bad_request", "error_code": 400, **failure.get("fields", {})}
            groups_.emit(Failure(request.row_id, request.custom_id, error_message="no", attempts=1, **told))
        else:
            groups_.emit(completion(request))
    return count


@pytest.mark.parametrize("bad", [set(), {0}, {63}, {17}, {3, 40}, {5, 6, 7, 8}, set(range(64))])
def test_a_refused_request_is_halved_until_only_the_rows_to_blame_have_failed(bad):
    books = Books()
    count = provider(groups([row(n) for n in range(64)], books, rows=64, tokens=10**6), bad)

    assert sorted(books.results) == list(range(64))
    assert {number for number, one in books.results.items() if isinstance(one, Failure)} == bad
    assert all(books.results[n].reply.vectors == (f"v{n}",) for n in set(range(64)) - bad)
    assert count <= 1 + 2 * 6 * len(bad)
    carried = [number for rows in books.sent_rows for number in rows]
    assert {n: one.attempts for n, one in books.results.items()} == {n: carried.count(n) for n in range(64)}
    assert all(books.results[n].error_code == 400 for n in bad)


def test_what_a_halved_request_cost_stays_in_the_books_of_its_rows():
    books = Books()
    usage, told = Usage(40, 0, 40), {"wasted_prompt_tokens": 40, "wasted_completion_tokens": 0}
    provider(
        groups([row(n) for n in range(4)], books), {2},
        usage=usage, usd=0.4, fields={**told, "cost_wasted_usd": 0.4},
    )  # fmt: skip

    rows = [books.results[n] for n in range(4)]
    # refused three times: with 4 rows, with 2, alone
    assert sum(one.wasted_prompt_tokens for one in rows) == 120
    assert math.fsum(one.cost_wasted_usd for one in rows) == pytest.approx(1.2)
    assert [one.wasted_prompt_tokens for one in rows] == [10, 10, 70, 30]
    assert [one[0] for one in books.back_rows] == [[0, 1, 2, 3], [2, 3], [2]]
    assert [sum(share.prompt_tokens for share in one[1]) for one in books.back_rows] == [40, 40, 40]


@pytest.mark.parametrize("error_class", ["server", "connection", "invalid_response", "timeout", "dimensions"])
def test_trouble_that_is_no_row_s_fails_all_of_them_and_is_not_paid_for_again(error_class):
    books = Books()
    count = provider(groups([row(n) for n in range(4)], books), {2}, fields={"error_class": error_class})

    assert count == 1
    assert [books.results[n].error_class for n in range(4)] == [error_class] * 4


def test_a_full_disk_stops_the_run_after_all_that_had_arrived_was_handed_over():
    books = Books()
    books.full_at = 1
    groups_ = groups([row(n) for n in range(3)], books)
    [request] = groups_

    with pytest.raises(RunStopped):
        groups_.emit(completion(request))
    assert sorted(books.results) == [0, 1, 2]

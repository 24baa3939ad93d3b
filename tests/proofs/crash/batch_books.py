"""Our books of a run with batches beside its service's: row by row, and in sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from batchlab.costs.pricing import price_book
from batchlab.endpoints.simulator.answering import content_of
from batchlab.engines.endpoint import Endpoint, access_to
from batchlab.inputs.requests import RequestBuilder
from batchlab.job import Job
from batchlab.records import Completion, Result, Row
from batchlab.totals import Totals

BY_BATCH = "batch"  # the tier in the ledger


@dataclass(frozen=True, slots=True)
class Bill:
    """What a service charged once.

    Attributes:
        place: the how-manieth it was.
    """

    place: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    tier: str


@dataclass(frozen=True, slots=True)
class RowFound:
    """What is wrong with a row's books.

    Attributes:
        unsaid: bills that nothing in the run tells of.
    """

    unsaid: int = 0
    problem: str = ""


def live_contents(job: Job, texts: Sequence[str]) -> dict[str, int]:
    """By what the ledger calls each live call of a job: its row."""
    endpoint, kind = job.endpoint[0], job.kinds_at(job.endpoint[0])[0]
    access = access_to(Endpoint(endpoint, endpoint.base_url, None, price_book(job, endpoint)), job, kind)
    builder = RequestBuilder(job, ["text"])
    bodies = (access.body(builder.build(Row(row, {"text": text}))) for row, text in enumerate(texts))
    return {content_of(b"", dict(body)).hex(): row for row, body in enumerate(bodies)}


def bills_by_row(
    ledger: Sequence[Mapping[str, Any]],
    books: Mapping[str, Any],
    live: Mapping[str, int],
    told: Container[str] = (),
) -> tuple[dict[int, list[Bill]], int]:
    """All bills of each row, in their order; and how many are of nothing that was asked.

    Args:
        told: ids of batches that were ordered once too often, whose bills the run has told of; left out.
    """
    rows = {
        line["content"]: int(line["custom_id"].rpartition("-")[2])
        for batch in books["batches"]
        for line in batch["lines"]
    } | dict(live)
    found: defaultdict[int, list[Bill]] = defaultdict(list)
    strange = 0
    beside = Counter(
        (line["content"], line["usd"])
        for batch in books["batches"]
        if batch["id"] in told
        for line in batch["lines"]
        if line["billed"]
    )
    for place, line in enumerate(ledger):
        if beside[bill := (line["content"], line["usd"])]:
            beside[bill] -= 1
            continue
        row = rows.get(line["content"])
        if row is None:
            strange += 1
            continue
        found[row].append(
            Bill(place, line["prompt_tokens"], line["completion_tokens"], line["usd"], line["tier"])
        )
    return found, strange


def row_found(result: Result, bills: Sequence[Bill], *, lost_at: int) -> RowFound:
    """Whether a row's books tell of each bill, but for those of calls that a crash has cut off, and says so.

    Args:
        lost_at: bills before this place may have been of live calls whose journal a machine has taken away
            with it: asked again, as the run says.
    """
    ours = _ours(result)
    for left_out in range(len(bills) + 1):
        for others in combinations(bills, left_out):
            kept = [one for one in bills if one not in others]
            if _same(ours, _sums(kept)):
                lost = sum(one.place < lost_at and one.tier != BY_BATCH for one in others)
                return RowFound(max(0, left_out - result.cut_off - lost))
    return RowFound(problem=f"row {result.row_id}: {ours} in our books, {bills} in the service's")


def _ours(result: Result) -> tuple[int, int, float]:
    wasted = result.wasted_prompt_tokens or 0, result.wasted_completion_tokens or 0
    usd = result.cost_wasted_usd or 0.0
    if not isinstance(result, Completion):
        return (*wasted, usd)
    usage = result.reply.usage
    return (
        (usage.prompt_tokens or 0) + wasted[0],
        (usage.completion_tokens or 0) + wasted[1],
        (result.cost_usd or 0.0) + usd,
    )


def _sums(bills: Iterable[Bill]) -> tuple[int, int, float]:
    kept = list(bills)
    return (
        sum(one.prompt_tokens for one in kept),
        sum(one.completion_tokens for one in kept),
        sum(one.usd for one in kept),
    )


def _same(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return all(
        abs(one - other) <= 1e-9 * max(1.0, abs(other)) for one, other in zip(ours, theirs, strict=True)
    )


def sent_lines(
    books: Mapping[str, Any], known: Container[str | None], taken_back: Container[str | None]
) -> int:
    """Lines of batches that were attempts.

    Of an order that was lost sight of, and came to nothing, nothing is counted, nor what we took back unasked.

    Args:
        known: ids of the batches that a run knows; of these `taken_back` were cancelled by it.
    """
    none = {"waiting", "refused"}
    return sum(
        line["status"] not in (none | {"cancelled", "expired"} if batch["id"] in taken_back else none)
        for batch in books["batches"]
        if batch["id"] in known
        for line in batch["lines"]
    )


def compared(totals: Totals, ledger: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Our sums beside the service's, by what they count."""
    return {
        "answers": (totals.rows - totals.failed, ledger["billed"]),
        "prompt tokens": (totals.prompt_tokens + totals.wasted_prompt_tokens, ledger["prompt_tokens"]),
        "completion tokens": (
            totals.completion_tokens + totals.wasted_completion_tokens,
            ledger["completion_tokens"],
        ),
        "USD": (totals.cost_usd + totals.cost_wasted_usd, ledger["usd"]),
    }

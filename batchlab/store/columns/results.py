"""The result columns: a result is a row of them. Their types, their values, and their sums.

Column by column where a run writes them, and row by row where results are read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import orjson

from batchlab.arrow import pa, pc
from batchlab.protocol.finish import unknown_finish
from batchlab.records import (
    RETRYABLE_ERRORS,
    Completion,
    Failure,
    Parsed,
    Reply,
    Result,
    Timing,
    Usage,
)
from batchlab.result_columns import COLUMNS, RESULT_COLUMNS, At, Kind, columns_at
from batchlab.store.columns.vectors import vector_columns
from batchlab.store.journals.journal import ResultValues
from batchlab.totals import Totals, WordCounts

MAX_INT16 = 32_767


@cache
def result_schema() -> pa.Schema:
    """The result columns' types."""
    types = {
        Kind.INT: pa.int64(),
        Kind.COUNT: pa.int16(),
        Kind.USD: pa.float64(),
        Kind.MS: pa.float32(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.TEXT: pa.string(),
        Kind.LONG_TEXT: pa.large_string(),
        Kind.WORD: pa.dictionary(pa.int16(), pa.string()),
        Kind.HASH: pa.binary(16),
    }
    return pa.schema(
        [
            pa.field(column.name, types[column.kind], metadata={"otel": column.otel} if column.otel else None)
            for column in COLUMNS.values()
        ]
    )


def values_of(result: Result) -> ResultValues:
    """A result as plain values, as the journal holds it."""
    values: ResultValues = orjson.loads(orjson.dumps(result, default=bytes.hex))
    return values


_NOTHING: ResultValues = {}
_OWN, _OF_REPLY = columns_at(At.RESULT), columns_at(At.REPLY)
_OF_USAGE, _OF_TIMING = columns_at(At.USAGE), columns_at(At.TIMING)


def result_columns(
    results: Sequence[ResultValues | None], row_ids: Sequence[int], vectors: Sequence[str] = ()
) -> list[pa.Array]:
    """The result columns of some rows; a row without a result yet has the status `pending`.

    Column by column from the plain values: an object for each row would cost more than Arrow does.
    """
    rows = [values or _NOTHING for values in results]
    replies = [values.get("reply") or _NOTHING for values in rows]
    usages = [reply.get("usage") or _NOTHING for reply in replies]
    timings = [values.get("timing") or _NOTHING for values in rows]
    lists: dict[str, list[Any]] = {"row_id": list(row_ids)}
    lists |= {name: [values.get(name) for values in rows] for name in _OWN}
    lists |= {name: [reply.get(name) for reply in replies] for name in _OF_REPLY}
    lists |= {name: [usage.get(name) for usage in usages] for name in _OF_USAGE}
    lists |= {name: [timing.get(name) for timing in timings] for name in _OF_TIMING}
    lists |= {
        "custom_id": [
            values.get("custom_id", str(row_id)) for values, row_id in zip(rows, row_ids, strict=True)
        ],
        "status": [values.get("status", "failed") if values else "pending" for values in rows],
        "usage_raw": [usage.get("raw") for usage in usages],
        "attempts": [min(values["attempts"], MAX_INT16) if values else None for values in rows],
        "cut_off": [min(values.get("cut_off", 0), MAX_INT16) if values else None for values in rows],
        "request_hash": [bytes.fromhex(values.get("request_hash", "")) or None for values in rows],
        "started_at": [_micros(timing.get("started_at")) for timing in timings],
        "finished_at": [_micros(timing.get("finished_at")) for timing in timings],
    }
    if any(values.get("parsed") for values in rows):
        lists |= _parsed_lists([values.get("parsed") or _NOTHING for values in rows], lists["error_message"])
    columns = [
        pa.array(lists[field.name], type=field.type)
        if field.name in lists
        else pa.nulls(len(rows), type=field.type)
        for field in result_schema()
    ]
    if vectors:
        columns += vector_columns([reply.get("vectors") for reply in replies], vectors)
    return columns


def _parsed_lists(parsed: Sequence[dict[str, Any]], messages: Sequence[str | None]) -> dict[str, list[Any]]:
    """The columns of a job with a schema; an invalid answer's first errors are its message."""
    return {
        "parsed": [one.get("text") for one in parsed],
        "parsed_note": [one.get("note") for one in parsed],
        "corrections": [min(one["corrections"], MAX_INT16) if one else None for one in parsed],
        "error_message": [
            message or one.get("problem") for message, one in zip(messages, parsed, strict=True)
        ],
    }


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def columns_totals(columns: Sequence[pa.Array]) -> Totals:
    """The totals of some rows with final results, from their result columns."""
    column = dict(zip(RESULT_COLUMNS, columns, strict=False))  # vectors come after them

    def total(name: str) -> Any:
        return pc.sum(column[name]).as_py() or 0

    status = Counter(column["status"].to_pylist())
    failed = _is(column["status"], "failed")
    errors = Counter(column["error_class"].filter(failed).to_pylist())
    answered = pc.invert(failed)
    no_tokens = pc.and_(column["prompt_tokens"].is_null(), column["completion_tokens"].is_null())
    reused = pc.and_(no_tokens, pc.fill_null(pc.equal(column["cost_usd"], 0.0), False))
    without_usage = pc.and_not(no_tokens, reused)
    words = Counter(column["finish_reason"].filter(answered).to_pylist())
    wasted = pc.greater(
        pc.add(
            pc.fill_null(column["wasted_prompt_tokens"], 0),
            pc.fill_null(column["wasted_completion_tokens"], 0),
        ),
        0,
    )
    return Totals(
        rows=len(column["row_id"]),
        **{name: status[name] for name in ("ok", "truncated", "filtered", "invalid", "failed")},
        retryable_failed=sum(errors[name] for name in RETRYABLE_ERRORS),
        bad_input=errors["bad_input"],
        **{
            name: total(name)
            for name in (
                "attempts",
                "cut_off",
                *_OF_USAGE,
                "wasted_prompt_tokens",
                "wasted_completion_tokens",
            )
        },
        rows_without_usage=pc.sum(pc.and_(answered, without_usage)).as_py() or 0,
        rows_without_cost=pc.sum(pc.and_(answered, column["cost_usd"].is_null())).as_py() or 0,
        waste_without_cost=pc.sum(pc.and_(wasted, column["cost_wasted_usd"].is_null())).as_py() or 0,
        cost_usd=float(total("cost_usd")),
        cost_wasted_usd=float(total("cost_wasted_usd")),
        reused=pc.sum(pc.and_(answered, reused)).as_py() or 0,
        empty=pc.sum(pc.and_(answered, pc.fill_null(_is(column["error_class"], "empty"), False))).as_py()
        or 0,
        unknown_finish=WordCounts({word: count for word, count in words.items() if unknown_finish(word)}),
    )


def _is(words: pa.Array, word: str) -> pa.Array:
    return pc.equal(words.cast(pa.string()), word)


def result_of_columns(row: dict[str, Any], vectors: tuple[str, ...] | None) -> Result:
    """The result that a row of result columns holds."""
    timing = None
    if row["started_at"] is not None:
        timing = Timing(
            started_at=row["started_at"].timestamp(),
            finished_at=row["finished_at"].timestamp(),
            latency_ms=row["latency_ms"],
            queue_ms=row["queue_ms"],
            ttft_ms=row["ttft_ms"],
        )
    common: dict[str, Any] = {
        "request_hash": row["request_hash"] or b"",
        "timing": timing,
        "cut_off": row["cut_off"] or 0,
    }
    if row["status"] == "failed":
        return Failure(**_fields_in(Failure, row) | common)
    usage = Usage(raw=row["usage_raw"], **{name: row[name] for name in _OF_USAGE})
    reply = Reply(
        usage=usage,
        vectors=vectors,
        **{name: row[name] for name in _OF_REPLY},
    )
    parsed = None
    if row["corrections"] is not None:
        parsed = Parsed(row["parsed"], row["parsed_note"], row["corrections"], row["error_message"])
    return Completion(**_fields_in(Completion, row) | common | {"reply": reply, "parsed": parsed})


def _fields_in(kind: type[Result], row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a result that are columns under their own names."""
    return {name: row[name] for name in _FIELDS[kind]}


_FIELDS = {
    kind: [field.name for field in fields(kind) if field.name in COLUMNS] for kind in (Completion, Failure)
}

"""Parts: the immutable Parquet files that sealed shards become.

Input columns first, then the result columns, types fixed, never inferred: a shard without a
single error has the same schema as one with errors. Pages carry checksums, and our readers
verify them (without, 317 of 400 flipped bits were read back as silently different data).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from batchlab.arrow import pa, pc, pq
from batchlab.errors import CorruptRun, UsageError
from batchlab.records import (
    LATER_COLUMNS,
    RESULT_COLUMNS,
    RETRYABLE_ERRORS,
    Completion,
    Failure,
    Parsed,
    Reply,
    Result,
    Timing,
    Usage,
)
from batchlab.storage import RemoteFile, StorageError
from batchlab.store.expanded import expanded_columns
from batchlab.store.files import FILE_MODE, disk_stop
from batchlab.store.journal import ResultValues
from batchlab.store.vectors import vector_columns, vector_fields, vector_texts
from batchlab.totals import Totals

PartFile: TypeAlias = Path | RemoteFile

FORMAT = "2"  # 1 lacks LATER_COLUMNS
BATCH_ROWS = 2_000  # rows held as Python values while a part is written or read
MAX_INT16 = 32_767


def _field(name: str, kind: pa.DataType, otel: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"otel": otel} if otel else None)


@cache
def result_schema() -> pa.Schema:
    """The result columns' types."""
    word = pa.dictionary(pa.int16(), pa.string())
    schema = pa.schema(
        [
            _field("row_id", pa.int64()),
            _field("custom_id", pa.string()),
            _field("status", word),
            _field("completion", pa.large_string(), "gen_ai.output.messages"),
            _field("reasoning", pa.large_string()),
            _field("refusal", pa.string()),
            _field("tool_calls", pa.string()),
            _field("choices", pa.large_string()),
            _field("logprobs", pa.large_string()),
            _field("parsed", pa.string()),
            _field("parsed_note", word),
            _field("corrections", pa.int16()),
            _field("finish_reason", word, "gen_ai.response.finish_reasons"),
            _field("prompt_tokens", pa.int64(), "gen_ai.usage.input_tokens"),
            _field("completion_tokens", pa.int64(), "gen_ai.usage.output_tokens"),
            _field("total_tokens", pa.int64()),
            _field("cached_tokens", pa.int64(), "gen_ai.usage.cache_read.input_tokens"),
            _field("reasoning_tokens", pa.int64(), "gen_ai.usage.reasoning.output_tokens"),
            _field("wasted_prompt_tokens", pa.int64()),
            _field("wasted_completion_tokens", pa.int64()),
            _field("usage_raw", pa.string()),
            _field("cost_usd", pa.float64()),
            _field("cost_wasted_usd", pa.float64()),
            _field("attempts", pa.int16()),
            _field("cut_off", pa.int16()),
            _field("error_class", word, "error.type"),
            _field("error_code", pa.int16()),
            _field("error_message", pa.string()),
            _field("endpoint", word),
            _field("model", pa.string(), "gen_ai.response.model"),
            _field("response_id", pa.string(), "gen_ai.response.id"),
            _field("request_id", pa.string()),
            _field("system_fingerprint", pa.string(), "openai.response.system_fingerprint"),
            _field("started_at", pa.timestamp("us", tz="UTC")),
            _field("finished_at", pa.timestamp("us", tz="UTC")),
            _field("latency_ms", pa.float32()),
            _field("queue_ms", pa.float32()),
            _field("ttft_ms", pa.float32()),
            _field("request_hash", pa.binary(16)),
        ]
    )
    assert tuple(schema.names) == RESULT_COLUMNS
    return schema


def part_schema(
    input_schema: pa.Schema, prefix: str, expanded: pa.Schema | None = None, vectors: Sequence[str] = ()
) -> pa.Schema:
    """Input columns, then result columns under their prefixed names, then those of the job's schema.

    Args:
        vectors: which of the columns for embeddings there are.
    """
    results = (field.with_name(prefix + field.name) for field in [*result_schema(), *vector_fields(vectors)])
    return pa.schema([*input_schema, *results, *(expanded or ())])


def values_of(result: Result) -> ResultValues:
    """A result as plain values, as the journal holds it."""
    values: ResultValues = orjson.loads(orjson.dumps(result, default=bytes.hex))
    return values


_NOTHING: ResultValues = {}
# result columns whose value stands under the column's own name
_OWN = (
    "error_class",
    "error_message",
    "error_code",
    "endpoint",
    "request_id",
    "wasted_prompt_tokens",
    "wasted_completion_tokens",
    "cost_usd",
    "cost_wasted_usd",
)
_OF_REPLY = (
    "completion",
    "reasoning",
    "refusal",
    "tool_calls",
    "choices",
    "logprobs",
    "finish_reason",
    "model",
    "response_id",
    "system_fingerprint",
)
_OF_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
_OF_TIMING = ("latency_ms", "queue_ms", "ttft_ms")


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
        "cut_off": [min(values["cut_off"], MAX_INT16) if values else None for values in rows],
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
    failed = pc.equal(column["status"].cast(pa.string()), "failed")
    errors = Counter(column["error_class"].filter(failed).to_pylist())
    answered = pc.invert(failed)
    no_tokens = pc.and_(column["prompt_tokens"].is_null(), column["completion_tokens"].is_null())
    reused = pc.and_(no_tokens, pc.fill_null(pc.equal(column["cost_usd"], 0.0), False))
    without_usage = pc.and_not(no_tokens, reused)
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
        cost_usd=float(total("cost_usd")),
        cost_wasted_usd=float(total("cost_wasted_usd")),
        reused=pc.sum(pc.and_(answered, reused)).as_py() or 0,
    )


def _result(row: dict[str, Any], vectors: tuple[str, ...] | None) -> Result:
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
    common = {
        name: row[name]
        for name in (
            "row_id",
            "custom_id",
            "attempts",
            "cut_off",
            "endpoint",
            "request_id",
            "wasted_prompt_tokens",
            "wasted_completion_tokens",
            "cost_wasted_usd",
        )
    }
    common |= {
        "request_hash": row["request_hash"] or b"",
        "timing": timing,
        "error_class": row["error_class"],
    }
    if row["status"] == "failed":
        return Failure(**common, error_code=row["error_code"], error_message=row["error_message"])
    usage = Usage(
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        total_tokens=row["total_tokens"],
        cached_tokens=row["cached_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        raw=row["usage_raw"],
    )
    reply = Reply(
        usage=usage,
        vectors=vectors,
        **{name: row[name] for name in _OF_REPLY},
    )
    parsed = None
    if row["corrections"] is not None:
        parsed = Parsed(row["parsed"], row["parsed_note"], row["corrections"], row["error_message"])
    return Completion(**common, status=row["status"], reply=reply, cost_usd=row["cost_usd"], parsed=parsed)


def write_part(
    path: Path,
    input_table: pa.Table,
    results: Iterator[ResultValues | None],
    *,
    first_row: int,
    prefix: str,
    expanded: pa.Schema | None = None,
    vectors: Sequence[str] = (),
) -> tuple[Path, Totals]:
    """Writes one part to a temporary file beside `path`.

    Returns that file, not yet published, and the totals that its footer holds.

    Args:
        results: those of all its rows, in order.
        expanded: columns that are made of the parsed answers.
        vectors: which of the columns for embeddings it has.

    Raises:
        RunStopped: the disk is full or failing.
    """
    schema = part_schema(input_table.schema, prefix, expanded, vectors)
    tmp = path.with_name(f"{path.name}.tmp")
    totals = Totals()
    try:
        with pq.ParquetWriter(
            tmp, schema, compression="zstd", write_page_checksum=True, use_dictionary=True
        ) as writer:
            for start in range(0, input_table.num_rows, BATCH_ROWS):
                stop = min(start + BATCH_ROWS, input_table.num_rows)
                batch = list(itertools.islice(results, stop - start))
                columns = result_columns(batch, range(first_row + start, first_row + stop), vectors)
                totals += columns_totals(columns)
                columns += _expanded(columns, expanded)
                inputs = input_table.slice(start, stop - start).columns
                writer.write_table(pa.Table.from_arrays([*inputs, *columns], schema=schema))
            writer.add_key_value_metadata(
                {
                    "batchlab.format": FORMAT,
                    "batchlab.first_row": str(first_row),
                    "batchlab.prefix": prefix,
                    "batchlab.totals": json.dumps(asdict(totals)),
                }
            )
        tmp.chmod(FILE_MODE)
    except OSError as error:
        tmp.unlink(missing_ok=True)
        disk_stop(path, error)
    return tmp, totals


def file_digest(path: PartFile) -> str:
    """BLAKE2b of a whole file. Pages carry checksums of their own, but a Parquet footer has none."""
    digest = hashlib.blake2b(digest_size=16)
    with _store_trouble(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _store_trouble(path: PartFile) -> Iterator[None]:
    """A store that cannot be read says nothing about the part."""
    try:
        yield
    except StorageError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error


def open_part(path: PartFile) -> pq.ParquetFile:
    """A part as Parquet, checksums verified while it is read. Raises CorruptRun."""
    try:
        with _store_trouble(path):
            source = path.open_random() if isinstance(path, RemoteFile) else path
            return pq.ParquetFile(source, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise CorruptRun(f"{path}: not a whole Parquet file ({_first_line(error)}).") from error


def part_totals(path: PartFile) -> Totals:
    """A part's totals, from its footer; no row is read."""
    with open_part(path) as part:
        metadata = part.metadata.metadata or {}
    try:
        return Totals(**json.loads(metadata[b"batchlab.totals"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRun(f"{path}: not a part of batchlab: its footer holds no totals.") from error


def part_tables(path: PartFile, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A part's rows, some at a time, every page's checksum verified. Raises CorruptRun."""
    with open_part(path) as part:
        try:
            with _store_trouble(path):
                for batch in part.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                    yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            raise CorruptRun(f"{path}: damaged ({_first_line(error)}).") from error


def part_results(path: PartFile, prefix: str, vectors: Sequence[str] = ()) -> Iterator[Result]:
    """A part's results, in row order; `vectors` are the columns for embeddings that its run has."""
    names = [prefix + name for name in RESULT_COLUMNS]
    own = [prefix + name for name in vectors]
    for table in _with_later_columns(path, prefix, [*names, *own]):
        texts = vector_texts([table[name] for name in own], vectors, table.num_rows)
        try:
            rows = table.select(names).rename_columns(list(RESULT_COLUMNS)).to_pylist()
        except pa.ArrowException as error:  # a flipped bit in the name of a time zone
            raise CorruptRun(f"{path}: damaged ({_first_line(error)}).") from error
        for row, kept in zip(rows, texts, strict=True):
            yield _result(row, kept)


def whole_tables(path: PartFile, prefix: str) -> Iterator[pa.Table]:
    """A part's rows with every result column that there is now, some at a time. Raises CorruptRun."""
    return _with_later_columns(path, prefix, None)


def _with_later_columns(path: PartFile, prefix: str, columns: list[str] | None) -> Iterator[pa.Table]:
    """A part's rows, nulls in the result columns that were added since it was written.

    Args:
        columns: the result columns' names, to have no other; all columns when None.
    """
    names = [prefix + name for name in RESULT_COLUMNS]
    lacking: list[str] | None = None
    for table in part_tables(path, columns):
        if _results_of(table, names) != names:
            lacking = _lacking(path) if lacking is None else lacking
            if columns is not None:  # what else has such a name is a column of the input
                table = table.select(
                    [name for name in table.column_names if name.removeprefix(prefix) not in lacking]
                )
            for name in lacking:
                table = _with_nulls(table, name, prefix)
            if _results_of(table, names) != names:
                raise CorruptRun(f"{path}: damaged (its columns are not those of a part).")
        yield table


def _results_of(table: pa.Table, names: list[str]) -> list[str]:
    """The columns from the first result column on, as many as there should be."""
    present: list[str] = table.column_names
    start = present.index(names[0]) if names[0] in present else 0
    return present[start : start + len(names)]


def _with_nulls(table: pa.Table, name: str, prefix: str) -> pa.Table:
    before = prefix + RESULT_COLUMNS[RESULT_COLUMNS.index(name) - 1]
    if before not in table.column_names:
        return table
    field = result_schema().field(name).with_name(prefix + name)
    nulls = pa.nulls(table.num_rows, type=field.type)
    return table.add_column(table.column_names.index(before) + 1, field, nulls)


def _lacking(path: PartFile) -> list[str]:
    """Result columns, in order, that were added since the part was written."""
    with open_part(path) as part:
        written_as = (part.metadata.metadata or {}).get(b"batchlab.format")
    return [name for name in RESULT_COLUMNS if name in LATER_COLUMNS and written_as == b"1"]


def _expanded(columns: Sequence[pa.Array], expanded: pa.Schema | None) -> list[pa.Array]:
    """The columns of the job's schema, from the result columns of the same rows."""
    if expanded is None:
        return []
    return expanded_columns(columns[RESULT_COLUMNS.index("parsed")].to_pylist(), expanded)


def with_results(
    input_table: pa.Table,
    results: Iterable[Result | None],
    first_row: int,
    prefix: str,
    expanded: pa.Schema | None = None,
    vectors: Sequence[str] = (),
) -> pa.Table:
    """Input rows with what is known of their results: for a shard that is not sealed."""
    row_ids = range(first_row, first_row + input_table.num_rows)
    values = [None if result is None else values_of(result) for result in results]
    columns = result_columns(values, row_ids, vectors)
    columns += _expanded(columns, expanded)
    return pa.Table.from_arrays(
        [*input_table.columns, *columns], schema=part_schema(input_table.schema, prefix, expanded, vectors)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

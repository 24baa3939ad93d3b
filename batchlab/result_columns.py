"""The result columns of every part, each declared once: its name, its type, and where a result holds it.

What Arrow calls the types, how the values are taken out of results and put back into them, and which
columns an older part lacks (`store.columns.results`, `store.parts`) follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Kind(StrEnum):
    """The type of a column's values."""

    INT = "int64"
    COUNT = "int16"  # at most 32,767; more is shown as that
    USD = "float64"
    MS = "float32"
    TIME = "timestamp"  # UTC, µs
    TEXT = "string"
    LONG_TEXT = "large_string"
    WORD = "dictionary"  # one of few
    HASH = "binary"  # 16 bytes


class At(Enum):
    """Where a result holds a column's value, under the column's own name."""

    RESULT = ()
    REPLY = ("reply",)
    USAGE = ("reply", "usage")
    TIMING = ("timing",)
    MADE = None  # made of more than one value, or written otherwise


@dataclass(frozen=True, slots=True)
class Column:
    """One result column.

    Attributes:
        otel: the attribute that OpenTelemetry's GenAI conventions have for it, "" for none.
        since: the format of parts that brought it; in a part of an earlier one it reads as null.
    """

    name: str
    kind: Kind
    at: At = At.RESULT
    otel: str = ""
    since: int = 1


_COLUMNS = (
    Column("row_id", Kind.INT, At.MADE),
    Column("custom_id", Kind.TEXT, At.MADE),
    Column("status", Kind.WORD, At.MADE),
    Column("completion", Kind.LONG_TEXT, At.REPLY, "gen_ai.output.messages"),
    Column("reasoning", Kind.LONG_TEXT, At.REPLY),
    Column("refusal", Kind.TEXT, At.REPLY),
    Column("tool_calls", Kind.TEXT, At.REPLY),
    Column("choices", Kind.LONG_TEXT, At.REPLY, since=2),
    Column("logprobs", Kind.LONG_TEXT, At.REPLY, since=2),
    Column("parsed", Kind.TEXT, At.MADE),
    Column("parsed_note", Kind.WORD, At.MADE, since=2),
    Column("corrections", Kind.COUNT, At.MADE, since=2),
    Column("finish_reason", Kind.WORD, At.REPLY, "gen_ai.response.finish_reasons"),
    Column("prompt_tokens", Kind.INT, At.USAGE, "gen_ai.usage.input_tokens"),
    Column("completion_tokens", Kind.INT, At.USAGE, "gen_ai.usage.output_tokens"),
    Column("total_tokens", Kind.INT, At.USAGE),
    Column("cached_tokens", Kind.INT, At.USAGE, "gen_ai.usage.cache_read.input_tokens"),
    Column("cache_write_tokens", Kind.INT, At.USAGE, "gen_ai.usage.cache_creation.input_tokens", since=3),
    Column("reasoning_tokens", Kind.INT, At.USAGE, "gen_ai.usage.reasoning.output_tokens"),
    Column("wasted_prompt_tokens", Kind.INT),
    Column("wasted_completion_tokens", Kind.INT),
    Column("usage_raw", Kind.TEXT, At.MADE),
    Column("cost_usd", Kind.USD),
    Column("cost_wasted_usd", Kind.USD),
    Column("attempts", Kind.COUNT, At.MADE),
    Column("cut_off", Kind.COUNT, At.MADE),
    Column("error_class", Kind.WORD, At.RESULT, "error.type"),
    Column("error_code", Kind.COUNT),
    Column("error_message", Kind.TEXT),
    Column("error_raw", Kind.TEXT, since=3),
    Column("endpoint", Kind.WORD),
    Column("lane", Kind.WORD, since=4),
    Column("service_tier", Kind.WORD, At.REPLY, "openai.response.service_tier", since=3),
    Column("model", Kind.TEXT, At.REPLY, "gen_ai.response.model"),
    Column("response_id", Kind.TEXT, At.REPLY, "gen_ai.response.id"),
    Column("request_id", Kind.TEXT),
    Column("system_fingerprint", Kind.TEXT, At.REPLY, "openai.response.system_fingerprint"),
    Column("started_at", Kind.TIME, At.MADE),
    Column("finished_at", Kind.TIME, At.MADE),
    Column("latency_ms", Kind.MS, At.TIMING),
    Column("queue_ms", Kind.MS, At.TIMING),
    Column("ttft_ms", Kind.MS, At.TIMING),
    Column("request_hash", Kind.HASH, At.MADE),
)
COLUMNS: dict[str, Column] = {column.name: column for column in _COLUMNS}  # in the order of a part

RESULT_COLUMNS = tuple(COLUMNS)
# Those that come after them in a run that asks for embeddings: a row's vector, and the vectors of a
# line of a batch file that asks for several.
VECTOR_COLUMNS = ("embedding", "embeddings")

FORMAT = max(column.since for column in _COLUMNS)  # of the parts that are written now


def columns_at(at: At) -> tuple[str, ...]:
    """Names of the columns whose values are there."""
    return tuple(column.name for column in _COLUMNS if column.at is at)


def columns_since(written_as: int) -> list[str]:
    """Names of the columns that a part of an earlier format lacks, in order."""
    return [column.name for column in _COLUMNS if column.since > written_as]

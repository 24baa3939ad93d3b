"""The journal: what arrived, one checksummed record a line, in the order it arrived.

A record is `crc32(8 hex) SP length SP json LF`. Length and checksum tell a torn record from
a short one; being text, `cut -d' ' -f3-` recovers the JSON by hand.

    {"t": "sent", "row": 7, "attempt": 1}        a request left; "rows": [7, 8] when it carried several
    {"t": "back", "row": 7, "usage": {...}, "usd": 0.1}  it came back without a final result
    {"t": "completion" | "failure", "v": {...}}  the row's final result
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from batchlab.records import Completion, Failure, Parsed, Reply, Result, Timing, Usage

# A result as the journal holds it: the fields of Completion or Failure, nested, `request_hash` in hex.
ResultValues: TypeAlias = dict[str, Any]
RESULT_KINDS = frozenset({"completion", "failure"})
_HEADER = re.compile(rb"([0-9a-f]{8}) (\d{1,10}) ")
MAX_RECORD_BYTES = 2**28  # 256 MiB


def encode(payload: bytes) -> bytes:
    """The record that holds `payload`, a JSON text without line feeds."""
    return b"%08x %d %b\n" % (zlib.crc32(payload), len(payload), payload)


def sent_record(row_id: int, attempt: int) -> bytes:
    """A request for the row leaves now."""
    return encode(b'{"t":"sent","row":%d,"attempt":%d}' % (row_id, attempt))


def back_record(row_id: int, usage: Usage | None, usd: float | None) -> bytes:
    """The row's request came back without a final result; `usage` was paid all the same, for `usd`."""
    return encode(orjson.dumps({"t": "back", "row": row_id, "usage": usage, "usd": usd}))


def sent_together_record(row_ids: Sequence[int], attempt: int) -> bytes:
    """One request for all these rows leaves now."""
    return encode(orjson.dumps({"t": "sent", "rows": row_ids, "attempt": attempt}))


def back_together_record(row_ids: Sequence[int]) -> bytes:
    """That request came back without a final result, and nothing was paid for it."""
    return encode(orjson.dumps({"t": "back", "rows": row_ids}))


def result_record(result: Result) -> bytes:
    """The row's final result."""
    kind = "completion" if isinstance(result, Completion) else "failure"
    return encode(orjson.dumps({"t": kind, "v": result}, default=bytes.hex))


def result_of(record: dict[str, Any]) -> Result | None:
    """The result in a decoded record; None for a record of another kind."""
    kind = record.get("t")
    if kind not in RESULT_KINDS:
        return None
    value = dict(record["v"])
    value["request_hash"] = bytes.fromhex(value["request_hash"])
    timing = value.get("timing")
    value["timing"] = Timing(**timing) if timing else None
    if kind == "failure":
        return Failure(**value)
    reply = dict(value["reply"])
    reply["usage"] = Usage(**reply["usage"])
    if reply.get("vectors"):
        reply["vectors"] = tuple(reply["vectors"])
    value["reply"] = Reply(**reply)
    if value.get("parsed"):
        value["parsed"] = Parsed(**value["parsed"])
    return Completion(**value)


@dataclass(frozen=True, slots=True)
class Record:
    """One good record: where it stands in its file, and what it says."""

    offset: int
    length: int
    data: dict[str, Any]


@dataclass(slots=True)
class JournalScan:
    """Reads a journal from its start. The damage is known once `records` is exhausted.

    Attributes:
        good_bytes: where the last good record ends.
        torn_bytes: bytes after it that are no record: a crash cut the last write short.
        damaged: (offset, length) of stretches that are no records but have good ones after them.
            Zeros are not among them: they stand for writes that were never synced.
    """

    path: Path
    good_bytes: int = 0
    torn_bytes: int = 0
    damaged: list[tuple[int, int]] = field(default_factory=list)

    def records(self) -> Iterator[Record]:
        """The good records, oldest first; what is between them goes to `damaged`."""
        with self.path.open("rb") as file:
            bad_from: int | None = None
            offset = 0
            while line := file.readline(MAX_RECORD_BYTES):
                # a write that a power loss dropped while a later one was kept reads as zeros
                hole = len(line) - len(line.lstrip(b"\0"))
                data = decode(line[hole:])
                if data is None:
                    bad_from = offset if bad_from is None else bad_from
                else:
                    if bad_from is not None:
                        self.damaged.append((bad_from, offset - bad_from))
                        bad_from = None
                    yield Record(offset + hole, len(line) - hole, data)
                    self.good_bytes = offset + len(line)
                offset += len(line)
            self.torn_bytes = offset - self.good_bytes


def decode(line: bytes) -> dict[str, Any] | None:
    """What a record says, or None when it is not one, whole and unchanged."""
    header = _HEADER.match(line)
    if header is None or not line.endswith(b"\n"):
        return None
    payload = line[header.end() : -1]
    if len(payload) != int(header.group(2)) or zlib.crc32(payload) != int(header.group(1), 16):
        return None
    try:
        data = orjson.loads(payload)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None

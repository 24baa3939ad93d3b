"""The journal: what arrived, one checksummed record a line, in the order it arrived.

A record is `crc32(8 hex) SP length SP json LF`. Length and checksum tell a torn record from
a short one; being text, `cut -d' ' -f3-` recovers the JSON by hand.

    {"t": "sent", "row": 7, "attempt": 1}        a request left; "rows": [7, 8] when it carried several
    {"t": "back", "row": 7, "usage": {...}, "usd": 0.1}  it came back without a final result
    {"t": "sent", "row": 7, "attempt": 1, "by": KEY, "back": {...}}  it was in a batch, and came back so
    {"t": "completion" | "failure", "v": {...}}  the row's final result; with "retried": true it takes the
                                                 place of a cut off, filtered or empty answer
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import orjson

from batchlab.errors import CorruptRun
from batchlab.records import Completion, Failure, Parsed, Reply, Result, Timing, Usage
from batchlab.store.disk.files import AppendFile, atomic_write, disk_errors, file_content, plain_file

# A result as the journal holds it: the fields of Completion or Failure, nested, `request_hash` in hex.
ResultValues: TypeAlias = dict[str, Any]
RESULT_KINDS = frozenset({"completion", "failure"})
_HEADER = re.compile(rb"([0-9a-f]{8}) (\d{1,10}) ")
MAX_RECORD_BYTES = 2**28  # 256 MiB
MAX_COUNT = 2**63 - 1
_TAIL_BYTES = 64 * 1024


def encode(payload: bytes) -> bytes:
    """The record that holds `payload`, a JSON text without line feeds."""
    return b"%08x %d %b\n" % (zlib.crc32(payload), len(payload), payload)


def sent_record(row_id: int, attempt: int) -> bytes:
    """A request for the row leaves now."""
    return encode(b'{"t":"sent","row":%d,"attempt":%d}' % (row_id, attempt))


def back_record(row_id: int, usage: Usage | None, usd: float | None) -> bytes:
    """The row's request came back without a final result; `usage` was paid all the same, for `usd`."""
    try:
        payload = orjson.dumps({"t": "back", "row": row_id, "usage": usage, "usd": usd})
    except TypeError:
        payload = orjson.dumps({"t": "back", "row": row_id, "usage": storable(usage), "usd": storable(usd)})
    return encode(payload)


@dataclass(frozen=True, slots=True)
class AskedInVain:
    """A request for a row, in a batch whose results are merged, that has brought no final result.

    Attributes:
        by: key of the batch.
        came_back: it is among the results; else nobody knows what became of it.
        usage, usd: what was paid for it, if anything.
    """

    row_id: int
    attempt: int
    by: str
    came_back: bool
    usage: Usage | None = None
    usd: float | None = None


def asked_record(asked: AskedInVain) -> bytes:
    """One record of it, with what was paid: it is whole or not, and a merge that is cut off begins again."""
    said: dict[str, object] = {"t": "sent", "row": asked.row_id, "attempt": asked.attempt, "by": asked.by}
    if asked.came_back:
        said["back"] = {"usage": asked.usage, "usd": asked.usd}
    try:
        return encode(orjson.dumps(said))
    except TypeError:
        said["back"] = {"usage": storable(asked.usage), "usd": storable(asked.usd)}
        return encode(orjson.dumps(said))


def sent_together_record(row_ids: Sequence[int], attempt: int) -> bytes:
    """One request for all these rows leaves now."""
    return encode(orjson.dumps({"t": "sent", "rows": row_ids, "attempt": attempt}))


def back_together_record(row_ids: Sequence[int]) -> bytes:
    """That request came back without a final result, and nothing was paid for it."""
    return encode(orjson.dumps({"t": "back", "rows": row_ids}))


def result_record(result: Result, *, retried: bool = False) -> bytes:
    """The row's final result. Raises TypeError when it holds what JSON cannot; see `storable`.

    Args:
        retried: it takes the place of an answer that the row has.
    """
    kind = "failure"
    if isinstance(result, Completion):
        kind, usage = "completion", result.reply.usage
        if (
            (usage.prompt_tokens or 0) > MAX_COUNT
            or (usage.completion_tokens or 0) > MAX_COUNT
            or (usage.total_tokens or 0) > MAX_COUNT
            or (usage.cached_tokens or 0) > MAX_COUNT
            or (usage.cache_write_tokens or 0) > MAX_COUNT
            or (usage.reasoning_tokens or 0) > MAX_COUNT
        ):
            raise TypeError("a count beyond 64 bits")  # JSON would hold some that no part can
    record = {"t": kind, "v": result, "retried": True} if retried else {"t": kind, "v": result}
    return encode(orjson.dumps(record, default=_hex))


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a result")


V = TypeVar("V")


def storable(value: V) -> V:
    """`value`, with all in it that JSON cannot hold replaced by what comes nearest.

    Half a surrogate pair, or a byte of a header that was no UTF-8, becomes `?`; an integer beyond 64 bits
    becomes None, which is "unknown" for every count; what is no plain value becomes its type's name.
    """
    return cast("V", _storable(value))


def _storable(value: Any) -> Any:
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return int(value) if -MAX_COUNT <= value <= MAX_COUNT else None
    if isinstance(value, tuple | list):
        return type(value)(_storable(one) for one in value)
    if isinstance(value, dict):
        return {_storable(name): _storable(one) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _storable(getattr(value, one.name)) for one in fields(value)})
    return f"<{type(value).__name__}>"


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

    @property
    def is_retried(self) -> bool:
        """Whether its result takes the place of an answer that its row has had."""
        return self.data.get("retried") is True


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
        with plain_file(self.path) as file:
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


def repaired_records(
    path: Path, *, lost: str = "rows whose record was lost will be asked, and paid, once more"
) -> Iterator[Record]:
    """A journal's good records. A torn tail is cut off; damage before a good record is set aside.

    Args:
        lost: what becomes of a record that was lost.

    Raises:
        CorruptRun: after the last record, when there was damage that no crash leaves behind. The
            damaged file is kept beside a clean one, so the next run goes on.
    """
    scan = JournalScan(path)
    yield from scan.records()
    if scan.damaged:
        kept = path.with_name(f"{path.name}.damaged")
        with disk_errors(kept):
            shutil.copyfile(path, kept)
        data = file_content(path)
        good = b"".join(line for line in data.splitlines(keepends=True) if decode(line) is not None)
        atomic_write(path, good)
        where = ", ".join(f"{length} bytes at {offset}" for offset, length in scan.damaged[:5])
        raise CorruptRun(
            f"{path}: damaged ({where}), and not as a crash would leave it. "
            f"The damaged file is kept as {kept.name}. Run the same command again to go on: {lost}."
        )
    if scan.torn_bytes:
        file = AppendFile(path)
        with disk_errors(path), contextlib.closing(file):
            file.truncate(scan.good_bytes)
            file.sync()


def cut_torn_tail(file: AppendFile) -> None:
    """Drops what follows the last whole line, so that no record follows half of another."""
    tail = file.read(max(0, file.size - _TAIL_BYTES), _TAIL_BYTES)
    if tail and not tail.endswith(b"\n"):
        file.truncate(file.size - len(tail) + len(whole_lines(tail)))


def whole_lines(data: bytes) -> bytes:
    """`data` up to its last line feed."""
    return data[: data.rfind(b"\n") + 1]


def ends_in_mid_line(path: str, descriptor: int) -> bool:
    """Whether a crash or a full disk cut an open file's last line short; never of a pipe."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:  # it may be for others to read, not for us
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
    return True

"""Mutated samples through everything that reads what others wrote: no strange exception, no hang.

    python -m tests.proofs.fuzz.run                        # 10^6 cases a parser, 10^5 an input reader
    python -m tests.proofs.fuzz.run --only sse --cases 5000

Each target runs in a process of its own under a memory limit, each case under an alarm. A case is
its number: `--only TARGET --first N --cases 1` repeats it.
"""

from __future__ import annotations

import functools
import io
import json
import math
import multiprocessing
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.job import Job
from batchlab.records import Outcome
from tests.proofs.arguments import Option, ended, one_of, options

CASE_S = 10
MEMORY = 4 * 2**30
Target = Callable[[random.Random], None]

INTERESTING = [
    b"",
    b"\0",
    b"\n",
    b"\r",
    b"\r\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'"',
    b"\\ud83d",
    b"[" * 2000,
    b"{" * 50,
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"null",
    b"data: ",
    b"data:",
    b": comment\n",
    b"[DONE]",
    b"\xe2\x80\xa8",
    b",",
    b"\t",
    b"=1+1",
]


def mutated(sample: bytes, rng: random.Random) -> bytes:
    """`sample` after a few changes: bits, cuts, repeats, insertions."""
    data = bytearray(sample)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randint(0, len(data))
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 20)]
            case 2:
                data[at:at] = rng.choice(INTERESTING)
            case 3:
                data[at:at] = data[max(0, at - rng.randint(1, 40)) : at]
            case 4:
                del data[at:]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 6))
    return bytes(data)


SSE = [
    (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    ),
    b": keep-alive\r\n\r\nevent: x\r\ndata: {\r\ndata: }\r\n\r\ndata:[DONE]\r\n\r\n",
    b'data: {"error":{"message":"no","code":502}}\ndata: [DONE]\n',
    (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f",'
        b'"arguments":"{\\"x\\":"}}]}}]}\n\ndata: {"choices":[{"delta":{"tool_calls":[{"index":0,'
        b'"function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}]}\n\n'
    ),
]
SSE += [
    b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop","usage":{"prompt_tokens":3}}]}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"index":1,"delta":{"reasoning":"a"}},{"index":0,"text":"b","finish_reason":"abort"}]}\n\n',
    b'event: error\ndata: {"message":"no","code":500}\n\nerror: {"code":400,"message":"no"}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"message":{"content":[{"type":"thinking","thinking":"t"}]},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"error":{"code":429}}],"x_groq":{"usage":{"prompt_tokens":1}},"base_resp":{"status_code":0}}\n\n',
]
BODIES = [
    b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"PerDay"}]},{"retryDelay":"3s"}]}}]',
    b'{"error":{"message":"no","code":400,"metadata":{"raw":"{\\"error\\":{\\"code\\":\\"x\\"}}","provider_name":"P"}}}',
    b'{"detail":[{"loc":["body","messages",0],"msg":"no","input":"rate limit"}]}',
    b'{"error":{"message":"litellm.BadRequestError: XException - {\\"error\\":{\\"code\\":\\"y\\"}} more"}}',
    b'{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
    (
        b'{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":1}}}'
    ),
    b'{"error":{"message":"Rate limit reached, try again in 1.5s","type":"requests","code":"rate_limit_exceeded"}}',
    b'{"error":"string","status":"error","messege":"queue is full"}',
    b'{"choices":[{"message":{"content":[{"type":"text","text":"a"}]}}]}',
    b"<!doctype html><html><title>502 Bad Gateway</title></html>",
]
HEADERS = {
    "retry-after": ["1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "0", "-1", "nan", "1e9", "soon"],
    "retry-after-ms": ["200", "x", "-5"],
    "x-ratelimit-limit-requests": ["600", "-1", "0", "10, 10;w=1", "1e400"],
    "x-ratelimit-remaining-requests": ["599", "-1", ""],
    "x-ratelimit-reset-requests": ["12ms", "1s", "6m0s", "2m59.56s", "1700000000", "2026-01-01T00:00:00Z"],
    "x-ratelimit-limit-tokens": ["120000", "NaN"],
    "x-ratelimit-remaining-tokens": ["5", "five"],
    "x-ratelimit-reset-tokens": ["1h", "1d2h", ".5s", "s"],
    "x-should-retry": ["true", "false", "maybe"],
    "date": ["Wed, 21 Oct 2026 07:28:00 GMT", "x"],
}


def sse(rng: random.Random) -> None:
    """Any chunking of any bytes gives the same events, and they add up to a reply or a problem."""
    from batchlab.protocol.assembler import StreamAssembler
    from batchlab.protocol.sse import ErrorEvent, SseDecoder
    from batchlab.protocol.values import ReplyProblem

    data = mutated(rng.choice(SSE), rng)
    whole = SseDecoder()
    events = whole.feed(data) + whole.close()
    parts = SseDecoder()
    pieces: list[str] = []
    start = 0
    while start < len(data):
        size = rng.choice((1, 1, 2, 3, 7, 50))
        pieces += parts.feed(data[start : start + size])
        start += size
    pieces += parts.close()
    assert pieces == events, "the chunking changes the events"
    assert parts.is_lossy == whole.is_lossy
    assert [type(piece) for piece in pieces] == [type(event) for event in events]
    usage_follows = rng.random() < 0.5
    stream = StreamAssembler(choices=rng.choice((1, 1, 2)), usage_follows=usage_follows)
    for event in events:
        stream.feed(event)
        if type(event) is ErrorEvent and not stream.is_done:
            assert stream.is_refused
    _plausible(stream.usage)
    reply, problem = None, None
    try:
        reply = stream.reply()
    except ReplyProblem as found:
        problem = found
    if reply is None:
        assert problem is not None
        assert problem.evidence is not None
        assert problem.usage == stream.usage
        return
    assert not stream.is_refused, "an error became an answer"
    assert stream.is_done or reply.finish_reason, "half a stream became an answer"
    assert not reply.finish_reason or len(reply.finish_reason) <= 64


def _plausible(usage: Any) -> None:
    from batchlab.protocol.usage import MAX_COUNT

    for name in ("prompt", "completion", "total", "cached", "cache_write", "reasoning"):
        tokens = getattr(usage, f"{name}_tokens")
        assert tokens is None or (type(tokens) is int and 0 <= tokens <= MAX_COUNT), f"{name}: {tokens}"
    if usage.raw is not None:
        json.loads(usage.raw)


COUNTS: tuple[Any, ...] = (
    None,
    *range(8),
    100,
    2**48,
    2**48 - 1,
    2**48 + 1,
    2**63,
    -1,
    1.0,
    2.5,
    2.0**48,
    1e300,
    float("nan"),
    float("inf"),
    True,
    "7",
    "-7",
    "x",
    "9" * 30,
    [1],
    {"a": 1},
)
USAGE_NAMES = (
    "prompt_tokens completion_tokens total_tokens input_tokens output_tokens cached_tokens "
    "prompt_cache_hit_tokens cache_read_input_tokens cache_creation_input_tokens cache_write_tokens "
    "cache_creation_tokens reasoning_tokens"
).split()
DETAILS = "prompt_tokens_details input_tokens_details completion_tokens_details output_tokens_details".split()


def usage(rng: random.Random) -> None:
    """Any usage object has counts that a request can have, and its output is what was said, or with reasoning."""
    from batchlab.protocol.usage import MAX_COUNT, billed_usage, count, usage_of

    def some(names: list[str]) -> dict[str, Any]:
        return {name: rng.choice(COUNTS) for name in rng.sample(names, rng.randint(0, 5))}

    raw: dict[str, Any] = some(USAGE_NAMES)
    for name in DETAILS:
        if rng.random() < 0.4:
            raw[name] = rng.choice((some(USAGE_NAMES), some(USAGE_NAMES), None, [1], "x", 5))
    prompt, completion, reasoning = (rng.randint(0, 9) for _ in range(3))
    model = rng.choice(("m", "gemini-2.5-pro"))
    if rng.random() < 0.3:
        raw |= {"prompt_tokens": prompt, "completion_tokens": completion}
        raw["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        raw.pop("cache_creation_input_tokens", None)
        beside = rng.random() < 0.5
        raw["total_tokens"] = prompt + completion + (reasoning if beside else 0)
        billed = billed_usage(raw, model=model)
        assert billed.completion_tokens == completion + (reasoning if beside else 0)
        assert (billed.prompt_tokens, billed.reasoning_tokens) == (prompt, reasoning)
    billed = billed_usage(raw, model=model)
    _plausible(billed)
    said = count(raw.get("completion_tokens"))
    if said is None:
        said = count(raw.get("output_tokens"))
    if billed.completion_tokens is not None:
        assert said is not None, "output that nobody told of"
        assert billed.completion_tokens in {said, said + (billed.reasoning_tokens or 0)}
    elif said is not None:
        assert said + (billed.reasoning_tokens or 0) > MAX_COUNT
    place = rng.randrange(4)
    answer = ({"usage": raw}, {"x_groq": {"usage": raw}}, {"choices": [{"usage": raw}]}, raw)[place]
    found = usage_of({"model": model, **answer})
    assert found == billed or place == 3


def some_headers(rng: random.Random) -> dict[str, str]:
    """A few of the headers that providers send, changed."""
    names = rng.sample(list(HEADERS), rng.randint(0, 4))
    return {
        name: mutated(rng.choice(HEADERS[name]).encode(), rng).decode("utf-8", "replace") for name in names
    }


def headers(rng: random.Random) -> None:
    """Numbers read from headers are finite and not negative, or not there."""
    from batchlab.protocol.limits import message_wait_s, rate_limits, retry_after_s

    given = some_headers(rng)
    wait = retry_after_s(given)
    assert wait is None or (math.isfinite(wait) and wait >= 0), wait
    found = rate_limits(given)
    for name in () if found is None else found.__slots__:
        value = getattr(found, name)
        assert value is None or not isinstance(value, float) or (math.isfinite(value) and value >= 0), name
    said = message_wait_s(
        mutated(b"Please try again in 6m0.5s. Limit 3, used 4", rng).decode("utf-8", "replace")
    )
    assert said is None or (math.isfinite(said) and said >= 0), said


def embeddings(rng: random.Random) -> None:
    """Each text gets the vector that has its index, or none gets any."""
    from batchlab.protocol.embeddings import parse_embeddings, vector_text
    from batchlab.protocol.values import ReplyProblem

    texts, size = rng.randint(1, 5), rng.randint(1, 4)
    vectors = [struct.pack(f"<{size}f", *(rng.uniform(-1, 1) for _ in range(size))) for _ in range(texts)]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": vector_text(vector)
            if rng.random() < 0.5
            else list(struct.unpack(f"<{size}f", vector)),
        }
        for index, vector in enumerate(vectors)
    ]
    rng.shuffle(data)
    whole = True
    match rng.randrange(8):
        case 0:
            del data[rng.randrange(texts)]
            whole = False
        case 1:
            data[rng.randrange(texts)]["index"] = rng.choice((-1, texts, texts + 7, "0", None, 0.0, True))
            whole = False
        case 2:
            data.append(dict(rng.choice(data)))
            whole = False
        case 3 if texts > 1:
            data[0]["embedding"] = [0.5] * (size + 1)
            whole = False
        case 4:
            data[0]["embedding"] = rng.choice(
                (None, [], "", "AAA", "AAAAA===", [None] * size, ["1"] * size, {})
            )
            whole = False
        case 5:
            data[0]["embedding"] = [10**400] + [1e999] * (size - 1)
            whole = False
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    body = json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()
    asked = {"input": [str(number) for number in range(texts)] if texts > 1 else "0"}
    try:
        reply = parse_embeddings(body, asked)
    except ReplyProblem:
        assert not whole, "a good answer was refused"
    else:
        assert reply.vectors == tuple(map(vector_text, vectors)), "a row has a vector that is not its own"
    try:
        reply = parse_embeddings(mutated(body, rng), asked)
    except ReplyProblem:
        return
    assert reply.vectors is not None
    assert len(reply.vectors) == texts


STATUSES = (
    200,
    200,
    201,
    204,
    301,
    400,
    400,
    401,
    402,
    403,
    404,
    408,
    413,
    422,
    429,
    429,
    498,
    499,
    500,
    502,
)
STATUSES += (503, 529, 599, 700)
NAMES = (
    "error errors message detail code type status metadata raw innererror base_resp status_code details reason "
    "violations quotaId retryDelay choices finish_reason delta usage object msg loc input param content"
).split()
WORDS = (
    "rate limit reached; queue is full; unauthorized; invalid api key; out of credits; insufficient credits; "
    "try again in 9s; overloaded; loading; prompt is too long; content policy; You exceeded your current quota; "
    "You have reached the limit; exceeded your limit; 余额不足; Allocated quota exceeded, please increase your "
    "quota limit; your credit balance is too low"
).split("; ")
QUOTES = ("'{}'", '"{}"', "`{}`", "“{}”", "«{}»", "「{}」", "b'{}'", "'{}", '"{}', "{}")


def _some_json(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value with the names that errors have, words that are dangerous, and JSON in its texts."""
    kind = rng.randrange(10 if depth < 5 else 4)
    if kind < 3:
        text = rng.choice(QUOTES).format(rng.choice(WORDS))
        return rng.choice((text, f"no: {text}", f"{text} is not allowed", rng.choice(WORDS)))
    if kind == 3:
        return rng.choice((None, True, 0, 7, 429, 401, 1302, "429", "error", 1e300, -1, "", "3s"))
    if kind == 4:
        return [_some_json(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == 5:
        return json.dumps(_some_json(rng, depth + 1))
    names = rng.sample(NAMES, rng.randint(1, 5))
    return {name: _some_json(rng, depth + 1) for name in names}


def _has_fact(value: Any) -> bool:
    """Whether a value has a member by which programs are told: then anything may follow."""
    if isinstance(value, list):
        return any(map(_has_fact, value))
    if not isinstance(value, dict):
        return False
    named = {"code", "type", "status", "reason", "status_code", "violations", "quotaId"}
    return bool(named & value.keys()) or any(map(_has_fact, value.values()))


def classifier(rng: random.Random) -> None:
    """Any status, headers and body have an outcome with a short, printable message, and no text that may be
    the user's makes a refused request more than its row's failure."""
    from batchlab.protocol.chat import parse_reply
    from batchlab.protocol.outcomes.classify import classify
    from batchlab.protocol.redact import printable
    from batchlab.protocol.values import ReplyProblem

    value = _some_json(rng)
    plain = rng.random() < 0.5
    body = json.dumps(value).encode() if plain else mutated(rng.choice(BODIES), rng)
    try:
        reply = parse_reply(body)
    except ReplyProblem as problem:
        _plausible(problem.usage) if problem.usage is not None else None
    else:
        _plausible(reply.usage)
    status = rng.choice(STATUSES)
    headers = some_headers(rng)
    outcome = classify(status, headers, body, None)
    assert isinstance(outcome, Outcome)
    assert outcome.kind != "OK"
    assert outcome.wait_s is None or outcome.wait_s >= 0
    for text in (outcome.message, outcome.cause):
        assert text == printable(text), "not printable, or too long"
        assert len(text) <= 2_000
    assert outcome.error_raw is None or len(outcome.error_raw) <= 2_000
    if plain and status in {400, 413, 422} and not _has_fact(value):
        # `status: "error"` is a fact, too: ModelsLab's own sentences are in its own envelope
        assert outcome.kind in {"FAIL", "RETRY"}, f"{outcome.kind} by words: {body!r}"


_JOURNAL: list[bytes] = []


def journal(rng: random.Random) -> None:
    """A changed journal gives back records that were written, and no others."""
    from batchlab.records import Completion, Reply
    from batchlab.store.journals.journal import JournalScan, result_of, result_record, sent_record

    if not _JOURNAL:
        for row in range(4):
            _JOURNAL.append(sent_record(row, 1))
            reply = Reply(completion=f"answer {row}\u2028", finish_reason="stop")
            _JOURNAL.append(result_record(Completion(row, str(row), bytes(16), "ok", reply, 1, None)))  # type: ignore[arg-type]
    written = set(_JOURNAL)
    data = mutated(b"".join(_JOURNAL), rng)

    path = Path(_folder().name) / "journal"
    path.write_bytes(data)
    for record in JournalScan(path).records():
        line = data[record.offset : record.offset + record.length]
        assert line in written, "a record that nobody wrote"
        result_of(record.data)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """This process's own, in memory where that can be had; it is gone when the process ends."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


@functools.cache
def _job_of(path: Path, **more: Any) -> Job:
    """Made once, as it is the file that changes: it was a quarter of a case's time."""
    from batchlab.job.file import job_from

    return job_from({"input": {"path": str(path), **more}, "request": {"model": "m", "prompt": "{text}"}})


def _input_file(rng: random.Random, name: str, sample: bytes, *, changes: bool = True, **more: Any) -> None:
    from batchlab.inputs.plan import plan_input
    from batchlab.inputs.sources.opening import open_source

    path = Path(_folder().name) / name
    path.write_bytes(mutated(sample, rng) if changes else sample)
    job = _job_of(path, **more)
    try:
        source = open_source(str(path), encoding=job.input.encoding)
        planned = plan_input(job, source)
        if planned.problems:
            return
        for shard in planned.plan.shards:
            rows = list(source.rows(shard, planned.plan))
            assert len(rows) == shard.rows == source.table(shard, planned.plan).num_rows
    except BatchlabError:
        pass
    finally:
        path.unlink()


ROWS = [{"text": f"row {n}", "n": n, "x": [1, {"a": None}], "é": 1.5} for n in range(6)]
FLAT = [{"text": f"row {n}", "n": n, "x": [1.5, None], "é": {"a": n}} for n in range(6)]


def jsonl(rng: random.Random) -> None:
    """Any bytes as JSON Lines: rows, or one line that says what is wrong."""
    _input_file(rng, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode())


def delimited(rng: random.Random) -> None:
    """Any bytes as CSV."""
    sample = 'text,n,x\r\n"a ""quoted"", cell",1,\r\nb,2,"two\nlines"\r\nc,3,é\r\n'.encode()
    _input_file(rng, rng.choice(("rows.csv", "rows.tsv")), sample)


_PARQUET: list[bytes] = []


def parquet(rng: random.Random) -> None:
    """Any bytes as Parquet."""
    if not _PARQUET:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(FLAT), sink, row_group_size=4)
        _PARQUET.append(sink.getvalue())
    _input_file(rng, "rows.parquet", _PARQUET[0])


def json_document(rng: random.Random) -> None:
    """Any bytes as a list, as one object with a list, and as objects over several lines."""
    rows = rng.choice((ROWS, {"version": 1, "data": ROWS, "more": {"n": [1]}}))
    text = json.dumps(rows, indent=rng.choice((None, 1)))
    if rng.random() < 0.3:
        text = "\n".join(json.dumps(row, indent=1) for row in ROWS)
    _input_file(rng, rng.choice(("rows.json", "rows.jsonl", "rows.txt")), text.encode())


def text_lines(rng: random.Random) -> None:
    """Any bytes as prompts, a line each."""
    _input_file(rng, "rows.txt", "a\n\n b \r\né\n{text}\n".encode())


_PACKED: dict[str, bytes] = {}


def packed(rng: random.Random) -> None:
    """Any bytes as a compressed file of one or two streams."""
    if not _PACKED:
        import bz2
        import gzip
        import lzma

        import zstandard

        lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        for name, pack in {
            "gz": gzip.compress,
            "zst": zstandard.compress,
            "bz2": bz2.compress,
            "xz": lzma.compress,
        }.items():
            _PACKED[name] = pack(lines) + pack(lines)
    name = rng.choice(list(_PACKED))
    _input_file(rng, f"rows.jsonl.{name}", _PACKED[name])


def encoded(rng: random.Random) -> None:
    """Any bytes in an encoding that a mark or the job names."""
    sample = "text,n\nçé🧣,1\nb,2\n"
    encoding = rng.choice(("utf-16", "utf-32", "utf-16-le", "windows-1252", "shift-jis"))
    own = {} if encoding in ("utf-16", "utf-32") else {"encoding": encoding}
    _input_file(rng, "rows.csv", sample.encode(encoding, "replace"), **own)


_ARROW: list[bytes] = []


def arrow(rng: random.Random) -> None:
    """Any bytes as an Arrow file or stream."""
    if not _ARROW:
        import pyarrow as pa

        table = pa.Table.from_pylist(FLAT)
        for make in (pa.ipc.new_file, pa.ipc.new_stream):
            sink = io.BytesIO()
            with make(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=4)
            _ARROW.append(sink.getvalue())
    _input_file(rng, "rows.arrow", rng.choice(_ARROW))


_SHEET: list[bytes] = []


def sheet(rng: random.Random) -> None:
    """Any bytes as an Excel workbook."""
    if not _SHEET:
        import openpyxl

        book = openpyxl.Workbook()
        for row in [["text", "n"], *([one["text"], one["n"]] for one in ROWS)]:
            book.active.append(row)
        sink = io.BytesIO()
        book.save(sink)
        _SHEET.append(sink.getvalue())
    if rng.random() < 0.5:  # a change of the archive's bytes is nearly always one that its checksums tell
        _input_file(rng, "rows.xlsx", _SHEET[0])
        return
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_SHEET[0])) as whole, zipfile.ZipFile(sink, "w") as changed:
        names = whole.namelist()
        chosen = rng.choice([name for name in names if "/_rels/" in name or "worksheets" in name] or names)
        chosen = rng.choice((chosen, rng.choice(names)))
        for name in names:
            changed.writestr(name, mutated(whole.read(name), rng) if name == chosen else whole.read(name))
    _input_file(rng, "rows.xlsx", sink.getvalue(), changes=False)


_SQLITE: list[bytes] = []


def sqlite(rng: random.Random) -> None:
    """Any bytes as a database."""
    if not _SQLITE:
        import sqlite3

        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE rows (text, n)")
        connection.executemany("INSERT INTO rows VALUES (?, ?)", [(one["text"], one["n"]) for one in ROWS])
        connection.commit()
        _SQLITE.append(connection.serialize())
        connection.close()
    _input_file(rng, "rows.db", _SQLITE[0])


TARGETS: dict[str, tuple[Target, int]] = {
    "sse": (sse, 1_000_000),
    "usage": (usage, 1_000_000),
    "headers": (headers, 1_000_000),
    "classifier": (classifier, 1_000_000),
    "embeddings": (embeddings, 1_000_000),
    "journal": (journal, 1_000_000),
    "jsonl": (jsonl, 100_000),
    "delimited": (delimited, 100_000),
    "parquet": (parquet, 100_000),
    "json": (json_document, 100_000),
    "text": (text_lines, 100_000),
    "packed": (packed, 100_000),
    "encoded": (encoded, 100_000),
    "arrow": (arrow, 100_000),
    "sheet": (sheet, 100_000),
    "sqlite": (sqlite, 100_000),
}


def fuzz(name: str, first: int, cases: int) -> list[str]:
    """What went wrong in cases `first` to `first + cases - 1` of a target."""
    target, _ = TARGETS[name]
    problems: list[str] = []

    def hung(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {CASE_S} s")

    signal.signal(signal.SIGALRM, hung)
    for number in range(first, first + cases):
        signal.alarm(CASE_S)
        try:
            target(random.Random(f"{name} {number}"))
        except Exception as error:  # noqa: BLE001 - any exception at all is what we look for
            where = traceback.extract_tb(error.__traceback__)[-1]
            problems.append(
                f"{name} case {number}: {type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
            )
        signal.alarm(0)
    return problems


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a process has come: the next case, what went wrong since it last told, its most memory (MB)."""

    next: int
    problems: list[str]
    peak_mb: float


def _process(name: str, first: int, cases: int, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    done = 0
    while done < cases:
        step = min(500, cases - done)
        problems = fuzz(name, first + done, step)
        done += step
        pipe.send(Progress(first + done, problems, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    pipe.close()


def in_process(name: str, first: int, cases: int) -> tuple[list[str], float]:
    """What `fuzz` finds in a process with a memory limit, whose death is a problem too, and its most memory."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_process, args=(name, first, cases, theirs))
    process.start()
    theirs.close()
    problems: list[str] = []
    reached = Progress(first, [], 0.0)
    while True:
        try:
            reached = ours.recv()
        except EOFError:
            break
        problems += reached.problems
    process.join()
    if process.exitcode:
        problems.append(
            f"{name}: the process died with {process.exitcode} in the 500 cases from {reached.next} on"
        )
    return problems, reached.peak_mb


def main() -> None:
    """Prints a line for each target; exits with 1 when anything was found."""
    given = options(
        __doc__,
        only=one_of(TARGETS),
        cases=Option(help="how many for each target, instead of its own number", kind=int),
        first=1,
    )
    found: list[str] = []
    for name, (_, usual) in TARGETS.items():
        if given.only in (None, name):
            cases, began = given.cases or usual, time.monotonic()
            problems, peak_mb = in_process(name, given.first, cases)
            took = time.monotonic() - began
            print(
                f"{name}: {cases:,} cases, problems {len(problems)} ({took:.0f} s, at most {peak_mb:.0f} MB)",
                flush=True,
            )
            found += [f"{name}: {problem}" for problem in problems]
    ended(found)


if __name__ == "__main__":
    main()

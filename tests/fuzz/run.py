"""Mutated samples through everything that reads what others wrote: no strange exception, no hang.

    python -m tests.fuzz.run                        # 10^6 cases a parser, 10^5 an input reader
    python -m tests.fuzz.run --only sse --cases 5000

Each target runs in a process of its own under a memory limit, each case under an alarm. A case is
its number: `--only TARGET --first N --cases 1` repeats it.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.records import Outcome

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
BODIES = [
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
    from batchlab.protocol.chat import ReplyProblem
    from batchlab.protocol.sse import SseDecoder, StreamAssembler

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
    stream = StreamAssembler()
    for event in events:
        stream.feed(event)
    try:
        stream.reply()
    except ReplyProblem:
        stream.evidence()


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
    from batchlab.protocol.chat import ReplyProblem
    from batchlab.protocol.embeddings import parse_embeddings, vector_text

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


def classifier(rng: random.Random) -> None:
    """Any status, headers and body have an outcome with a short, printable message."""
    from batchlab.protocol.chat import ReplyProblem, parse_reply
    from batchlab.protocol.outcomes import classify

    body = mutated(rng.choice(BODIES), rng)
    try:
        parse_reply(body)
    except ReplyProblem:
        pass
    status = rng.choice(
        (
            200,
            200,
            201,
            204,
            301,
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
            503,
            529,
            599,
            700,
        )
    )
    outcome = classify(status, some_headers(rng), body, None)
    assert isinstance(outcome, Outcome)
    assert len(outcome.message) <= 2_000
    assert not any(ord(character) < 32 for character in outcome.message)


_JOURNAL: list[bytes] = []


def journal(rng: random.Random) -> None:
    """A changed journal gives back records that were written, and no others."""
    from batchlab.records import Completion, Reply
    from batchlab.store.journal import JournalScan, result_of, result_record, sent_record

    if not _JOURNAL:
        for row in range(4):
            _JOURNAL.append(sent_record(row, 1))
            reply = Reply(completion=f"answer {row}\u2028", finish_reason="stop")
            _JOURNAL.append(result_record(Completion(row, str(row), bytes(16), "ok", reply, 1, None)))  # type: ignore[arg-type]
    written = set(_JOURNAL)
    data = mutated(b"".join(_JOURNAL), rng)

    class InMemory:
        def open(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    for record in JournalScan(InMemory()).records():  # type: ignore[arg-type]
        line = data[record.offset : record.offset + record.length]
        assert line in written, "a record that nobody wrote"
        result_of(record.data)


def _input_file(rng: random.Random, name: str, sample: bytes, **more: Any) -> None:
    from batchlab.inputs.plan import plan_input
    from batchlab.inputs.sources import open_source
    from batchlab.job_file import job_from

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / name
        path.write_bytes(mutated(sample, rng))
        job = job_from({"input": {"path": str(path), **more}, "request": {"model": "m", "prompt": "{text}"}})
        try:
            source = open_source(str(path), delimiter=None, quotes=True, spool=path)
            planned = plan_input(job, source)
            if planned.problems:
                return
            for shard in planned.plan.shards:
                rows = list(source.rows(shard, planned.plan))
                assert len(rows) == shard.rows == source.table(shard, planned.plan).num_rows
        except BatchlabError:
            pass


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


TARGETS: dict[str, tuple[Target, int]] = {
    "sse": (sse, 1_000_000),
    "headers": (headers, 1_000_000),
    "classifier": (classifier, 1_000_000),
    "embeddings": (embeddings, 1_000_000),
    "journal": (journal, 1_000_000),
    "jsonl": (jsonl, 100_000),
    "delimited": (delimited, 100_000),
    "parquet": (parquet, 100_000),
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


def _process(name: str, first: int, cases: int, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    done = 0
    while done < cases:
        step = min(500, cases - done)
        pipe.send((first + done, fuzz(name, first + done, step)))
        done += step
    pipe.close()


def in_process(name: str, first: int, cases: int) -> list[str]:
    """`fuzz` in a process with a memory limit; a process that dies is a problem too."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_process, args=(name, first, cases, theirs))
    process.start()
    theirs.close()
    problems: list[str] = []
    reached = first
    while True:
        try:
            reached, found = ours.recv()
        except EOFError:
            break
        problems += found
    process.join()
    if process.exitcode:
        problems.append(f"{name}: the process died with {process.exitcode} in the 500 cases after {reached}")
    return problems


def main() -> None:
    """Prints a line for each target; exits with 1 when anything was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=TARGETS)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--first", type=int, default=1)
    given = parser.parse_args()
    good = True
    for name, (_, usual) in TARGETS.items():
        if given.only in (None, name):
            cases, began = given.cases or usual, time.monotonic()
            problems = in_process(name, given.first, cases)
            good = good and not problems
            took = time.monotonic() - began
            print(f"{name}: {cases:,} cases, problems {len(problems)} ({took:.0f} s)", flush=True)
            for problem in problems[:10]:
                print("-", problem)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

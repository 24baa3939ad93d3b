"""What would be made of an answer that somebody saved: the same reading and the same table as in a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from batchlab.protocol.assembler import StreamAssembler
from batchlab.protocol.chat import parse_reply
from batchlab.protocol.finish import finish_meaning
from batchlab.protocol.outcomes.classify import judged
from batchlab.protocol.outcomes.table import Line
from batchlab.protocol.sse import SseDecoder, body_kind
from batchlab.protocol.values import ReplyProblem
from batchlab.records import Outcome, Reply, Usage

_AFTER = {
    "no_success": "before any answer it stops the run",
    "row_streak": "3 rows in a row stop the run",
    "first_rows": "when the first 20 rows all end so, the run stops",
    "wrong_address": "before any answer, 3 of them stop the run",
}
_STATUS = {"ok": "ok", "unknown": "ok", "truncated": "truncated", "filtered": "filtered", "broken": "broken"}


@dataclass(frozen=True, slots=True)
class Saved:
    """An HTTP response as `curl -i` prints it, or its body alone."""

    body: bytes
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes) -> Saved:
        """The last response in `data`: one before it is a 100 Continue or a redirect."""
        saved = cls(data)
        while (line := re.match(rb"HTTP/\d(?:\.\d)? (\d{3})[^\r\n]*(?:\r?\n|$)", saved.body)) is not None:
            head, _, body = _split(saved.body[line.end() :])
            pairs = (one.partition(":") for one in head.decode("latin-1").splitlines())
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            saved = cls(body, int(line.group(1)), headers)
        return saved


def _split(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """The head before the first blank line, that line, and the body."""
    end = re.search(rb"(?:^|\r?\n)\r?\n", rest)
    return (rest, b"", b"") if end is None else (rest[: end.start()], end.group(), rest[end.end() :])


def explained_answer(data: bytes, status: int | None = None) -> list[str]:
    """What a saved answer to a chat would mean for its row and for the run, for a person.

    Args:
        data: a response with or without its head.
        status: HTTP status of one without; 200 when None.
    """
    saved = Saved.of(data)
    code = saved.status or status or 200
    problem: ReplyProblem | None = None
    if code == 200:
        try:
            return _answer_lines(_reply(saved.body))
        except ReplyProblem as error:
            problem = error
    evidence = saved.body if problem is None or problem.evidence is None else problem.evidence
    line, outcome = judged(code, saved.headers, evidence, problem="" if problem is None else str(problem))
    return _trouble_lines(code, line, outcome, None if problem is None else problem.usage)


def _reply(body: bytes) -> Reply:
    if body_kind(body) != "sse":
        return parse_reply(body)
    decoder, stream = SseDecoder(), StreamAssembler()
    for data in [*decoder.feed(body), *decoder.close()]:
        stream.feed(data)
    return stream.reply()


def _answer_lines(reply: Reply) -> list[str]:
    meaning = finish_meaning(reply.finish_reason)
    lines = [f"OK: an answer, kept as {_STATUS[meaning]}"]
    if meaning == "unknown":
        lines.append(
            f"finish_reason {reply.finish_reason!r} is in no table: counted, and named at the end of a run"
        )
    else:
        lines.append(f"finish_reason: {reply.finish_reason or 'none'}")
    return lines + _usage_lines("billed", reply.usage)


def _trouble_lines(code: int, line: Line, outcome: Outcome, usage: Usage | None) -> list[str]:
    after = f"; {_AFTER[outcome.after]}" if outcome.after else ""
    lines = [f"{outcome.kind.value} {outcome.error_class}{after}", f"decided by: {line.evidence}"]
    lines += [f"read at: {line.read_at}", f"status: {code}", f"message: {outcome.message}"]
    if outcome.wait_s is not None:
        lines.append(f"asks to wait: {outcome.wait_s:g} s")
    if outcome.error_raw is not None:
        lines.append(f"the provider's own: {outcome.error_raw}")
    return lines + ([] if usage is None else _usage_lines("billed all the same", usage))


def _usage_lines(how: str, usage: Usage) -> list[str]:
    counts = {
        "prompt": usage.prompt_tokens,
        "completion": usage.completion_tokens,
        "cached": usage.cached_tokens,
        "cache write": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    known = [f"{count:,} {name}" for name, count in counts.items() if count is not None]
    return [f"{how}: {', '.join(known)} tokens" if known else "usage: none reported"]

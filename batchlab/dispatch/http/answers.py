"""Reading one response to its end, or to where nothing more can matter.

A body is judged by its first byte, whatever its Content-Type says: JSON, or a stream of events. What has
come whole is an answer, however its connection ends: it was paid, and must not be paid again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import aiohttp

from batchlab.costs.price import asked_tier
from batchlab.costs.tokens import estimated_prompt_tokens
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.wire import WireResponse, unread
from batchlab.protocol.assembler import StreamAssembler
from batchlab.protocol.chat import parse_reply
from batchlab.protocol.completions import parse_completion
from batchlab.protocol.embeddings import EmbeddingsProblem, parse_embeddings
from batchlab.protocol.outcomes.classify import TransportFault, classify
from batchlab.protocol.outcomes.facts import Asked
from batchlab.protocol.sse import SseDecoder, body_kind, is_blank
from batchlab.protocol.values import ReplyProblem, parse_json
from batchlab.records import ChatRequest, Outcome, OutcomeClass, Reply, Usage

ERROR_BODY_BYTES = 64 * 1024
# A stream that has come whole may still send `[DONE]` or its last chunk, after which its connection can be
# used again; one that does not is worth no more waiting than this.
GRACE_S = 0.25
_ENDS = (aiohttp.ClientError, OSError, TimeoutError)  # ways in which a connection ends too early


class AnswerReader:
    """Reads the response to one request, once.

    Args:
        body: as it was sent.
        max_bytes: longest answer that is read.
    """

    def __init__(
        self, response: WireResponse, request: ChatRequest, body: Mapping[str, object], *, max_bytes: int
    ) -> None:
        self._response = response
        self._request = request
        self._body = body
        self._max_bytes = max_bytes
        self._broken: Exception | None = None  # what ended the connection, once what it had brought is read

    async def read(self) -> tuple[Reply, float | None]:
        """The reply, and when its first token was there (monotonic) if it is a stream.

        Raises:
            ApiError: it is none.
            aiohttp.ClientError, OSError, TimeoutError: the connection ended before it was one.
        """
        if not 200 <= self._response.status < 300:  # Portkey answers with 246 where a guard only warns
            raise self._refusal(await self._beginning(ERROR_BODY_BYTES))
        start, blanks = await self._next(), 0
        while (kind := body_kind(start)) is None and (more := await self._next()):
            if is_blank(start):  # says nothing, and may be megabytes of keep-alives
                blanks, start = blanks + len(start), more
            else:
                start += more
            if blanks + len(start) > self._max_bytes:
                raise self._too_long("answer")
        if kind == "sse" and self._request.task != "embeddings":
            return await self._streamed(start)
        return await self._plain(start), None

    async def _next(self, *, gathered: bool = False) -> bytes:
        """The next bytes of the body, b"" at its end. A connection that breaks gives what it had
        brought first, and the error after that."""
        if self._broken is not None:
            raise self._broken
        response = self._response
        try:
            return await (response.gathered() if gathered else response.content.readany())
        except _ENDS as error:
            if not (rest := unread(response.content)):
                raise
            self._broken = error
            return rest

    async def _beginning(self, most: int) -> bytes:
        """The first bytes of an error's body; what has come when the connection ends early."""
        pieces = bytearray()
        try:
            while len(pieces) <= most and (chunk := await self._next()):
                pieces += chunk
        except _ENDS:
            if not pieces:
                raise
        return bytes(pieces[:most])

    async def _plain(self, start: bytes) -> Reply:
        content = self._response.content
        if content.at_eof() and len(start) <= self._max_bytes:
            return self._parsed(start)  # nearly every answer arrives in one piece
        pieces = bytearray(start)
        try:
            while len(pieces) <= self._max_bytes and (chunk := await self._next()):
                pieces += chunk
        except _ENDS:
            if not _is_whole_json(pieces):
                raise
        if len(pieces) > self._max_bytes:
            raise self._too_long("answer")
        return self._parsed(bytes(pieces))

    def _parsed(self, body: bytes) -> Reply:
        """The reply that a body is. HTTP 200 is no success by itself: else the classifier reads it."""
        request = self._request
        try:
            if request.task == "chat":
                reply = parse_reply(body)
                # a replacement character may be the model's own
                lossy = "\ufffd" in (reply.completion or "") and not _is_utf8(body)
                return replace(reply, is_lossy=True) if lossy else reply
            if request.task == "embeddings":
                return parse_embeddings(body, request.body)
            return parse_completion(body)
        except ReplyProblem as problem:
            raise self._refusal(body[:ERROR_BODY_BYTES], problem) from None

    async def _streamed(self, start: bytes) -> tuple[Reply, float | None]:
        asked = self._body
        options, choices = asked.get("stream_options"), asked.get("n")
        stream = StreamAssembler(
            choices=choices if isinstance(choices, int) else 1,
            usage_follows=isinstance(options, dict) and bool(options.get("include_usage")),
        )
        decoder = SseDecoder()
        first: float | None = None
        received, chunk = 0, start
        try:
            while chunk:
                received += len(chunk)
                for data in decoder.feed(chunk):
                    stream.feed(data)
                if received > self._max_bytes:
                    raise self._too_long("stream", stream.usage)
                if first is None and stream.started:
                    first = time.monotonic()
                if stream.is_whole or stream.is_refused:
                    await self._end(stream, decoder)
                    break
                # the first token's time is seen when it comes; what follows is read together
                chunk = await self._next(gathered=first is not None)
        except _ENDS as error:
            if not stream.is_finished and not stream.is_refused:
                if stream.usage.raw is None:
                    raise
                raise self._cut(error, stream.usage) from error
        if not stream.is_done:
            for data in decoder.close():
                stream.feed(data)
        try:
            reply = stream.reply()
            return (replace(reply, is_lossy=True) if decoder.is_lossy else reply), first
        except ReplyProblem as problem:
            raise self._refusal(problem.evidence or b"", problem) from None

    async def _end(self, stream: StreamAssembler, decoder: SseDecoder) -> None:
        """Waits a moment for the end of a stream that is whole, so that its connection is kept, or of one
        that is refused, for its usage."""
        content = self._response.content
        if content.at_eof():  # nearly always, and a time limit takes 5 µs
            return
        try:
            async with asyncio.timeout(GRACE_S):
                while not content.at_eof() and (chunk := await self._next()):
                    if not stream.is_done:
                        for data in decoder.feed(chunk):
                            stream.feed(data)
        except _ENDS:
            return

    def _refusal(self, body: bytes, problem: ReplyProblem | None = None) -> ApiError:
        """What is made of an answer that is none, with what it was billed."""
        response, request = self._response, self._request
        evidence = body if problem is None or problem.evidence is None else problem.evidence
        asked = Asked(
            estimated_prompt_tokens(request.prompt_bytes), frozenset(self._body), asked_tier(self._body)
        )
        outcome = classify(
            response.status,
            response.headers,
            evidence,
            asked=asked,
            problem="" if problem is None else str(problem),
        )
        usage = problem.usage if problem is not None and _is_billed(problem.usage) else None
        if problem is not None and problem.evidence is not None and outcome.after == "wrong_address":
            outcome = replace(outcome, after="")  # a part of an answer: the address is right
        if isinstance(problem, EmbeddingsProblem):
            return ApiError(_of_vectors(outcome, problem), usage)
        if request.rows > 1 and outcome.after in {"first_rows", "row_streak"}:
            # refusals of single rows are counted, and this one may be any of them
            outcome = replace(outcome, after="")
        return ApiError(outcome, usage)

    def _too_long(self, what: str, usage: Usage | None = None) -> ApiError:
        fault = TransportFault("too_large", f"the {what} is longer than {self._max_bytes} bytes")
        return ApiError(classify(None, {}, b"", fault), usage if _is_billed(usage) else None)

    @staticmethod
    def _cut(error: Exception, usage: Usage) -> ApiError:
        """A stream that was cut after it said what it used."""
        fault = TransportFault("reset", str(error) or type(error).__name__)
        return ApiError(classify(None, {}, b"", fault), usage)


def _is_billed(usage: Usage | None) -> bool:
    return usage is not None and (usage.prompt_tokens is not None or usage.completion_tokens is not None)


def _is_whole_json(body: bytearray) -> bool:
    try:
        parse_json(bytes(body))
    except ReplyProblem:
        return False
    return True


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _of_vectors(outcome: Outcome, problem: EmbeddingsProblem) -> Outcome:
    """What is made of an answer whose vectors cannot be given to rows."""
    if problem.is_refusal:
        return Outcome(OutcomeClass.FAIL, "dimensions", 200, str(problem), after="no_success")
    return replace(outcome, message=str(problem)) if outcome.error_class == "invalid_response" else outcome

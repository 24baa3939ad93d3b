"""One tiny request, plain and streamed: does an endpoint work, and what does it report?"""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchlab.counts import counted
from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.http.transport import Answer
from batchlab.engines.endpoint import Endpoint, transport_to
from batchlab.errors import EXIT_OK, EXIT_STOPPED, UsageError
from batchlab.job import SELF_STARTED, Job
from batchlab.job.key import key_source
from batchlab.job.presets import PRESETS
from batchlab.protocol.embeddings import ITEM_BYTES, vector_bytes
from batchlab.protocol.limits import RateHeaders
from batchlab.records import ChatRequest
from batchlab.runner.endpoints import key_remedy, started_endpoints, unused_proxy

PROMPT = "Reply with the word: ready"
_QUESTION: Mapping[str, dict[str, object]] = {
    "chat": {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8},
    "completions": {"prompt": PROMPT, "max_tokens": 8},
    "embeddings": {"input": PROMPT},
}


@dataclass(frozen=True, slots=True)
class EndpointCheck:
    """Lines for a person; `exit_code` 3 when an endpoint does not answer as it should."""

    lines: list[str]
    exit_code: int


def check_endpoint(job: Job, *, batch: bool = False) -> EndpointCheck:
    """Sends two requests of a few tokens to each endpoint of the job; one for embeddings.

    Args:
        batch: order a batch of one line, too, where there is a batch API.

    Raises:
        UsageError: there is no key, no endpoint or no model to ask.
    """
    if not job.request.model:
        raise UsageError("no model; pass {request.model=MODEL} or set [request] model.")
    lines: list[str] = []
    good = True
    with started_endpoints(job) as endpoints:
        for endpoint in endpoints:
            service = endpoint.job.service.name
            lines.append(f"endpoint: {endpoint.base_url}{f' ({service})' if service else ''}")
            lines.append(f"key: {_key_line(endpoint)}")
            if unused := unused_proxy(endpoint.job):
                lines.append(unused)
            limits, keys = "not stated", list[str]()
            for stream in (False,) if job.request.task == "embeddings" else (False, True):
                answer, line, refused = asyncio.run(_one(job, endpoint, stream=stream))
                lines.append(f"{'streamed' if stream else 'plain'}: {line}")
                good = good and answer is not None
                if refused == "auth" and endpoint.key is None:
                    keys.append(key_remedy([endpoint]))
                if answer is not None and answer.rate is not None:
                    limits = stated_limits(answer.rate)
            lines += dict.fromkeys(key for key in keys if key)
            if limits == "not stated" and endpoint.job.service.limits:
                limits = f"not stated in headers; known: {endpoint.job.service.limits}"
            lines.append(f"limits: {limits}")
            known = endpoint.prices.described(job.request.model, time.time(), job.tier_at(endpoint.job))
            lines.append(f"price of {job.request.model}: {known}")
            told, works = _batch_lines(job, endpoint, tries=batch)
            lines += told
            good = good and works
    return EndpointCheck(lines, EXIT_OK if good else EXIT_STOPPED)


def _batch_lines(job: Job, endpoint: Endpoint, *, tries: bool) -> tuple[list[str], bool]:
    """What to say of an endpoint's batch API, and whether it worked, or was not tried."""
    from batchlab.planning.batch_check import known_lines, try_batch
    from batchlab.runner.batches import dialect_of

    dialect = dialect_of(job, endpoint.job)
    if dialect is None:
        none = f"batch: no batch API of {endpoint.job.name} is known; {{endpoint.batch_api}} names one it has"
        return ([none], False) if tries else ([], True)
    lines = list(known_lines(endpoint, job, dialect))
    if not tries:
        return lines, True
    said, works = try_batch(endpoint, job, dialect, _question(job))
    return [*lines, f"batch: {said}"], works


def _key_line(endpoint: Endpoint) -> str:
    if endpoint.key is None:
        return "none sent"
    source = "" if endpoint.job.host in SELF_STARTED else key_source(endpoint.job)
    return f"present (from {source})" if source else "present"


def _question(job: Job) -> ChatRequest:
    """A request of a few tokens."""
    task = job.request.task
    return ChatRequest(
        row_id=0,
        custom_id="check",
        body={"model": job.request.model, **_QUESTION[task]},
        request_hash=b"",
        prompt_bytes=len(PROMPT),
        max_tokens=8,
        task=task,
    )


async def _one(job: Job, endpoint: Endpoint, *, stream: bool) -> tuple[Answer | None, str, str]:
    """An answer, or None; what to say of it; and the error class where there is none."""
    request = _question(job)
    started = time.monotonic()
    async with transport_to(endpoint, job, job.kinds_at(endpoint.job)[0], stream=stream) as transport:
        try:
            answer = await transport.send(request)
        except ApiError as error:
            outcome = error.outcome
            code = f"HTTP {outcome.code}, " if outcome.code else ""
            return None, f"{outcome.error_class} ({code}{outcome.message})", outcome.error_class
    return answer, f"ok in {time.monotonic() - started:.2f} s; {_facts(answer)}", ""


def _facts(answer: Answer) -> str:
    usage = answer.reply.usage
    tokens = (
        "no usage reported"
        if usage.prompt_tokens is None
        else f"usage {usage.prompt_tokens} + {usage.completion_tokens} tokens"
    )
    if answer.reply.vectors:
        size = len(vector_bytes(answer.reply.vectors[0])) // ITEM_BYTES
        tokens = f"{counted(size, 'dimension')}; {tokens}"
    first = f"; first token after {answer.ttft_ms / 1000:.2f} s" if answer.ttft_ms is not None else ""
    return f"{tokens}; served by {answer.reply.model or 'an unnamed model'}{first}"


def stated_limits(rate: RateHeaders) -> str:
    """The limits that an answer's headers state, for a person."""
    parts = []
    for name, limit, remaining in (
        ("requests", rate.limit_requests, rate.remaining_requests),
        ("tokens", rate.limit_tokens, rate.remaining_tokens),
    ):
        if limit is not None:
            left = f", {remaining:,.0f} left" if remaining is not None else ""
            parts.append(f"{limit:,.0f} {name}{left}")
        elif remaining is not None:
            parts.append(f"{remaining:,.0f} {name} left")
    if not parts:
        return "not stated"
    window = rate.window_s or 60.0
    return f"{'; '.join(parts)} (per {window:g} s)"


def preset_lines(room: int | None = None) -> list[str]:
    """The table of presets for a person; where `room` columns are too few for it, a few lines for each."""
    rows = [("preset", "key variable", "base URL", "parameters it renames", "schema mode", "limits")]
    rows += [
        (
            preset.name,
            preset.key_env + (" (optional)" if preset.free else ""),
            preset.base_url or "your own",
            ", ".join(f"{old} -> {new}" for old, new in preset.renamed.items()) or "-",
            preset.schema_mode,
            preset.limits,
        )
        for preset in PRESETS.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    if room is not None and sum(widths) + 10 + max(len(row[5]) for row in rows) > room:
        return [line for row in rows[1:] for line in _preset_card(row, room)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]


def _preset_card(row: Sequence[str], room: int) -> list[str]:
    """A preset and what is known of it, in lines of `room` columns at most; nothing is left out."""
    name, key, url, renamed, mode, limits = row
    said = [url, f"key: {key}", f"schema mode: {mode}"]
    said += [f"renames: {renamed}"] if renamed != "-" else []
    said += [f"limits: {limits}"] if limits else []
    lines = [name]
    for text in said:
        lines += textwrap.wrap(
            text,
            room,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines

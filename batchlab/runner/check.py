"""One tiny request, plain and streamed: does this endpoint work, and what does it report?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from batchlab.dispatch.transport import Answer, HttpTransport
from batchlab.errors import EXIT_OK, EXIT_STOPPED, ApiError
from batchlab.job import Job
from batchlab.records import ChatRequest
from batchlab.runner.endpoint import Endpoint, job_price, started_endpoint


@dataclass(frozen=True, slots=True)
class EndpointCheck:
    """Lines for a person; `exit_code` 3 when the endpoint does not answer as it should."""

    lines: list[str]
    exit_code: int


def check_endpoint(job: Job) -> EndpointCheck:
    """Sends two requests of a few tokens. Raises UsageError when there is no key or no endpoint."""
    price, source = job_price(job)
    with started_endpoint(job) as endpoint:
        lines = [f"endpoint: {endpoint.base_url}", f"key: {'present' if endpoint.key else 'none needed'}"]
        good = True
        for stream in (False, True):
            line, ok = asyncio.run(_one(job, endpoint, stream=stream))
            lines.append(line)
            good = good and ok
    known = (
        f"${price.input:g} in, ${price.output:g} out per 1M tokens ({source})"
        if price
        else f"unknown ({source})"
    )
    lines.append(f"price of {job.request.model}: {known}")
    return EndpointCheck(lines, EXIT_OK if good else EXIT_STOPPED)


async def _one(job: Job, endpoint: Endpoint, *, stream: bool) -> tuple[str, bool]:
    body = {
        "model": job.request.model,
        "messages": [{"role": "user", "content": "Reply with the word: ready"}],
        "max_tokens": 8,
    }
    request = ChatRequest(
        row_id=0, custom_id="check", body=body, request_hash=b"", prompt_bytes=26, max_tokens=8
    )
    name = "streamed" if stream else "plain"
    started = time.monotonic()
    async with HttpTransport(
        endpoint.base_url,
        key=endpoint.key,
        limits=job.limits,
        stream=stream,
        ca_bundle=job.endpoint.ca_bundle,
        trust_env=job.endpoint.trust_env,
    ) as transport:
        try:
            answer = await transport.send(request)
        except ApiError as error:
            outcome = error.outcome
            code = f"HTTP {outcome.code}, " if outcome.code else ""
            return f"{name}: {outcome.error_class} ({code}{outcome.message})", False
    return f"{name}: ok in {time.monotonic() - started:.2f} s; {_facts(answer)}", True


def _facts(answer: Answer) -> str:
    usage = answer.reply.usage
    tokens = (
        "no usage reported"
        if usage.prompt_tokens is None
        else f"usage {usage.prompt_tokens} + {usage.completion_tokens} tokens"
    )
    first = f"; first token after {answer.ttft_ms / 1000:.2f} s" if answer.ttft_ms is not None else ""
    return f"{tokens}; served by {answer.reply.model or 'an unnamed model'}{first}"

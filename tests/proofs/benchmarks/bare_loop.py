"""The bare loop that batchlab is measured against: aiohttp + orjson + uvloop, and nothing else.

Reads prompts line by line, posts them with a fixed number of workers, decodes each reply and
forgets it: no rate control, no retries, no classification, nothing written.

    python -m tests.proofs.benchmarks.bare_loop PROMPTS.jsonl URL --in-flight 256 [--stream]

Prints one JSON object: requests, seconds from the first request to the last answer, CPU seconds
of the process, streamed chunks.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time

import aiohttp
import orjson
import uvloop

from tests.proofs.arguments import Word, options


async def post_all(path: str, url: str, in_flight: int, *, stream: bool) -> dict[str, float]:
    """Sends every line of `path` to `url`."""
    answered = received = 0
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    with open(path, "rb") as lines:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def worker() -> None:
                nonlocal answered, received
                for line in lines:
                    text = orjson.loads(line)["text"]
                    body = {"model": "bench", "messages": [{"role": "user", "content": text}]}
                    async with session.post(url, data=orjson.dumps(body), headers=headers) as response:
                        if stream:
                            async for chunk in response.content.iter_any():
                                received += len(chunk)
                        else:
                            reply = orjson.loads(await response.read())
                            received += len(reply["choices"][0]["message"]["content"])
                    answered += 1

            started = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(worker())
            seconds = time.monotonic() - started
    return {"requests": answered, "seconds": seconds, "received": received}


def main() -> None:
    """The command."""
    given = options(
        __doc__, prompts=Word("a JSON Lines file"), url=Word("of the server"), in_flight=256, stream=False
    )
    url = f"{given.url}/chat/completions"
    figures = uvloop.run(post_all(given.prompts, url, given.in_flight, stream=given.stream))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**figures, "cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()

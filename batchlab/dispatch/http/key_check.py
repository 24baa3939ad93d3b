"""Whether an endpoint takes its key, found out by a call that costs nothing."""

from __future__ import annotations

import aiohttp

from batchlab.dispatch.http.access import Access
from batchlab.protocol.outcomes.classify import classify
from batchlab.records import Outcome

TIMEOUT_S = 20.0
MAX_BYTES = 64 * 1024
REFUSED = 401  # services answer others for what they do not list, or keys may not see


async def refused_key(access: Access) -> Outcome | None:
    """The refusal of the key, by a look at the list of models; None for any other answer, or none."""
    if access.key is None:
        return None
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=access.trust_env
            ) as session,
            session.get(
                access.url("models"),
                headers=access.headers_with({"Accept": "application/json"}),
                ssl=access.tls(),
                allow_redirects=False,
            ) as response,
        ):
            if response.status != REFUSED:
                return None
            body = await response.content.read(MAX_BYTES)
            return access.redacted(classify(response.status, response.headers, body))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None  # a run waits out what this may be

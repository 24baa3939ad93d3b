"""A request with more room for its answer."""

from __future__ import annotations

import math
from dataclasses import replace

from batchlab.records import ChatRequest, completion_cap


def with_more_tokens(request: ChatRequest, factor: float) -> ChatRequest | None:
    """The same request with `factor` times its cap on tokens; None when it sets none."""
    for name in ("max_tokens", "max_completion_tokens"):
        cap = request.body.get(name)
        if isinstance(cap, int) and not isinstance(cap, bool):
            more = math.ceil(cap * factor)
            body = {**request.body, name: more}
            return replace(request, body=body, max_tokens=completion_cap(body))
    return None

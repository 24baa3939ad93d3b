"""A request with more room for its answer."""

from __future__ import annotations

import math
from dataclasses import replace

from batchlab.records import ChatRequest, completion_cap

_NAMES = ("max_tokens", "max_completion_tokens")


def with_more_tokens(request: ChatRequest, factor: float) -> ChatRequest | None:
    """The same request with `factor` times its cap on tokens; None when it sets none."""
    for name in _NAMES:
        cap = request.body.get(name)
        if isinstance(cap, int) and not isinstance(cap, bool):
            return _capped(request, name, math.ceil(cap * factor))
    return None


def with_max_tokens(request: ChatRequest, cap: int) -> ChatRequest:
    """The same request with that cap on tokens, by the name that it has for it."""
    return _capped(request, next((name for name in _NAMES if name in request.body), "max_tokens"), cap)


def _capped(request: ChatRequest, name: str, cap: int) -> ChatRequest:
    body = {**request.body, name: cap}
    return replace(request, body=body, max_tokens=completion_cap(body))

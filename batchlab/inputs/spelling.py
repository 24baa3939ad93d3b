"""How an endpoint wants a request spelt: its names of parameters and of the model, and the tier."""

from __future__ import annotations

from typing import Any

from batchlab.job.presets import Preset
from batchlab.records import ChatRequest


def tier_to_ask(request: ChatRequest, tier: str | None) -> str | None:
    """`tier`, for a request to which it is to be added: a chat that names none itself; else None."""
    return tier if request.task == "chat" and "service_tier" not in request.body else None


def spelt(
    request: ChatRequest, service: Preset, *, model: tuple[str, str] | None = None, tier: str | None = None
) -> dict[str, Any]:
    """A request's body as an endpoint wants it.

    Args:
        model: (as requests name it, as this endpoint does); None when they agree.
        tier: the `service_tier` of chats that ask for none themselves.
    """
    body = request.body
    if service.renamed and not request.as_written and request.task == "chat":
        # a name the row uses already in its new spelling wins
        renamed = {name: new for name, new in service.renamed.items() if new not in body}
        body = {renamed.get(name, name): value for name, value in body.items()}
    if model is not None and body.get("model") == model[0]:
        body = {**body, "model": model[1]}
    if (asked := tier_to_ask(request, tier)) is not None:
        body = {**body, "service_tier": asked}
    return body

"""How an endpoint is reached: its address, the key and headers it gets, and how it spells requests."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from yarl import URL

from batchlab.costs.price import asked_tier
from batchlab.inputs.spelling import spelt, tier_to_ask
from batchlab.job.key import Header, Secret
from batchlab.job.presets import UNKNOWN, Preset
from batchlab.protocol.redact import redact
from batchlab.protocol.values import id_of
from batchlab.records import ChatRequest, Outcome

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "cf-ray", "apim-request-id")


def tier_of(request: ChatRequest, tier: str | None) -> str | None:
    """The tier that a request asks for where `tier` is added to chats that name none."""
    return tier_to_ask(request, tier) or asked_tier(request.body)


@dataclass(frozen=True, slots=True)
class Access:
    """What is needed to call an endpoint, and to show nothing of it that is secret.

    Attributes:
        headers: the user's own; they win over ours.
        service: how the service behind `base_url` spells parameters and takes its key.
        model: (as requests name it, as this endpoint does); None when they agree.
        tier: the `service_tier` of chats that ask for none themselves.
        insecure: certificates are not verified.
        trust_env: go through the proxy that the environment names.
    """

    base_url: str
    key: Secret | None = None
    headers: tuple[Header, ...] = ()
    service: Preset = UNKNOWN
    model: tuple[str, str] | None = None
    tier: str | None = None
    ca_bundle: str | None = None
    insecure: bool = False
    trust_env: bool = False

    def url(self, path: str) -> URL:
        """The address of a path below the base, with the base's own query."""
        base = URL(self.base_url)
        return base.with_path(f"{base.path.rstrip('/')}/{path}").with_query(base.query)

    def address(self, path: str) -> str:
        """The same without user, password and query, as it may be shown."""
        return str(self.url(path).with_user(None).with_query(None))

    def headers_with(self, ours: Mapping[str, str]) -> dict[str, str]:
        """What a call is sent with: ours, the key, and over them the user's own."""
        headers = dict(ours)
        if self.key is not None:
            header = self.service.key_header
            bearer = "Bearer " if header == "Authorization" else ""
            headers[header] = f"{bearer}{self.key.reveal()}"
        own = {one.name: one.text for one in self.headers}
        taken = {name.lower() for name in own}
        return {name: value for name, value in headers.items() if name.lower() not in taken} | own

    def tls(self) -> ssl.SSLContext | bool:
        """What certificates are verified against; False only when the user said so."""
        if self.insecure:
            return False
        return ssl.create_default_context(cafile=self.ca_bundle) if self.ca_bundle else True

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """A request's body as this endpoint wants it spelt."""
        return spelt(request, self.service, model=self.model, tier=self.tier)

    @property
    def hidden(self) -> list[str]:
        """What may be shown nowhere."""
        own = [one for header in self.headers for one in header.hidden]
        return own if self.key is None else [self.key.reveal(), *own]

    def redacted(self, outcome: Outcome) -> Outcome:
        """An outcome without a secret that was echoed in it."""
        hidden = self.hidden
        if not hidden:
            return outcome
        raw = outcome.error_raw
        return replace(
            outcome,
            message=redact(outcome.message, hidden),
            cause=redact(outcome.cause, hidden),
            error_raw=None if raw is None else redact(raw, hidden),
        )

    def request_id(self, headers: Mapping[str, str]) -> str | None:
        """The service's own id of a call, from its response's headers."""
        found = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)
        if found is None:
            return None
        hidden = self.hidden
        return id_of(redact(found, hidden) if hidden else found)

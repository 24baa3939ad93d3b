"""Where requests go now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.job import SELF_STARTED, EndpointJob, Job
from batchlab.job.key import Header, Secret


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A job's endpoint with the address it really has, its key and its prices.

    Attributes:
        note: tells a person what was started for it, if anything.
        headers: the user's own.
    """

    job: EndpointJob
    base_url: str
    key: Secret | None
    prices: PriceBook
    note: str = ""
    headers: tuple[Header, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may be shown nowhere. The word that our own simulator takes for a key is none, and is in its
        name."""
        key = None if self.job.host in SELF_STARTED else self.key
        own = () if key is None else (key.reveal(),)
        return own + tuple(one for header in self.headers for one in header.hidden)


def access_to(endpoint: Endpoint, job: Job) -> Access:
    """How the endpoint is reached, as the job wants it."""
    described, asked = endpoint.job, job.request.model
    return Access(
        endpoint.base_url,
        key=endpoint.key,
        headers=endpoint.headers,
        service=described.service,
        model=(asked, described.model) if described.model is not None else None,
        ca_bundle=described.ca_bundle,
        insecure=described.insecure,
        trust_env=described.trust_env,
    )


def transport_to(
    endpoint: Endpoint,
    job: Job,
    *,
    stream: bool | None = None,
    write: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> HttpTransport:
    """The connection to an endpoint as the job wants it; `stream` wins over the job's own.

    `write` is called before requests leave, `say` is told what a person should know of the way there.
    """
    return HttpTransport(
        access_to(endpoint, job),
        limits=job.limits,
        task=job.request.task,
        stream=job.request.stream if stream is None else stream,
        write=write,
        say=say,
    )

"""The endpoints of a job: on the network, or started for the length of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from yarl import URL

from batchlab.costs.pricing import price_book
from batchlab.dispatch.http.proxies import proxy_for
from batchlab.engines.endpoint import Endpoint
from batchlab.errors import UsageError
from batchlab.job import SELF_STARTED, EndpointJob, Job
from batchlab.job.endpoint import is_this_machine
from batchlab.job.key import Secret, find_headers, find_key, key_source


@contextlib.contextmanager
def started_endpoints(job: Job) -> Iterator[list[Endpoint]]:
    """The job's endpoints; those of ours are started first, and stopped at the end.

    Raises:
        UsageError: no key, a wrong simulator option, or no local model installed.
    """
    with contextlib.ExitStack() as stack:
        # every key is looked for before anything starts
        keys = [find_key(endpoint) for endpoint in job.endpoint]
        headers = [find_headers(endpoint) for endpoint in job.endpoint]
        yield [
            replace(stack.enter_context(_started(job, endpoint, key)), headers=own)
            for endpoint, key, own in zip(job.endpoint, keys, headers, strict=True)
        ]


@contextlib.contextmanager
def _started(job: Job, endpoint: EndpointJob, key: Secret | None) -> Iterator[Endpoint]:
    prices = price_book(job, endpoint)
    match endpoint.host:
        case "simulator":
            from batchlab.endpoints.simulator import Simulator, SimulatorOptions

            try:
                options = SimulatorOptions.from_dict(dict(job.simulator))
            except (TypeError, ValueError) as error:
                raise UsageError(f"[simulator]: {error}") from error
            with Simulator(options) as simulator:
                yield Endpoint(
                    endpoint, simulator.base_url, Secret(options.api_key), prices, "simulated answers"
                )
        case "local":
            from batchlab.endpoints.local_model import LocalModel, LocalModelError

            path = endpoint.base_url.partition(":")[2] or None
            try:
                model = LocalModel(path)
                url = model.start()
            except LocalModelError as error:
                raise UsageError(str(error)) from error
            try:
                note = f"{model.name}, a small model on this machine (its answers are poor)"
                yield Endpoint(endpoint, url, None, prices, note)
            finally:
                model.stop()
        case _:
            yield Endpoint(endpoint, endpoint.base_url, key, prices)


def key_remedy(endpoints: Sequence[Endpoint]) -> str:
    """What to do where a key was refused: none was sent, or a certain one."""
    without = [endpoint for endpoint in endpoints if endpoint.key is None and not endpoint.headers]
    if without:
        return (
            f"{without[0].base_url} wants a key, and none was given: {{endpoint.api_key_env=NAME}} names the "
            "variable that holds it"
        )
    named = [source for endpoint in endpoints if (source := key_source(endpoint.job))]
    return f"the refused key is that of {' and '.join(dict.fromkeys(named))}" if named else ""


def unused_proxy(endpoint: EndpointJob) -> str:
    """What to say of a proxy that the environment names for an endpoint, and that is not used; else ""."""
    url = URL(endpoint.base_url)
    if endpoint.host in SELF_STARTED or endpoint.trust_env or is_this_machine(url.host or ""):
        return ""
    proxy = proxy_for(url)
    if proxy is None:
        return ""
    return (
        f"proxy: {url.scheme.upper()}_PROXY names {proxy.url} for {url.host}, and is not used; "
        "with {endpoint.trust_env} requests go through it"
    )

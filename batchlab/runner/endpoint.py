"""The endpoint of a job: one on the network, or one that is started for the length of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from batchlab.costs.pricing import Price, lookup
from batchlab.credentials import Secret, find_key
from batchlab.errors import UsageError
from batchlab.job import Job, endpoint_host


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go now. `note` tells a person what was started, if anything."""

    base_url: str
    key: Secret | None
    note: str = ""


@contextlib.contextmanager
def started_endpoint(job: Job) -> Iterator[Endpoint]:
    """The job's endpoint, started first if it is one of ours, stopped at the end.

    Raises:
        UsageError: no key, a wrong simulator option, or no local model installed.
    """
    base_url = job.endpoint.base_url
    match endpoint_host(base_url):
        case "simulator":
            from batchlab.endpoints.simulator import Simulator, SimulatorOptions

            try:
                options = SimulatorOptions.from_dict(dict(job.simulator))
            except (TypeError, ValueError) as error:
                raise UsageError(f"[simulator]: {error}") from error
            with Simulator(options) as simulator:
                yield Endpoint(simulator.base_url, Secret(options.api_key), "simulated answers")
        case "local":
            from batchlab.endpoints.local_model import LocalModel, LocalModelError

            path = base_url.partition(":")[2] or None
            try:
                model = LocalModel(path)
                url = model.start()
            except LocalModelError as error:
                raise UsageError(str(error)) from error
            try:
                yield Endpoint(
                    url, None, f"{model.name}, a small model on this machine (its answers are poor)"
                )
            finally:
                model.stop()
        case _:
            yield Endpoint(base_url, find_key(job))


def job_price(job: Job) -> tuple[Price | None, str]:
    """The price of the job's model and where it comes from; None when nobody states one."""
    given = job.price
    if given.input is not None and given.output is not None:
        return Price(given.input, given.output, given.cached), "job"
    if given.input is not None or given.output is not None:
        raise UsageError("a price needs both input and output (USD per 1M tokens); see [price].")
    match endpoint_host(job.endpoint.base_url):
        case "local":
            return Price(0.0, 0.0), "this machine bills nothing"
        case "simulator":
            return None, "simulated"
    return lookup(job.request.model, job.endpoint.base_url)

"""What is wrong with the parameters of a request, as far as the services behind it say what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchlab.finite import is_finite
from batchlab.job.endpoint import EndpointJob
from batchlab.job.presets import PRESETS, SAME_NUMBERS, Preset

SHOWN_CHARS = 40  # of a value
# what the simulator states for itself, and refuses as it does, are the numbers of the service that it stands
# for; the model that batchlab starts is served by llama.cpp
_STARTED = {"simulator": PRESETS["modelslab"], "local": PRESETS["llama.cpp"]}


def param_problems(
    params: Mapping[str, Any], endpoints: Sequence[EndpointJob], *, check: bool
) -> list[tuple[str, str]]:
    """Parameters that cannot be sent, and what is wrong with each.

    Args:
        endpoints: those that the request may go to.
        check: whether what services say of their parameters counts; what JSON cannot say is wrong anyway.
    """
    found = [
        (name, "is or holds NaN or Infinity, which JSON does not have")
        for name, value in params.items()
        if not is_finite(value)
    ]
    taken = {name for name, _ in found}
    for endpoint in endpoints if check else ():
        service = _STARTED.get(endpoint.host, endpoint.service)
        for name, problem in _unlike(params, service):
            if name not in taken:
                taken.add(name)
                found.append((name, f"{problem}; {{request.check_params=false}} sends it all the same"))
    return found


def _unlike(params: Mapping[str, Any], service: Preset) -> list[tuple[str, str]]:
    """Parameters that are not what a service says it takes."""
    found = []
    for name, value in params.items():
        span = service.takes.get(name) or service.takes.get(SAME_NUMBERS.get(name, ""))
        if span is not None and (problem := span.problem(value)) is not None:
            shown = repr(value)[:SHOWN_CHARS]
            who = f"{service.name} takes" if service.name else "services take"
            found.append((name, f"{shown} {problem}: {who} {span}"))
    stops = params.get("stop")
    if service.most_stops is not None and isinstance(stops, list) and len(stops) > service.most_stops:
        found.append(("stop", f"{len(stops)} sequences: {service.name} takes {service.most_stops}"))
    return found

"""What is wrong with the parameters of a request, as far as the services behind it say what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchlab.finite import is_finite
from batchlab.job.endpoint import EndpointJob
from batchlab.job.presets import PRESETS, SAME_NUMBERS, Preset

SHOWN_CHARS = 40  # of a value
# what it states for itself, and refuses as it does, are the numbers of the service that it stands for
_SIMULATED = PRESETS["modelslab"]


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
        service = _SIMULATED if endpoint.host == "simulator" else endpoint.service
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
            found.append((name, f"{shown} {problem}: {service.name} takes {span}"))
    stops = params.get("stop")
    if service.most_stops is not None and isinstance(stops, list) and len(stops) > service.most_stops:
        found.append(("stop", f"{len(stops)} sequences: {service.name} takes {service.most_stops}"))
    return found

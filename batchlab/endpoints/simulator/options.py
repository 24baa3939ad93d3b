"""What kind of provider is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from batchlab.endpoints.simulator.faults import Fault


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Limits, latency and faults; the same seed gives the same answers and faults.

    Attributes:
        models: names it serves; any name when empty.
        refused: request parameters it does not know and answers with 422, as strict servers do.
        latency_median_s, latency_sigma: of a lognormal distribution.
        tokens_median, tokens_sigma: completion tokens of an answer, lognormal.
        rpm, tpm: continuous buckets with x-ratelimit headers and Retry-After; None for no limit.
        queue_cap: most requests at once; the next is rejected with a 429 without Retry-After.
        context_tokens: longest prompt plus max_tokens; longest text to embed.
        dimensions: of an embedding whose request names none.
        ledger_path: a JSON line for each billed request is appended there.
    """

    port: int = 0
    api_key: str = "simulator"
    models: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    seed: int = 0
    latency_median_s: float = 0.3
    latency_sigma: float = 0.5
    tokens_median: float = 60.0
    tokens_sigma: float = 0.5
    rpm: float | None = None
    tpm: float | None = None
    queue_cap: int | None = None
    context_tokens: int = 32_768
    dimensions: int = 256
    faults: tuple[Fault, ...] = ()
    ledger_path: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SimulatorOptions:
        """Options from plain data, such as a job file's [simulator]. Raises ValueError, one line."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
        values = dict(data)
        for name in ("models", "refused"):
            values[name] = tuple(values.get(name, ()))
        values["faults"] = tuple(
            fault if isinstance(fault, Fault) else Fault.from_dict(fault)
            for fault in values.get("faults", ())
        )
        for name in ("latency_median_s", "latency_sigma", "tokens_median", "tokens_sigma"):
            if name in values and not (isinstance(values[name], int | float) and values[name] >= 0):
                raise ValueError(f"{name} must be a number, 0 or more")
        for name in ("rpm", "tpm", "queue_cap"):
            if values.get(name) is not None and not (
                isinstance(values[name], int | float) and values[name] > 0
            ):
                raise ValueError(f"{name} must be a number above 0")
        return cls(**values)

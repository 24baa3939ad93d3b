"""What kind of provider is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from batchlab.endpoints.simulator.batches.faults import BATCH_FAULTS, BatchFault
from batchlab.endpoints.simulator.batches.options import BatchOptions
from batchlab.endpoints.simulator.faults import Fault
from batchlab.endpoints.simulator.tariff import Hours, Tariff

_ECHOES = ("served", "default", "none")
_REFUSALS = (429, 498)


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Limits, latency and faults; the same seed gives the same answers and faults.

    Attributes:
        api_key: the word that clients must send; "" asks for none.
        models: names it serves; any name when empty.
        refused: request parameters it does not know and answers with 422, as strict servers do.
        latency_median_s, latency_sigma: of a lognormal distribution.
        tokens_median, tokens_sigma: completion tokens of an answer, lognormal.
        rpm, tpm: continuous buckets with x-ratelimit headers and Retry-After; None for no limit.
        queue_cap: most requests at once; the next is rejected with a 429 without Retry-After.
        context_tokens: longest prompt plus max_tokens; longest text to embed.
        dimensions: of an embedding whose request names none.
        ledger_path: a JSON line for each billed request is appended there.
        tiers: service tiers on offer; another one is refused with a 400. `auto` is `default`.
        tier_echo: what a reply says of its tier, when one was asked for: `served`, `default` for any, `none`.
        flex_slots: most flex requests at once; the next is refused, not charged. None for no end.
        flex_shortage: share of the flex requests that are refused all the same, by the hour (UTC).
        flex_refusal: status of such a refusal: 429, as at OpenAI, or 498, as at Groq.
        flex_models: that have a flex tier; another is refused with a 400, as at Azure. All when empty.
        price: what is charged, see `tariff.Tariff`; None charges nothing.
        cache_tokens: shortest beginning of a prompt that is kept in the cache; None keeps none.
        cache_ttl_s: for how long.
        starts_at: the simulated time of the start, ISO 8601, for prices by the hour; None for the real one.
        hang_s: how long a connection that is left open stays so.
        batch: its batch API, see `batches.options.BatchOptions`.
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
    tiers: tuple[str, ...] = ("default", "flex", "priority")
    tier_echo: str = "served"
    flex_slots: int | None = None
    flex_shortage: tuple[Hours, ...] = ()
    flex_refusal: int = 429
    flex_models: tuple[str, ...] = ()
    price: Tariff | None = None
    cache_tokens: int | None = None
    cache_ttl_s: float = 300.0
    starts_at: str | None = None
    hang_s: float = 300.0
    batch: BatchOptions = field(default_factory=BatchOptions)

    @property
    def starts_at_s(self) -> float | None:
        """`starts_at` in seconds since 1970; a time without a zone is UTC."""
        if self.starts_at is None:
            return None
        at = datetime.fromisoformat(self.starts_at)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SimulatorOptions:
        """Options from plain data, such as a job file's [simulator]. Raises ValueError, one line."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
        values = dict(data)
        for name in ("models", "refused", "tiers", "flex_models"):
            if name in values:
                values[name] = tuple(values[name])
        if values.get("price") is not None and not isinstance(values["price"], Tariff):
            values["price"] = Tariff.of(values["price"])
        values["flex_shortage"] = _shortage(values.get("flex_shortage", ()))
        values["batch"] = BatchOptions.from_dict(values.get("batch", {})).with_faults(
            [one for one in values.get("faults", ()) if _of_batches(one)]
        )
        if values.get("price") is not None:
            values["price"] = values["price"].with_batch(values["batch"].spoken.share)
        values["faults"] = tuple(
            fault if isinstance(fault, Fault) else Fault.from_dict(fault)
            for fault in values.get("faults", ())
            if not _of_batches(fault)
        )
        for name in (
            "latency_median_s",
            "latency_sigma",
            "tokens_median",
            "tokens_sigma",
            "cache_ttl_s",
            "hang_s",
        ):
            if name in values and not (isinstance(values[name], int | float) and values[name] >= 0):
                raise ValueError(f"{name} must be a number, 0 or more")
        for name in ("rpm", "tpm", "queue_cap", "flex_slots", "cache_tokens"):
            if values.get(name) is not None and not (
                isinstance(values[name], int | float) and values[name] > 0
            ):
                raise ValueError(f"{name} must be a number above 0")
        made = cls(**values)
        if made.tier_echo not in _ECHOES:
            raise ValueError(f"tier_echo must be one of {', '.join(_ECHOES)}")
        if made.flex_refusal not in _REFUSALS:
            raise ValueError("flex_refusal must be 429 or 498")
        try:
            _ = made.starts_at_s
        except (TypeError, ValueError):
            raise ValueError("starts_at must be a time such as 2026-11-27T03:00:00Z") from None
        return made


def _of_batches(fault: Any) -> bool:
    """Whether a fault is one of the batch API's."""
    return isinstance(fault, BatchFault) or (isinstance(fault, Mapping) and fault.get("kind") in BATCH_FAULTS)


def _shortage(data: Any) -> tuple[Hours, ...]:
    """From a share for all hours, or a list of `from`, `to` (HH:MM), `share`. Raises ValueError, one line."""
    if isinstance(data, int | float) and not isinstance(data, bool):
        data = ({"from": "00:00", "to": "24:00", "share": data},)
    try:
        hours = tuple(
            one if isinstance(one, Hours) else Hours.of({**one, "factor": one["share"]}) for one in data
        )
    except (KeyError, TypeError):
        hours = (Hours(0, 0, -1.0),)
    if not all(0 <= one.factor <= 1 for one in hours):
        raise ValueError("flex_shortage must be a share from 0 to 1, or a list of from, to, share")
    return hours

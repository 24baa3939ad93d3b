"""How the batch API of the simulated provider behaves when nothing goes wrong, and its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from batchlab.endpoints.simulator.batches.dialects import DIALECTS, Dialect
from batchlab.endpoints.simulator.batches.faults import BatchFault

P90 = 1.2815515655446004  # standard deviations from the median to the 90th percentile


@dataclass(frozen=True, slots=True)
class QueueTime:
    """How long batches take: lognormal by median and 90th percentile, or always the same (`p90_s` 0)."""

    median_s: float
    p90_s: float = 0.0

    @classmethod
    def of(cls, data: Any) -> QueueTime:
        """From a number of seconds, or `lognormal:median=2,p90=10`. Raises ValueError, one line."""
        if isinstance(data, QueueTime):
            return data
        try:
            if isinstance(data, int | float) and not isinstance(data, bool) and data >= 0:
                return cls(float(data))
            name, _, rest = str(data).partition(":")
            if name == "lognormal":
                given = {
                    key.strip(): float(value) for key, value in (one.split("=") for one in rest.split(","))
                }
                if set(given) == {"median", "p90"} and 0 < given["median"] <= given["p90"]:
                    return cls(given["median"], given["p90"])
            elif float(name) >= 0:
                return cls(float(name))
        except ValueError:
            pass
        raise ValueError(
            f"batch.seconds: {data!r} is neither a number of seconds nor lognormal:median=2,p90=10"
        )

    def drawn_s(self, uniform_1: float, uniform_2: float) -> float:
        """One of them, of two uniform numbers (Box-Muller)."""
        if not self.p90_s:
            return self.median_s
        normal = math.sqrt(-2 * math.log(1 - uniform_1)) * math.cos(2 * math.pi * uniform_2)
        return self.median_s * math.exp(math.log(self.p90_s / self.median_s) / P90 * normal)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The batch API; `[simulator.batch]` of a job file.

    Attributes:
        dialect: whose batch API `/batches` and `/files` speak; a name of `DIALECTS`.
        seconds: how long a batch takes from its creation to its end.
        window_s: after how long an unfinished batch expires; None for the window that it was created with.
        cancel_s: how long cancelling takes.
        enqueued_tokens: prompt tokens that may wait at once; a batch beyond fails. None for no end.
        max_lines, max_bytes: in the place of the dialect's.
        file_hidden_s: for how long a new file cannot be found.
        unlisted_s: for how long a new batch is in no list.
        kept_s: how long results stay after the end, in the place of the dialect's.
        entitled: whether the account may use batches at all; else 403 at the first step.
    """

    dialect: str = "openai"
    seconds: QueueTime = QueueTime(2.0, 10.0)
    window_s: float | None = None
    cancel_s: float = 0.0
    enqueued_tokens: int | None = None
    max_lines: int | None = None
    max_bytes: int | None = None
    file_hidden_s: float = 0.0
    unlisted_s: float = 0.0
    kept_s: float | None = None
    entitled: bool = True
    faults: tuple[BatchFault, ...] = ()

    @property
    def spoken(self) -> Dialect:
        """The dialect's data."""
        return DIALECTS[self.dialect]

    @classmethod
    def from_dict(cls, data: Any) -> BatchOptions:
        """Options from plain data. Raises ValueError, one line."""
        if isinstance(data, BatchOptions):
            return data
        known = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or not set(data) <= known:
            raise ValueError(f"batch must be a table of {', '.join(sorted(known))}")
        values = dict(data)
        if values.get("dialect", "openai") not in DIALECTS:
            raise ValueError(f"batch.dialect must be one of {', '.join(DIALECTS)}")
        if "seconds" in values:
            values["seconds"] = QueueTime.of(values["seconds"])
        for name in sorted(known - {"dialect", "seconds", "entitled", "faults"}):
            value = values.get(name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or value < 0
            ):
                raise ValueError(f"batch.{name} must be a number, 0 or more")
        if not isinstance(values.get("entitled", True), bool):
            raise ValueError("batch.entitled must be true or false")
        values["faults"] = tuple(map(BatchFault.from_dict, values.get("faults", ())))
        return cls(**values)

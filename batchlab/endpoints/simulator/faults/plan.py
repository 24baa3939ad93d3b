"""When a fault strikes: by rate, at every n-th request, for prompts that hold a marker, for a while."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from batchlab.endpoints.simulator.faults.drafts import FaultKind, answer
from batchlab.endpoints.simulator.faults.table import FAULTS


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan. With neither `rate`, `every` nor `rows` but `after` or `for_s`, it strikes always.

    Attributes:
        kind: one of `FAULTS`, or `answer` for the very answer that `status`, `body`, `headers` and
            `content_type` describe.
        rows: texts; a request whose prompt holds one of them is hit.
        times: how many attempts of the same request it hits, after that they succeed; 0 for all of them.
        tier: only requests of this service tier are hit; all when empty.
        after: how many requests must have been answered well before it may strike.
        for_s: for how many seconds from its first strike on; 0 for ever.
        most: how often it strikes in all; 0 for no end.
    """

    kind: str
    rate: float = 0.0
    every: int = 0
    rows: tuple[str, ...] = ()
    times: int = 1
    tier: str = ""
    after: int = 0
    for_s: float = 0.0
    most: int = 0
    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"

    @property
    def what(self) -> FaultKind:
        """What the request it strikes is answered."""
        if self.kind != "answer":
            return FAULTS[self.kind]
        change = answer(
            self.status, self.body.encode(), headers=dict(self.headers), content_type=self.content_type
        )
        return FaultKind("the very answer that is given", change)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        """A fault from plain data. Raises ValueError, one line."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} of a fault; known: {', '.join(known)}")
        if data.get("kind") not in {"answer", *FAULTS}:
            close = difflib.get_close_matches(str(data.get("kind")), FAULTS, n=3, cutoff=0.5)
            near = f"did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(f"unknown fault {data.get('kind')!r}; {near}see batchlab simulate --list-faults")
        headers = tuple((name, str(value)) for name, value in data.get("headers", {}).items())
        return cls(**{**data, "rows": tuple(data.get("rows", ())), "headers": headers})

    def picks(self, request: Strikable, *, seed: int) -> bool:
        """Whether its rate, its turn or its rows choose a request."""
        if self.times and request.attempt > self.times:
            return False
        if not (self.rate or self.every or self.rows):
            return bool(self.after or self.for_s or self.most)
        if self.every and request.number % self.every == 0:
            return True
        if any(marker in request.prompt for marker in self.rows):
            return True
        return (
            self.rate > 0 and chance(seed, self.kind.encode(), request.content, request.attempt) < self.rate
        )


@dataclass(frozen=True, slots=True)
class Strikable:
    """A request as a plan sees it.

    Attributes:
        content: what tells requests apart.
        attempt: the how-manieth with this content, from 1.
        number: the how-manieth of all, from 1.
        answered: requests that were answered well so far.
    """

    body: Mapping[str, Any]
    content: bytes
    prompt: str
    tier: str
    attempt: int
    number: int
    answered: int


class FaultPlan:
    """All faults of a provider, and since when and how often each has struck."""

    def __init__(self, faults: Sequence[Fault], *, seed: int, clock: Callable[[], float]) -> None:
        self._faults = faults
        self._seed = seed
        self._clock = clock
        self._since_s: dict[int, float] = {}
        self._strikes: dict[int, int] = {}

    def struck(self, request: Strikable) -> Fault | None:
        """The first fault that strikes a request, or None."""
        for index, fault in enumerate(self._faults):
            if fault.after > request.answered or fault.tier not in {"", request.tier}:
                continue
            if fault.most and self._strikes.get(index, 0) >= fault.most:
                continue
            if fault.for_s and self._clock() > self._since_s.get(index, self._clock()) + fault.for_s:
                continue
            needs = FAULTS[fault.kind].needs if fault.kind in FAULTS else ""
            if (needs and needs not in request.body) or not fault.picks(request, seed=self._seed):
                continue
            self._since_s.setdefault(index, self._clock())
            self._strikes[index] = self._strikes.get(index, 0) + 1
            return fault
        return None


def chance(seed: int, *parts: bytes | int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return int.from_bytes(digest.digest(), "little") / 2**64

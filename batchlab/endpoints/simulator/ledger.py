"""The simulator's own books: what it received, what it billed, what was billed twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from batchlab.endpoints.simulator.tariff import Bill


@dataclass(slots=True)
class Ledger:
    """Counts; per request content only a number each, so memory grows by ~100 bytes a distinct row.

    Attributes:
        requests: live calls, and lines of batches that were worked on.
        unseen_prompt_tokens, unseen_completion_tokens, unseen_usd: of answers whose usage the client is not
            told, or cannot read; they are among the others.
        usd: by the provider's price list; 0 without one.
        answered: requests that were answered well, by no fault.
    """

    path: str | None = None
    requests: int = 0
    billed: int = 0
    billed_repeats: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unseen_prompt_tokens: int = 0
    unseen_completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    usd: float = 0.0
    unseen_usd: float = 0.0
    answered: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_fault: Counter[str] = field(default_factory=Counter)
    by_tier: Counter[str] = field(default_factory=Counter)
    attempts: Counter[bytes] = field(default_factory=Counter)
    bills: Counter[bytes] = field(default_factory=Counter)
    _file: TextIO | None = None

    def received(self, content: bytes) -> int:
        """A request with this content came; returns the how-manieth it is (from 1)."""
        self.requests += 1
        self.attempts[content] += 1
        return self.attempts[content]

    def bill(self, content: bytes, bill: Bill, usd: float | None, *, fault: str = "") -> None:
        """A request is charged for, at `usd` if the provider has a price list."""
        if not bill.seen:
            self.unseen_prompt_tokens += bill.prompt_tokens
            self.unseen_completion_tokens += bill.completion_tokens
            self.unseen_usd += usd or 0.0
        self.billed += 1
        self.bills[content] += 1
        self.billed_repeats += self.bills[content] > 1
        self.prompt_tokens += bill.prompt_tokens
        self.completion_tokens += bill.completion_tokens
        self.cached_tokens += bill.cached_tokens
        self.cache_write_tokens += bill.cache_write_tokens
        self.usd += usd or 0.0
        self.by_tier[bill.tier] += 1
        if self.path is not None:
            if self._file is None:
                self._file = Path(self.path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open for the server's life
            line = {"content": content.hex(), **asdict(bill), "usd": usd, "fault": fault}
            self._file.write(json.dumps(line) + "\n")

    def enter(self) -> None:
        """A request is being worked on."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def leave(self) -> None:
        """It no longer is."""
        self.in_flight -= 1

    def totals(self) -> dict[str, Any]:
        """The books as plain data."""
        names = (
            "requests",
            "billed",
            "billed_repeats",
            "prompt_tokens",
            "completion_tokens",
            "unseen_prompt_tokens",
            "unseen_completion_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "usd",
            "unseen_usd",
            "answered",
            "in_flight",
            "max_in_flight",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "distinct": len(self.attempts),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_fault": dict(sorted(self.by_fault.items())),
            "by_tier": dict(sorted(self.by_tier.items())),
        }

    def close(self) -> None:
        """Closes the ledger file."""
        if self._file is not None:
            self._file.close()
            self._file = None

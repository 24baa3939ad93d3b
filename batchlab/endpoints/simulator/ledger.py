"""The simulator's own books: what it received, what it billed, what was billed twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass(slots=True)
class Ledger:
    """Counts; per request content only a number each, so memory grows by ~100 bytes a distinct row."""

    path: str | None = None
    requests: int = 0
    billed: int = 0
    billed_repeats: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unseen_prompt_tokens: int = 0
    unseen_completion_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_fault: Counter[str] = field(default_factory=Counter)
    attempts: Counter[bytes] = field(default_factory=Counter)
    bills: Counter[bytes] = field(default_factory=Counter)
    _file: TextIO | None = None

    def received(self, content: bytes) -> int:
        """A request with this content came; returns the how-manieth it is (from 1)."""
        self.requests += 1
        self.attempts[content] += 1
        return self.attempts[content]

    def bill(self, content: bytes, prompt_tokens: int, completion_tokens: int, *, seen: bool = True) -> None:
        """The request is charged for; `seen` says whether the client is told the usage."""
        if not seen:
            self.unseen_prompt_tokens += prompt_tokens
            self.unseen_completion_tokens += completion_tokens
        self.billed += 1
        self.bills[content] += 1
        self.billed_repeats += self.bills[content] > 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        if self.path is not None:
            if self._file is None:
                self._file = Path(self.path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open for the server's life
            line = {
                "content": content.hex(),
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
            }
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
            "in_flight",
            "max_in_flight",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "distinct": len(self.attempts),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_fault": dict(sorted(self.by_fault.items())),
        }

    def close(self) -> None:
        """Closes the ledger file."""
        if self._file is not None:
            self._file.close()
            self._file = None

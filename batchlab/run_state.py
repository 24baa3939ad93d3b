"""How far a run is: the one thing that engines tell, and that all who show a run read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from batchlab.totals import Totals

LAST_ERROR_CHARS = 200
FORECAST_ROWS = 20  # fewer say nothing about the cost of the others


@dataclass(slots=True)
class Attempts:
    """Requests and what came of them. A pool counts in one of its own; a `RunState` has a copy."""

    sent: int = 0
    retried: int = 0
    hedged: int = 0
    limited: int = 0  # answers that were rate limits
    errors: int = 0  # attempts that failed by the provider's trouble
    last_error: str = ""  # the words of the last attempt that was not answered, without secrets

    def __add__(self, other: Attempts) -> Attempts:
        return Attempts(
            self.sent + other.sent,
            self.retried + other.retried,
            self.hedged + other.hedged,
            self.limited + other.limited,
            self.errors + other.errors,
            other.last_error or self.last_error,
        )

    def __sub__(self, other: Attempts) -> Attempts:
        return Attempts(
            self.sent - other.sent,
            self.retried - other.retried,
            self.hedged - other.hedged,
            self.limited - other.limited,
            self.errors - other.errors,
            self.last_error,
        )


@dataclass(frozen=True, slots=True)
class BatchStanding:
    """A batch that is out, as it was when it was looked at last.

    Attributes:
        id: the service's; "" before it has one.
        word: the service's own for where it is.
        done: lines that have a result there; None when it does not say.
        since: Unix seconds when it was ordered; `next_look` when it is looked at again, 0 when nobody will.
    """

    key: str
    endpoint: str
    id: str
    rows: int
    word: str = ""
    done: int | None = None
    since: float = 0.0
    next_look: float = 0.0


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run is at one moment; or a worker's share of it, which knows of no row but its own.

    Attributes:
        rows: of the input.
        earlier: totals before this invocation; `added` is what it has added to them.
        synced: results of this invocation that are synced to disk.
        reopened: rows that had a result, and are asked again.
        copies: rows that get, or have, the answer to an identical request, unpaid, as far as known.
        window: requests that may be in flight; `why` says what holds it down, "" if nothing.
        paused: whether a rate limit or an outage holds everything back.
        silent_s: how long an outage has lasted, 0 without one.
        oldest: custom_id and age (s) of the rows on their way, oldest first, once no other is to begin.
        out: each endpoint that is not used any more, and why.
        batches: those that are out.
        elapsed_s: since the invocation began.
    """

    rows: int = 0
    earlier: Totals = field(default_factory=Totals)
    added: Totals = field(default_factory=Totals)
    attempts: Attempts = field(default_factory=Attempts)
    synced: int = 0
    reopened: int = 0
    copies: int = 0
    window: int = 0
    in_flight: int = 0
    why: str = ""
    paused: bool = False
    silent_s: float = 0.0
    oldest: Sequence[tuple[str, float]] = ()
    out: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[BatchStanding, ...] = ()
    elapsed_s: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The state that was sent as JSON, which has it as `dataclasses.asdict` does."""
        return cls(
            **{
                **data,
                "earlier": Totals.of(data["earlier"]),
                "added": Totals.of(data["added"]),
                "attempts": Attempts(**data["attempts"]),
                "oldest": [(str(name), float(age)) for name, age in data["oldest"]],
                "batches": tuple(BatchStanding(**one) for one in data.get("batches", ())),
            }
        )

    @property
    def totals(self) -> Totals:
        """Of the whole run, earlier invocations included."""
        return self.earlier + self.added

    @property
    def saved(self) -> int:
        """Rows with a final result that is synced to disk."""
        return self.earlier.rows - self.reopened + self.synced

    @property
    def pending(self) -> int:
        """Rows without a final result."""
        return self.rows - self.earlier.rows - self.added.rows

    @property
    def rows_out(self) -> int:
        """Rows of batches that are out."""
        return sum(one.rows for one in self.batches)

    @property
    def asked(self) -> int:
        """Rows that are final, and got no copy of another row's answer."""
        return _asked(self.earlier) + _asked(self.added)

    @property
    def asked_now(self) -> int:
        """Of `asked`, those of this invocation."""
        return _asked(self.added)

    @property
    def to_ask_now(self) -> int:
        """Of `to_ask`, those that this invocation has asked or is to ask."""
        return self.to_ask - _asked(self.earlier)

    @property
    def to_ask(self) -> int:
        """Rows of the input that are not answered by copies, final ones included."""
        return self.rows - max(self.earlier.reused + self.added.reused, self.copies)

    @property
    def final_usd(self) -> float | None:
        """What the whole run will cost if the other rows cost what those before them did; None if unknown."""
        so_far = self.totals.whole_usd
        if so_far is None or self.asked < FORECAST_ROWS:
            return None
        return so_far * self.to_ask / self.asked

    def plus(self, share: RunState) -> RunState:
        """With what `share` has done since. How the share stands now is how the run does."""
        return dataclasses.replace(
            share,
            rows=self.rows + share.rows,
            earlier=self.earlier + share.earlier,
            added=self.added + share.added,
            attempts=self.attempts + share.attempts,
            synced=self.synced + share.synced,
            reopened=self.reopened + share.reopened,
            copies=self.copies + share.copies,
        )


def together(shares: Sequence[RunState]) -> RunState:
    """What several workers have done, and how they stand.

    All are paused when each is, and `oldest` are only known once each with a request in flight names its own.
    """
    sending = [share for share in shares if share.in_flight]
    oldest = [one for share in shares for one in share.oldest] if all(one.oldest for one in sending) else []
    done = RunState()
    for share in shares:
        done = done.plus(share)
    return dataclasses.replace(
        done,
        window=sum(share.window for share in shares),
        in_flight=sum(share.in_flight for share in shares),
        why=next((share.why for share in shares if share.why), ""),
        paused=bool(shares) and all(share.paused for share in shares),
        silent_s=min((share.silent_s for share in shares), default=0.0),
        oldest=sorted(oldest, key=lambda one: -one[1]),
        out={name: why for share in shares for name, why in share.out.items()},
        elapsed_s=max((share.elapsed_s for share in shares), default=0.0),
    )


def _asked(totals: Totals) -> int:
    return totals.rows - totals.reused

"""What is asked for permits, and told how the requests fared, whoever sets the limits behind it."""

from __future__ import annotations

from typing import Protocol

from batchlab.dispatch.rate.controller import Permit
from batchlab.protocol.limits import RateHeaders


class Controller(Protocol):
    """How fast requests may leave for an endpoint: a `RateController`, or one that keeps to a lease."""

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        ...

    @property
    def window(self) -> int:
        """Requests that may be."""
        ...

    @property
    def gate_until(self) -> float:
        """When a pause ends."""
        ...

    @property
    def is_out(self) -> bool:
        """Whether there is an outage."""
        ...

    def why(self, now: float) -> str:
        """Why the window is what it is; "" when nothing holds it back."""
        ...

    def silent_s(self, now: float) -> float:
        """Seconds since the first trouble after the last answer; 0.0 when all is well."""
        ...

    def try_acquire(self, now: float, prompt_tokens: int, max_tokens: int | None) -> Permit | float:
        """A permit to send now, or the seconds after which to ask again (inf: after a release)."""
        ...

    def succeeded(
        self, permit: Permit, now: float, total_tokens: int | None, headers: RateHeaders | None = None
    ) -> None:
        """An answer came."""
        ...

    def limited(
        self,
        permit: Permit,
        now: float,
        retry_after_s: float | None = None,
        *,
        status: int = 429,
        words: str = "",
        doubted: bool = False,
        again: bool = False,
        no_room: bool = False,
    ) -> bool:
        """A rate limit or an overload. Returns whether nothing is made of it."""
        ...

    def failed(self, permit: Permit, now: float, *, words: str = "") -> None:
        """A server error, a reset or a timeout."""
        ...

    def unreachable(self, permit: Permit, now: float, *, words: str = "") -> None:
        """Nobody answers there."""
        ...

    def refused(self, permit: Permit, now: float) -> None:
        """The row's own fault, or never sent."""
        ...

    def cancelled(self, permit: Permit, now: float) -> None:
        """The request was abandoned."""
        ...

    def hold(self, now: float, seconds: float, words: str = "") -> None:
        """Nothing is sent for a time, and then one request after the other until one is answered."""
        ...

    def release(self) -> None:
        """The end of a hold."""
        ...

    def forgive(self) -> None:
        """Some refusals were no limits."""
        ...

    def empty(self, now: float) -> None:
        """The rates were used to their full until now."""
        ...

"""Request and token limits as a continuous bucket, with the headers a provider sends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Limit:
    """`per_minute` units a minute, one second's worth at once."""

    per_minute: float
    level: float
    at: float

    @classmethod
    def of(cls, per_minute: float | None, now: float) -> Limit | None:
        """A full bucket, or None for no limit."""
        return None if per_minute is None else cls(per_minute, max(1.0, per_minute / 60), now)

    @property
    def size(self) -> float:
        """What may leave at once."""
        return max(1.0, self.per_minute / 60)

    def wait_s(self, units: float, now: float) -> float:
        """Seconds until `units` fit; 0.0 when they do."""
        self.level = min(self.size, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        return max(0.0, (min(units, self.size) - self.level) * 60 / self.per_minute)

    def take(self, units: float) -> None:
        """Takes `units`, into debt if need be."""
        self.level -= units

    def headers(self, kind: str) -> dict[str, str]:
        """x-ratelimit headers; `reset` is the time to full, as OpenAI's is."""
        remaining = max(0.0, self.level)
        reset = (self.size - remaining) * 60 / self.per_minute
        scale = self.per_minute / self.size
        return {
            f"x-ratelimit-limit-{kind}": f"{self.per_minute:.0f}",
            f"x-ratelimit-remaining-{kind}": f"{remaining * scale:.0f}",
            f"x-ratelimit-reset-{kind}": f"{reset * scale:.3f}s",
        }

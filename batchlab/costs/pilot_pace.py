"""How many requests a sample had at work at once, and whether more would have been of use. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_REQUESTS = 8  # fewer show no pace
# of the latency: so much of it must come from requests that were there before, to say that they queued
QUEUED_SHARE, QUEUED_CORRELATION = 0.4, 0.7


@dataclass(frozen=True, slots=True)
class SeenPace:
    """What a sample saw of the provider.

    Attributes:
        at_once: requests at work at once, on average, once it was under way.
        limited: answers that were rate limits.
        queues: the more requests were under way, the longer each took: more at once only wait.
    """

    at_once: float
    limited: int = 0
    queues: bool = False

    @property
    def is_held(self) -> bool:
        """Whether the provider, and not the sample, decided how many were at work."""
        return self.limited > 0 or self.queues

    def described(self) -> str:
        """What bounds a run that is held to this pace."""
        why = f"met {self.limited:,} rate limits" if self.limited else "saw more of them only wait"
        return f"the provider: about {max(1, round(self.at_once)):,} at once; the pilot {why}"


def seen_pace(spans: Sequence[tuple[float, float]], limited: int) -> SeenPace | None:
    """The pace of requests; None when there are too few of them.

    Args:
        spans: start and end of each, in seconds.
        limited: answers that were rate limits.
    """
    if len(spans) < LEAST_REQUESTS:
        return None
    ends = sorted(end for _, end in spans)
    # neither while the window grows nor while the last ones run out
    first, last = len(ends) // 4, len(ends) * 9 // 10
    spans = sorted(spans)
    # of requests that began at one moment, each is there before the next
    under_way = [1 + sum(end > start for _, end in spans[:n]) for n, (start, _) in enumerate(spans)]
    latencies = [end - start for start, end in spans]
    mean = sum(latencies) / len(latencies)
    lasted = ends[last] - ends[first]
    at_once = (last - first) / lasted * mean if lasted > 0 else float(max(under_way))
    at_once = max(1.0, min(at_once, float(max(under_way))))
    return SeenPace(at_once, limited, _queues(under_way, latencies))


def _queues(under_way: Sequence[int], latencies: Sequence[float]) -> bool:
    """Whether latency grows with the number of requests that were under way, and is mostly made of it."""
    count = len(latencies)
    others, mean = sum(under_way) / count, sum(latencies) / count
    spread = sum((one - others) ** 2 for one in under_way)
    varied = sum((one - mean) ** 2 for one in latencies)
    if spread <= 0 or varied <= 0 or mean <= 0:
        return False
    both = sum((k - others) * (one - mean) for k, one in zip(under_way, latencies, strict=True))
    return (
        both / (spread * varied) ** 0.5 >= QUEUED_CORRELATION
        and both / spread * others >= QUEUED_SHARE * mean
    )

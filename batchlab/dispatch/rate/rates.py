"""Requests and tokens a minute: the user's limits, and those that a server states. Pure."""

from __future__ import annotations

from batchlab.dispatch.rate.buckets import Bucket
from batchlab.protocol.limits import RateHeaders

RATIO_EWMA, RATIO_MIN, RATIO_MAX = 0.05, 0.1, 2.0


class Rates:
    """What may leave in a minute.

    Attributes:
        requests, tokens: None where nobody sets a limit.
        ratio: tokens that requests turn out to use, of those expected of them; learned.
    """

    __slots__ = ("_stated", "ratio", "requests", "tokens")

    def __init__(self, rpm: float | None, tpm: float | None, now: float) -> None:
        self.requests = Bucket(rpm, now=now) if rpm else None
        self.tokens = Bucket(tpm, now=now) if tpm else None
        self._stated = tpm is None  # whether the limit of tokens, if there is one, is the server's
        self.ratio = 1.0

    def used(self, tokens: int, reserved: float, estimate: float, now: float) -> None:
        """A request for which `reserved` were taken, and `estimate` expected, used so many tokens."""
        if self.tokens is not None:
            self.tokens.give_back(reserved - tokens, now)
        ratio = self.ratio + RATIO_EWMA * (tokens / estimate - self.ratio)
        self.ratio = min(RATIO_MAX, max(RATIO_MIN, ratio))

    def refund(self, reserved: float, now: float) -> None:
        """A request for which so many tokens were taken was refused."""
        if self.tokens is not None and self._stated:
            # A limit we only learned from headers: the server's count is the truth. Our user's own
            # limit keeps the charge, because some providers count what they refuse.
            self.tokens.give_back(reserved, now)

    def empty(self, now: float) -> None:
        """The limits were used to their full until now: nothing is left to leave at once."""
        for bucket in (self.requests, self.tokens):
            if bucket is not None:
                bucket.lower_to(0.0, now)

    def read(self, headers: RateHeaders, now: float) -> None:
        """Limits the server states; a user's own lower limit stays."""
        limit, window = headers.limit_requests, headers.window_s or 60.0
        if limit is not None and window <= 60.0:
            per_minute = limit * 60.0 / window
            if self.requests is None or abs(self.requests.per_minute - per_minute) > 0.01 * per_minute:
                self.requests = _lower(self.requests, per_minute, now)
            if headers.remaining_requests is not None:
                self.requests.lower_to(headers.remaining_requests, now)
        if headers.limit_tokens is not None and self._stated:
            per_minute = headers.limit_tokens
            if self.tokens is None or abs(self.tokens.per_minute - per_minute) > 0.01 * per_minute:
                self.tokens = Bucket(per_minute, now=now, paced=False)
            if headers.remaining_tokens is not None:
                self.tokens.lower_to(headers.remaining_tokens, now)


def _lower(own: Bucket | None, per_minute: float, now: float) -> Bucket:
    if own is not None and own.per_minute <= per_minute:
        return own
    return Bucket(per_minute, now=now, paced=False)

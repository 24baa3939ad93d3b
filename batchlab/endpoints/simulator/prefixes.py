"""The simulated prefix cache: the first request with a long beginning writes it, later ones read it.

Source: OpenAI's prompt caching guide (from 1,024 tokens on, in steps of 128, for some minutes).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

STEP_TOKENS = 128
BYTES_A_TOKEN = 4
MOST_PREFIXES = 100_000


@dataclass(slots=True)
class PrefixCache:
    """What beginnings were seen, and when last.

    Attributes:
        least_tokens: shortest beginning that is kept; None keeps nothing.
        ttl_s: for how long after it was last used.
    """

    least_tokens: int | None
    ttl_s: float
    _seen: OrderedDict[bytes, float] = field(default_factory=OrderedDict)

    def take(self, model: str, prompt: str, now_s: float) -> tuple[int, int]:
        """Tokens of the prompt that are read from the cache, and tokens that are written to it."""
        if self.least_tokens is None:
            return 0, 0
        raw = prompt.encode("utf-8", "replace")
        whole = len(raw) // BYTES_A_TOKEN
        last = whole // STEP_TOKENS * STEP_TOKENS
        digest = hashlib.blake2b(model.encode(), digest_size=16)
        read, kept = 0, 0
        for end in range(STEP_TOKENS, last + 1, STEP_TOKENS):
            digest.update(raw[(end - STEP_TOKENS) * BYTES_A_TOKEN : end * BYTES_A_TOKEN])
            if end < self.least_tokens:
                continue
            kept = end
            key = digest.copy().digest()
            seen_s = self._seen.get(key)
            if seen_s is not None and seen_s + self.ttl_s >= now_s:
                read = end
            self._seen[key] = now_s
            self._seen.move_to_end(key)
        while len(self._seen) > MOST_PREFIXES:
            self._seen.popitem(last=False)
        return read, kept - read

"""The most that one request may use, as a cap must count it before the answer is known. Pure."""

from __future__ import annotations

from typing import Protocol

from batchlab.dispatch.rate.money import Money

# Reasoning beyond max_tokens, where a service bills it so and no answer has told how long it gets.
UNCAPPED_REASONING = 16_384
ENOUGH_ANSWERS = 20  # without any reasoning beyond max_tokens: then it is not that model's way
# A row that sets no max_tokens: its worst case is a guess, twice the longest answer seen.
UNCAPPED_COMPLETION = 4_096
PROMPT_SAFETY = 2  # bytes/4 is low for code and for scripts other than Latin
PROMPT_OVERHEAD = 16  # roles and separators of the chat format


class Dear(Protocol):
    """The most that a request may be billed, of a known price; see `costs.price.Ceiling`."""

    @property
    def reasons_on(self) -> bool:
        """Whether reasoning may be billed beyond max_tokens."""
        ...

    def most_usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for up to so many tokens."""
        ...


class Reservation:
    """What is set aside for one request; it counts as used in full until it is settled,
    because a request that was cut off may have been billed. `at` is when it left, in Unix seconds;
    `prompt` the most tokens that its own text may be."""

    __slots__ = (
        "at",
        "charged_tokens",
        "charged_usd",
        "max_tokens",
        "priced",
        "prompt",
        "worst_tokens",
        "worst_usd",
    )

    def __init__(
        self,
        worst_usd: float,
        worst_tokens: float,
        *,
        priced: bool,
        max_tokens: int | None = None,
        prompt: int | None = None,
    ) -> None:
        self.at = 0.0
        self.priced = priced
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.worst_usd = self.charged_usd = worst_usd
        self.worst_tokens = self.charged_tokens = worst_tokens

    @property
    def worst(self) -> Money:
        """The most that the request may use."""
        return Money(self.worst_usd, self.worst_tokens)


class WorstCase:
    """What is set aside for a request, in the light of the answers so far.

    A service may answer with more than max_tokens, because its reasoning comes on top: then it is
    twice the most that came beyond it so far, and a guess before anything did. It may also put a prompt
    of its own before ours, which is known from the first answer on.
    """

    def __init__(self) -> None:
        self._longest_completion = 0
        self._longest_beyond = 0  # completion tokens past a request's max_tokens
        self._hidden_prompt = 0  # prompt tokens past the most that a request's own text may be
        self._answers = 0  # with a known number of completion tokens, to requests with max_tokens

    def reservation(self, prompt_tokens: int, max_tokens: int | None, price: Dear | None) -> Reservation:
        """What a request may use at the most; `price` is None when unknown."""
        own = prompt_tokens * PROMPT_SAFETY + PROMPT_OVERHEAD
        prompt = own + self._hidden_prompt
        completion = max_tokens
        if completion is None:
            completion = 2 * self._longest_completion or UNCAPPED_COMPLETION
        elif self._longest_beyond:
            completion += 2 * self._longest_beyond
        elif price is not None and price.reasons_on and self._answers < ENOUGH_ANSWERS:
            completion += UNCAPPED_REASONING
        usd = 0.0 if price is None else price.most_usd(prompt, completion)
        worst = float(prompt + completion)
        return Reservation(usd, worst, priced=price is not None, max_tokens=max_tokens, prompt=own)

    def answered(self, reservation: Reservation, prompt: int | None, completion: int | None) -> None:
        """So many tokens were billed for a request; None for what its answer did not say."""
        if prompt is not None and (own := reservation.prompt) is not None:
            self._hidden_prompt = max(self._hidden_prompt, prompt - own)
        if completion is not None and completion > self._longest_completion:
            self._longest_completion = completion
        if completion is not None and (most := reservation.max_tokens) is not None:
            self._answers += 1
            if completion - most > self._longest_beyond:
                self._longest_beyond = completion - most

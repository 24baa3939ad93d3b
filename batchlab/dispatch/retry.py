"""When a row is tried again: tenacity decides, for the RETRY class only.

WAIT and PAUSE are the provider's state, not the row's failure; they are waited out inside
the attempt and count nothing. An `AsyncRetrying` costs 130 µs to build, more than a whole
request, so it is built only after a first attempt has failed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from batchlab.dispatch.api_error import ApiError
from batchlab.records import OutcomeClass

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

MAX_WAIT_S = 60.0
MAX_TIMEOUT_ATTEMPTS = 2  # a timed-out request may have been paid; a third one rarely ends better


def _is_retry(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.outcome.kind is OutcomeClass.RETRY


class _OutcomeWait:
    """Full jitter, U(0, min(60, 2^n)) s, and at least what the server asked for; never more than `most_s`."""

    def __init__(self, most_s: float) -> None:
        import tenacity

        self._most_s = most_s
        self._jitter = tenacity.wait_random_exponential(multiplier=2, max=min(MAX_WAIT_S, most_s))

    def __call__(self, retry_state: RetryCallState) -> float:
        asked = 0.0
        if retry_state.outcome is not None and isinstance(error := retry_state.outcome.exception(), ApiError):
            asked = error.outcome.wait_s or 0.0
        return min(self._most_s, max(asked, self._jitter(retry_state)))


class _Attempts:
    """Stops after `max_attempts`, or after two total timeouts of the same row."""

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._timeouts = 0

    def __call__(self, retry_state: RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        if isinstance(error, ApiError) and error.outcome.error_class == "timeout":
            self._timeouts += 1
        return retry_state.attempt_number >= self._max_attempts or self._timeouts >= MAX_TIMEOUT_ATTEMPTS


async def retried_after(
    first: ApiError,
    attempt: Callable[[], Awaitable[T]],
    *,
    max_attempts: int,
    max_wait_s: float = math.inf,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """The result of `attempt`, called again until it succeeds or the attempts are used up.

    Args:
        first: how the first attempt failed; it counts as attempt 1 and is not repeated here.
        max_wait_s: longest that is ever waited, whatever the server asks for.
        sleep: waits the back-off; may raise to leave early when the run stops.

    Raises:
        ApiError: the last attempt's, or one that is not to be retried.
    """
    import tenacity  # 35 ms, which a run without a failure never spends

    replay: list[ApiError] = [first]

    async def again() -> T:
        if replay:
            raise replay.pop()
        return await attempt()

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_retry),
        wait=_OutcomeWait(max_wait_s),
        stop=_Attempts(max_attempts),
        sleep=sleep,
        reraise=True,
    )
    return await retrying(again)

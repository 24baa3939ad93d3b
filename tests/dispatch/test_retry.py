"""tenacity decides every attempt after the first, for the RETRY class only."""

from __future__ import annotations

import pytest

from batchlab.dispatch.api_error import ApiError
from batchlab.dispatch.retry import retried_after
from batchlab.records import Outcome, OutcomeClass


def server_error(**fields) -> ApiError:
    return ApiError(Outcome(OutcomeClass.RETRY, fields.pop("error_class", "server"), 503, "busy", **fields))


class Sleeps:
    """A sleep that takes no time and remembers what was asked of it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def failing(errors: list[ApiError]):
    async def attempt() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    return attempt


async def test_a_row_that_fails_twice_more_is_answered():
    sleeps = Sleeps()

    answer = await retried_after(
        server_error(), failing([server_error(), server_error()]), max_attempts=6, sleep=sleeps
    )

    assert answer == "answer"
    assert len(sleeps.seconds) == 3


async def test_the_first_failure_counts_as_an_attempt():
    calls = failing([server_error() for _ in range(10)])
    sleeps = Sleeps()

    with pytest.raises(ApiError, match="busy"):
        await retried_after(server_error(), calls, max_attempts=6, sleep=sleeps)

    assert len(sleeps.seconds) == 5


async def test_waits_grow_and_never_pass_a_minute():
    sleeps = Sleeps()
    with pytest.raises(ApiError):
        await retried_after(
            server_error(), failing([server_error() for _ in range(20)]), max_attempts=12, sleep=sleeps
        )

    assert all(0 <= wait <= min(60, 2**n) for n, wait in enumerate(sleeps.seconds, start=1))


async def test_a_wait_the_server_asked_for_is_honoured_in_full():
    sleeps = Sleeps()

    await retried_after(server_error(wait_s=300.0), failing([]), max_attempts=6, sleep=sleeps)

    assert sleeps.seconds == [300.0]


async def test_an_outcome_of_another_class_is_not_retried():
    sleeps = Sleeps()
    refused = ApiError(Outcome(OutcomeClass.FAIL, "bad_request", 400, "no"))

    with pytest.raises(ApiError) as caught:
        await retried_after(server_error(), failing([refused]), max_attempts=6, sleep=sleeps)

    assert caught.value is refused
    assert len(sleeps.seconds) == 1


async def test_a_row_that_timed_out_twice_is_not_paid_for_a_third_time():
    sleeps = Sleeps()
    timeout = [server_error(error_class="timeout") for _ in range(5)]

    with pytest.raises(ApiError):
        await retried_after(timeout[0], failing(timeout[1:]), max_attempts=6, sleep=sleeps)

    assert len(sleeps.seconds) == 1

"""When a run is to begin: at a time, or in the cheapest of the next hours; and waiting for it, or its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchlab.costs.hours import DAY_S, cheap_hour
from batchlab.costs.price import HOUR_S, Price
from batchlab.costs.pricing import PriceBook
from batchlab.dispatch.stop import StopSignal
from batchlab.job import EndpointJob, Job
from batchlab.job.values import CHEAP
from batchlab.records import Usage
from batchlab.run_end import StopReason

NIGHT_S = 12 * HOUR_S  # so long after its start a run that goes on is not made to wait for the next one
LOOK_S = 1.0  # the clock is looked at so often: it may be set, and the machine may sleep
TYPICAL = Usage(512, 256)  # weighs the two prices of a token; at all hours they are in the same proportion


@dataclass(frozen=True, slots=True)
class Start:
    """When a run begins.

    Attributes:
        at: Unix time; None for at once.
        line: what to say of it; "" for nothing.
    """

    at: float | None = None
    line: str = ""


def start_of(
    job: Job, prices: Sequence[tuple[EndpointJob, PriceBook]], before: str | None, now: float
) -> Start:
    """When the run is to begin.

    Args:
        prices: of each endpoint.
        before: the start time of the invocation that made the run; one that is over is not waited for again.
    """
    wanted = job.limits.start_at
    if wanted is None:
        return Start()
    if wanted == CHEAP:
        return _cheap(job, prices, now)
    at = _unix(wanted)
    if at <= now:
        return Start(line=f"start_at: {_told(at, now)} is over; starting now")
    if before not in (None, CHEAP) and 0 <= now - (had := _unix(str(before))) < NIGHT_S:
        return Start(line=f"start_at: the run has waited until {_told(had, now)}; going on")
    return Start(at, f"waiting until {_told(at, now)} to start, {_lasting(at - now)} from now (start_at)")


def _cheap(job: Job, prices: Sequence[tuple[EndpointJob, PriceBook]], now: float) -> Start:
    model = job.request.model
    found = [book.find(model, job.tier_at(endpoint))[0] for endpoint, book in prices]
    tariffs = [tariff for tariff in found if tariff is not None]
    if not model or len(tariffs) < len(found):
        what = f"the price of {model}" if model else "what the models of the rows cost"
        return Start(line=f"start_at cheap: {what} is not known, nor that an hour is cheaper; starting now")

    def row_usd(price: Price) -> float:
        return price.cost_usd(TYPICAL) or 0.0

    deadline = job.limits.deadline_at
    within_s = DAY_S if deadline is None else max(0.0, min(DAY_S, deadline - now))
    best = cheap_hour(tariffs, row_usd, now, within_s)
    if best is None:
        return Start(line=f"start_at cheap: the price of {model} does not depend on the hour; starting now")
    lasts = f" until {_told(best.until, now)}" if best.until is not None else ""
    if best.at <= now:
        return Start(
            line=f"start_at cheap: {model} is at its lowest price now, {best.now.in_and_out()}{lasts}; "
            "starting now"
        )
    return Start(
        best.at,
        f"waiting until {_told(best.at, now)} to start, {_lasting(best.at - now)} from now (start_at cheap): "
        f"{model} then costs {best.then.in_and_out()} per 1M tokens instead of {best.now.in_and_out()}, "
        f"{best.saves:.0%} less{lasts and ',' + lasts}",
    )


async def wait_for(
    start: Start,
    stop: StopSignal,
    show: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[StopSignal, float], Awaitable[None]] | None = None,
) -> None:
    """Returns when the time has come or the run is to stop; `show` is told each second what is waited for."""
    if start.at is None:
        return
    rest = sleep or _stopped_or_slept
    while not stop.is_set and (left := start.at - clock()) > 0:
        show(f"waiting until {_told(start.at, clock())} to start")
        await rest(stop, min(left, LOOK_S))


def stop_at(
    at: float, stop: StopSignal, reason: StopReason, told: str, *, clock: Callable[[], float] = time.time
) -> None:
    """Has a run stopped at a Unix time, also by a clock that was set, and after the machine has slept."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if (left := at - clock()) <= 0:
            stop(reason, told)
        elif not stop.is_set:
            loop.call_later(min(left, LOOK_S), look)

    loop.call_soon(look)


async def _stopped_or_slept(stop: StopSignal, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _told(at: float, now: float) -> str:
    """A time of this machine's zone; with its date where that is not today's."""
    then, today = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    return then.strftime("%H:%M" if then.date() == today.date() else "%Y-%m-%d %H:%M")


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

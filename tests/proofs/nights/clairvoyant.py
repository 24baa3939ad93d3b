"""The least that a night can cost for one who knows all of it: a true lower bound among those in time.

A clairvoyant knows which line is done when. Of each shard the lines that a batch, ordered at once, has done by
the deadline can be had at the price of a batch; no later order has more of them done. The other rows, and any
others, can be had from a live lane, at each span's price as many as its pace brings. Each row needs one of
these, all are bounded, none excludes another: the cheapest first is the optimum of that linear program.

What it leaves out only makes it cheaper: cancelling takes no time, a queue has room for everything, prices
are expected ones. Where even this is later than the deadline, or dearer than the cap, nobody could.
"""

from __future__ import annotations

from tests.proofs.nights.nights import EVENING, SPAN_S, Night


def batch_share(seconds: float, queue_s: float, begins: float) -> float:
    """The share of a shard's lines that a batch has done after so long."""
    return min(1.0, max(0.0, (seconds / queue_s - begins) / (1 - begins)))


def least_usd(night: Night) -> float | None:
    """The clairvoyant's cost; None when nobody could."""
    offers: list[tuple[float, float]] = []
    if night.batch is not None and night.batch.usd is not None:
        done = sum(
            rows * batch_share(night.deadline_s, queue_s, night.begins)
            for rows, queue_s in zip(night.shards(), night.queue_s, strict=True)
        )
        offers.append((night.batch.usd, done))
    second = 0.0
    while second < night.deadline_s:
        step = min(SPAN_S / 5, night.deadline_s - second)
        for price, is_flex in ((night.live, False), (night.flex, True)):
            usd = price.at(EVENING + second) if price else None
            if usd is not None:
                offers.append((usd, step * night.pace(second, flex=is_flex)))
        second += step
    left, cost = float(night.rows), 0.0
    for usd, rows in sorted(offers):
        taken = min(left, rows)
        cost += taken * usd
        left -= taken
    if left > 1e-6 or (night.cap is not None and cost > night.cap):
        return None
    return cost

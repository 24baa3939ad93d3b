"""An order of which a machine has sent a part when it falls asleep comes to nothing."""

from __future__ import annotations

import pytest

from batchlab.dispatch.http import order_body


async def pieces():
    for piece in (b"[", b"1", b"]"):
        yield piece


async def test_an_order_goes_out_whole_while_the_machine_is_awake():
    assert [one async for one in order_body.while_awake(pieces())] == [b"[", b"1", b"]"]


async def test_what_is_left_of_an_order_after_a_sleep_is_not_sent(monkeypatch):
    clock = iter((0.0, 1.0, 1.0, 2.0, 2.0, 2.0 + order_body.SLEPT_S + 1))
    monkeypatch.setattr(order_body.time, "time", lambda: next(clock))
    left = order_body.while_awake(pieces())

    sent = [await anext(left), await anext(left)]
    with pytest.raises(ConnectionAbortedError, match="slept"):
        await anext(left)

    assert sent == [b"[", b"1"]

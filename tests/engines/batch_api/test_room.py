"""Room at a service whose queue is full, without one: a clock by hand."""

from __future__ import annotations

from batchlab.engines.batch_api.orders import room as room_module
from batchlab.engines.batch_api.orders.room import AT_ONCE, MOST_WAIT_S, Room


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_batches_that_were_cut_for_a_queue_full_of_others_grow_again():
    room, lines = Room(Clock()), 10_000
    while lines > 1:
        room.was_full(lines, 0)
        lines = room.lines
    ended = 0
    while room.lines is not None:
        room.ended_well()
        ended += 1
    assert ended < 10


def test_batches_that_are_too_large_alone_grow_more_and_more_seldom():
    fits, room, refused, ended = 700, Room(Clock()), 0, 0
    for _ in range(2_000):
        lines = min(room.lines or 10_000, 10_000)
        if lines > fits:
            refused += 1
            room.was_full(lines, 0)
        else:
            ended += 1
            room.ended_well()
    assert refused < 40
    assert ended > 1_900


def test_each_try_at_a_full_queue_waits_longer_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(room_module, "NO_ROOM_WAIT_S", 30.0)
    clock = Clock()
    room, waits = Room(clock), []
    for _ in range(8):
        room.was_full(100, 1)
        begun = clock.now
        while not room.left(0):
            clock.now += 30.0
        waits.append(clock.now - begun)
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, MOST_WAIT_S, MOST_WAIT_S, MOST_WAIT_S]
    room.ended_well()
    room.was_full(100, 1)
    clock.now += 30.0
    assert room.left(0)


def test_as_many_at_a_time_as_before_once_the_queue_has_room():
    room = Room(Clock())
    room.was_full(100, 3)
    assert room.batches == 3
    for _ in range(200):
        room.ended_well()
    assert room.batches == AT_ONCE

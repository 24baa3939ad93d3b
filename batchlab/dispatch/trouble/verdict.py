"""What a failed attempt means for its row, its endpoint's rate, and the run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from batchlab.dispatch.rate.controller import Permit
from batchlab.dispatch.rate.pace import Controller
from batchlab.records import Outcome


class Toll(Enum):
    """What the endpoint's rate controller is told of a failed attempt."""

    NOTHING = auto()  # a refusal of the row itself
    LIMITED = auto()
    NO_ROOM = auto()  # a cheaper tier has none now
    DOUBTED = auto()  # a rate limit that is probably the row's own
    REPEATED = auto()  # one of a row that was refused before
    FAILED = auto()
    UNREACHABLE = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """From `health.RunHealth.judged`.

    Attributes:
        outcome: the one that the run makes of the attempt's.
        behind_s: how long the row stays behind the others before it is asked again, after a pause if
            there is one; it holds no slot.
        hold_s: how long nobody is asked at this endpoint; then one request at a time.
        releases: that is over, although nobody was answered.
        forgives: the row was refused for itself, not by a limit.
    """

    outcome: Outcome
    toll: Toll
    behind_s: float = 0.0
    hold_s: float | None = None
    releases: bool = False
    forgives: bool = False


def booked(verdict: Verdict, controller: Controller, permit: Permit, now: float) -> float:
    """Tells the controller, and ends the permit. Returns how long the row is to stay behind."""
    outcome = verdict.outcome
    match verdict.toll:
        case Toll.NOTHING:
            controller.refused(permit, now)
        case Toll.LIMITED | Toll.NO_ROOM | Toll.DOUBTED | Toll.REPEATED:
            doubted = controller.limited(
                permit,
                now,
                outcome.wait_s,
                status=outcome.code or 429,
                words=outcome.message,
                doubted=verdict.toll is Toll.DOUBTED,
                again=verdict.toll is Toll.REPEATED,
                no_room=verdict.toll is Toll.NO_ROOM,
            )
            if doubted:
                return max(1.0, outcome.wait_s or 0.0, verdict.behind_s)
            if (
                verdict.behind_s > 0
            ):  # first in the queue when the pause ends, it would stop the others for ever
                return max(0.0, controller.gate_until - now) + verdict.behind_s
        case Toll.FAILED:
            controller.failed(permit, now, words=outcome.message)
        case Toll.UNREACHABLE:
            controller.unreachable(permit, now, words=outcome.message)
    if verdict.hold_s is not None:
        controller.hold(now, verdict.hold_s, outcome.message)
    if verdict.forgives:
        controller.forgive()
    if verdict.releases:
        controller.release()
    return verdict.behind_s

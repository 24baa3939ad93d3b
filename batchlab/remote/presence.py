"""Which machine works on a run that has a copy at a URL: it says so there, in `lease.json`, every 30 s.

Only a run that nobody has said so of for 2 minutes is taken over; who finds another's name there stops.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Mapping
from typing import Any

from batchlab.errors import UsageError
from batchlab.remote.depot import owner_at
from batchlab.remote.storage import NotThereError, StorageError, get_bytes, put_bytes, remove
from batchlab.remote.urls import scheme_of
from batchlab.run_end import RunStopped, StopReason
from batchlab.store.layout import SIGN

BEAT_S = 30.0
GONE_S = 120.0  # four beats: a slow upload in between may cost two
# a write to the Hub is a commit, which is no thing to do twice a minute
_SILENT = {"hf"}


class Presence:
    """This machine's sign of life at a URL, and its look-out for another machine's.

    Args:
        owner: this machine's name there; see `store.manifest.Ownership`.
        run: where all results are, for messages.
    """

    def __init__(self, url: str, owner: str, run: str) -> None:
        self._url, self._owner, self._run = url, owner, run
        self._next = 0.0
        self.lost: str | None = None  # how it was found out that another machine has taken the run over

    @property
    def next_in_s(self) -> float:
        """Seconds until the next sign is due."""
        return max(0.0, self._next - time.monotonic())

    def beat(self) -> None:
        """Gives the sign, when it is time. Finds out when another machine is at work. Raises StorageError."""
        if self.next_in_s or self.lost is not None:
            return
        self._next = time.monotonic() + BEAT_S
        if scheme_of(self._url) in _SILENT:
            return
        theirs = _sign_at(self._url)
        if theirs is not None and theirs.get("owner") != self._owner and _is_live(theirs):
            self._is_lost_to(theirs)
            return
        # One that has slept must not say that it is at work: the other's next start would be refused for it.
        if self.look():
            return
        mine = {"owner": self._owner, "host": platform.node(), "at": time.time()}
        put_bytes(f"{self._url}/{SIGN}", json.dumps(mine).encode())

    def look(self) -> bool:
        """Whether the run is another machine's by now, whatever time it is: this one may have been asleep.

        Raises StorageError, CorruptRun.
        """
        if self.lost is None and owner_at(self._url) not in {None, self._owner}:
            self._is_lost_to(_sign_at(self._url) or {})
        return self.lost is not None

    def _is_lost_to(self, sign: Mapping[str, Any]) -> None:
        theirs = sign.get("owner") != self._owner
        who = (sign.get("host") if theirs else None) or "another machine"
        self.lost = f"{self._url}: {who} has taken the run over. All results are in {self._run}"

    def check(self) -> None:
        """Raises RunStopped once another machine has taken the run over."""
        if self.lost is not None:
            raise RunStopped(StopReason.STORAGE, self.lost)

    def end(self) -> None:
        """Takes the sign away. Raises StorageError."""
        if self.lost is None and scheme_of(self._url) not in _SILENT:
            remove(f"{self._url}/{SIGN}")


def refuse_live(url: str) -> None:
    """Raises UsageError while another machine is at work on the run at a URL; StorageError."""
    sign = _sign_at(url)
    if sign is not None and _is_live(sign):
        ago = time.time() - sign["at"]
        raise UsageError(
            f"{url}: {sign.get('host')} was at work here {ago:.0f} s ago. Stop it there; "
            f"{GONE_S:.0f} s after its last sign the run can be taken over."
        )


def live_host(url: str) -> str | None:
    """The machine that says it is at work on the run at a URL; None when none does. Raises UsageError."""
    try:
        sign = _sign_at(url)
    except StorageError as error:
        raise UsageError(f"{url}: {error.strerror}.") from error
    return str(sign.get("host") or "another machine") if sign is not None and _is_live(sign) else None


def _sign_at(url: str) -> dict[str, Any] | None:
    with contextlib.suppress(NotThereError, ValueError):
        sign = json.loads(get_bytes(f"{url}/{SIGN}"))
        return sign if isinstance(sign, dict) else None
    return None


def _is_live(sign: Mapping[str, Any]) -> bool:
    at = sign.get("at")
    return isinstance(at, int | float) and abs(time.time() - at) < GONE_S

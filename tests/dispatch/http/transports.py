"""A transport to an address, for the tests of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchlab.dispatch.http.access import Access
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.job import LimitsJob


def transport_at(
    base_url: str,
    *,
    limits: LimitsJob,
    stream: bool = False,
    say: Callable[[str], None] = lambda _: None,
    **access: Any,
) -> HttpTransport:
    return HttpTransport(Access(base_url, **access), limits=limits, stream=stream, say=say)

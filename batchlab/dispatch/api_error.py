"""An attempt that failed."""

from __future__ import annotations

from batchlab.errors import BatchlabError
from batchlab.records import Outcome, Usage


class ApiError(BatchlabError):
    """One attempt failed.

    Attributes:
        outcome: what is to be done about it.
        usage: tokens the provider reported for it all the same; they were paid and not kept.
    """

    def __init__(self, outcome: Outcome, usage: Usage | None = None) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome
        self.usage = usage

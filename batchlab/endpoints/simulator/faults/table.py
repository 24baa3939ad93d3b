"""Every kind of fault by its name."""

from __future__ import annotations

from batchlab.endpoints.simulator.faults.answers import ANSWERS
from batchlab.endpoints.simulator.faults.connections import CONNECTIONS
from batchlab.endpoints.simulator.faults.drafts import FaultKind
from batchlab.endpoints.simulator.faults.envelopes import ENVELOPES
from batchlab.endpoints.simulator.faults.finishes import FINISHES
from batchlab.endpoints.simulator.faults.limits import LIMITS
from batchlab.endpoints.simulator.faults.refusals import REFUSALS
from batchlab.endpoints.simulator.faults.statuses import STATUSES
from batchlab.endpoints.simulator.faults.streams import STREAMS
from batchlab.endpoints.simulator.faults.tools import TOOLS
from batchlab.endpoints.simulator.faults.usage import USAGE

FAMILIES: dict[str, dict[str, FaultKind]] = {
    "an HTTP status": STATUSES,
    "a limit": LIMITS,
    "a request refused": REFUSALS,
    "an error under 200, or inside another": ENVELOPES,
    "a strange answer": ANSWERS,
    "the word that ends it": FINISHES,
    "a stream": STREAMS,
    "tool calls": TOOLS,
    "usage": USAGE,
    "the connection": CONNECTIONS,
}


def fault_lines() -> list[str]:
    """Every fault by its family, with what it does, for a person."""
    lines = []
    for family, kinds in FAMILIES.items():
        width = max(map(len, kinds))
        lines += [f"{family}:", *(f"  {name:<{width}}  {kind.says}" for name, kind in kinds.items())]
    return lines


FAULTS: dict[str, FaultKind] = {name: kind for family in FAMILIES.values() for name, kind in family.items()}

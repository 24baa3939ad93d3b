"""What can go wrong at a provider: a table of kinds, and a plan that says when each strikes."""

from __future__ import annotations

from batchlab.endpoints.simulator.faults.plan import Fault, FaultPlan, Strikable, chance
from batchlab.endpoints.simulator.faults.table import FAULTS, fault_lines

__all__ = ["FAULTS", "Fault", "FaultPlan", "Strikable", "chance", "fault_lines"]

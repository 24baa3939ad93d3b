"""A provider to rehearse with: ModelsLab's chat-completions contract on loopback.

It imports nothing of batchlab: an oracle must not share the mistakes of what it tests.
"""

from __future__ import annotations

from batchlab.endpoints.simulator.faults import FAULTS, Fault, fault_lines
from batchlab.endpoints.simulator.options import SimulatorOptions
from batchlab.endpoints.simulator.running import Simulator, serve

__all__ = ["FAULTS", "Fault", "Simulator", "SimulatorOptions", "fault_lines", "serve"]

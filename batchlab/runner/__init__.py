"""The one place that knows the whole chain: from a job to its results."""

from __future__ import annotations

from batchlab.runner.books import cost_of
from batchlab.runner.check import check_endpoint, preset_lines
from batchlab.runner.execute import execute
from batchlab.runner.pilot import pilot
from batchlab.runner.preview import preview
from batchlab.runner.reading import export_run, load_run, run_status, verify_run
from batchlab.runner.retrying import retry_run

__all__ = [
    "check_endpoint",
    "cost_of",
    "execute",
    "export_run",
    "load_run",
    "pilot",
    "preset_lines",
    "preview",
    "retry_run",
    "run_status",
    "verify_run",
]

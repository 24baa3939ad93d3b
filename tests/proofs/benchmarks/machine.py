"""What a figure was measured on, for the head of a table."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def header() -> str:
    """Date, processor, cores, load, and the versions that matter; no name of a machine."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "orjson", "uvloop", "pyarrow"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {model}, {len(os.sched_getaffinity(0))} cores, "
        f"load before the run {load}; Python {platform.python_version()}, {packages}."
    )

"""The heap of a process that is ours: what is set for it, and for those that it starts.

How much it saves is measured by `tests.proofs.benchmarks.large_results`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import environment

SHOWN = """
import os, subprocess, sys
from batchlab.heap import keep_heap_small
keep_heap_small()
seen = "import os; print(os.environ.get('MALLOC_TRIM_THRESHOLD_'), os.environ['ARROW_DEFAULT_MEMORY_POOL'])"
subprocess.run([sys.executable, "-c", seen], check=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, "1048576 system"),
        ({"MALLOC_TRIM_THRESHOLD_": "65536", "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}, "65536 jemalloc"),
    ],
)
def test_a_process_started_from_ours_has_the_same_heap_and_what_was_set_already_stands(given, shown):
    out = subprocess.run(
        [sys.executable, "-c", SHOWN], env=environment(**given), capture_output=True, text=True, check=True
    )

    assert out.stdout.strip() == shown

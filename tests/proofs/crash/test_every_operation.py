"""The short form of `python -m tests.proofs.crash.every_operation`, in a process without threads."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_p1_p2_p4_p6_hold_whichever_file_operation_fails():
    words = [sys.executable, "-m", "tests.proofs.crash.every_operation", "--rows", "24", "--every", "20"]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "problems 0" in done.stdout

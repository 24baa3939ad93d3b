"""The short form of `python -m tests.proofs.crash.part_writes`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.proofs.crash.part_writes import have_strace


@pytest.mark.skipif(not have_strace(), reason="strace is not installed, or may not trace here")
def test_p1_p4_p6_hold_whichever_write_of_a_part_fails():
    words = [sys.executable, "-m", "tests.proofs.crash.part_writes", "--rows", "24", "--every", "100"]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "problems 0" in done.stdout

"""A disk that fills up in mid-run: the run stops with one line, and no answer that came is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import command, environment


@pytest.fixture
def small_disk(tmp_path):
    """A real tmpfs of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        os.geteuid() != 0
        or mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], stderr=subprocess.DEVNULL
        ).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_full_disk_stops_the_run_in_order_and_saves_what_is_in_flight(
    small_disk: Path, simulator, tmp_path, processes
):
    server = simulator(latency_median_s=0.02, tokens_median=600.0)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"remark {number}"}) + "\n" for number in range(4_000)))
    words = ["run", "-i", str(rows), "-m", "sim", "-p", "{text}", "--base-url", server.base_url, "--api-key-env", "SIMULATOR_KEY",
             "--run-dir", str(small_disk / "run"), "--progress", "none", "--processes", processes, "--shard-rows", "1000"]  # fmt: skip

    full = subprocess.run(command(*words), cwd=tmp_path, env=environment(), capture_output=True, text=True)

    assert full.returncode == 3, full.stderr
    assert "no space left" in full.stderr
    assert "Traceback" not in full.stderr
    billed = server.ledger()["billed"]
    assert 100 < billed < 4_000
    status = subprocess.run(
        command("status", small_disk / "run", "--json"), env=environment(), capture_output=True, text=True
    )
    assert json.loads(status.stdout)["totals"]["ok"] == billed

    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    again = subprocess.run(command(*words), cwd=tmp_path, env=environment(), capture_output=True, text=True)

    assert again.returncode == 0, again.stderr
    assert server.ledger()["billed_repeats"] == 0
    assert server.ledger()["billed"] == 4_000

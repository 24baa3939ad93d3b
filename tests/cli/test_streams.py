"""Standard streams that go away end nothing and change no exit code."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.conftest import ROOT

WRITES = """
import os, sys
from batchlab.cli.streams import outlive_the_terminal
outlive_the_terminal()
{before}
for stream in (sys.stdout, sys.stderr):
    for _ in range(3):
        print("a line" * 2000, file=stream, flush=True)
opened = os.open("/dev/null", os.O_RDONLY)
sys.exit(7 if opened > 2 else 8)
"""


def ended(before: str = "", shell: str = "", **streams: object) -> int:
    words = [sys.executable, "-c", WRITES.format(before=before)]
    if shell:
        words = ["sh", "-c", f'exec "$@" {shell}', "sh", *words]
    return subprocess.run(words, cwd=ROOT, timeout=30, check=False, **streams).returncode  # type: ignore[call-overload]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_opened_on_nothing(closed):
    """So that no file of a run gets the number of standard output, and a library's prints with it."""
    assert ended(shell=closed) == 7


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_left_changes_no_exit_code(name):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        assert ended(**{name: stream}) == 7


def test_a_terminal_that_was_closed_changes_no_exit_code():
    """Its writes fail with EIO, beginning in mid-run."""
    master, slave = pty.openpty()
    words = [sys.executable, "-c", WRITES.format(before="sys.stdin.read()")]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    os.close(master)
    process.communicate(timeout=30)
    assert process.returncode == 7


@pytest.mark.parametrize("command", [["status", "nowhere"], ["verify", "nowhere"]])
def test_a_command_ends_as_it_would_have(command):
    """Exit code 2 for a run that is not there, whether or not anybody can read the reason."""
    shell = 'exec "$@" >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "batchlab", *command],
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2

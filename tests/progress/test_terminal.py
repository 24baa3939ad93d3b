"""What a run looks like on a real terminal: narrow, resized, without colours."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from batchlab.progress.terminal import erased, rewraps, uses_colour, width
from tests.conftest import ROOT, command, environment
from tests.scenarios.test_run import job

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
RED = "\x1b[31m"
BAR = re.compile(r" *\d+%")


def on_a_terminal(words: list, columns: list[int], home: Path, **env: str) -> list[str]:
    """What a command writes to a terminal that has each of these widths in turn; one text a width."""
    ours, theirs = os.openpty()

    def resize(wide: int) -> None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, wide, 0, 0))

    resize(columns[0])
    texts = [""]
    kept = {
        name: value
        for name, value in environment().items()
        if name not in {"NO_COLOR", "FORCE_COLOR", "TMUX"}
    }
    with subprocess.Popen(
        command(*words),
        cwd=home,
        env={**kept, "TERM": "xterm-256color", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as run:
        os.close(theirs)
        left = columns[1:]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    data = os.read(ours, 65_536)
                except OSError:  # the command has ended
                    break
                texts[-1] += data.decode()
            if left and texts[-1].count("%") >= 4:  # seen enough at this width
                resize(left.pop(0))
                texts.append("")
        run.wait(timeout=30)
    os.close(ours)
    assert run.returncode in {0, 1}, texts
    return texts


def shown(text: str) -> list[str]:
    """Each state of the progress line."""
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", text)) if BAR.match(line)]


@pytest.fixture
def words(simulator, rows_file):
    fault = {"kind": "answer", "status": 400, "body": "{}", "rows": ["The 3th "], "times": 99}
    server = simulator(faults=[fault], latency_median_s=0.15)
    asked = job(server.base_url, rows_file(40), "-c", "4", "--price-in", "1000", "--price-out", "1000")
    asked[asked.index("--progress") + 1] = "auto"
    return asked


def test_a_terminal_of_40_columns_that_shrinks_to_20_is_never_wrapped(words, tmp_path):
    first, second = on_a_terminal(words, [40, 20], tmp_path)

    assert shown(first)
    assert all(width(line.rstrip()) < 40 for line in shown(first))
    # the first line after the change may have been on its way
    assert all(width(line.rstrip()) < 20 for line in shown(second)[1:])
    last = shown(second)[-1]
    assert "100%" in last
    assert "1 failed" in last
    assert "\x1b[J" in second, "the longer line is erased"


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
    ids=["plain", "NO_COLOR", "dumb"],
)
def test_failures_are_red_unless_no_colour_is_wanted(words, tmp_path, env, coloured):
    (text,) = on_a_terminal(words, [100], tmp_path, **env)

    assert "1 failed" in ESCAPES.sub("", text)
    assert (f"{RED}1 failed" in text) == coloured
    if not coloured:
        assert not re.search(r"\x1b\[[0-9;]*m", text)
    if env.get("TERM") == "dumb":
        assert "\x1b" not in text
        assert not shown(text), "a dumb terminal gets plain lines"


def test_a_colour_that_is_forced_is_in_no_log(words, batchlab, tmp_path):
    forced = batchlab(*words, "--log-file", "run.log", FORCE_COLOR="1")
    assert f"{RED}1 failed" in forced.err
    assert "[31m" not in (tmp_path / "run.log").read_text()


def test_who_decides_about_colours():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert uses_colour(Terminal(), {})
    assert uses_colour(Terminal(), {"NO_COLOR": ""}), "no-color.org: only when it is not empty"
    assert not uses_colour(Terminal(), {"NO_COLOR": "0"})
    assert not uses_colour(io.StringIO(), {})
    assert uses_colour(io.StringIO(), {"FORCE_COLOR": "1"})
    assert not uses_colour(Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"})


def test_only_terminals_that_wrap_anew_are_erased_upwards():
    assert rewraps({"TMUX": "x"})
    assert not rewraps({"TERM": "xterm"})
    assert not rewraps({"XTERM_VERSION": "XTerm(388)", "TMUX": "x"})
    assert erased(96, 40, {"TMUX": "x"}) == "\x1b[2A\r\x1b[J"
    assert erased(40, 40, {"TMUX": "x"}) == "\r\x1b[J"
    assert erased(96, 40, {}) == "\r\x1b[J"


def test_a_resized_terminal_keeps_what_was_above_the_bar_and_nothing_else(words, tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    socket = str(tmp_path / "tmux.socket")

    def tmux(*args: str) -> str:
        return subprocess.run(
            ["tmux", "-S", socket, "-f", "/dev/null", *args],
            capture_output=True,
            text=True,
            check=True,
            env=env,
        ).stdout

    env = environment(PS1="$ ", PYTHONPATH=str(ROOT), TERM="xterm-256color")
    line = " ".join(f"'{word}'" for word in command(*words))
    tmux("new-session", "-d", "-x", "100", "-y", "12", f"cd {tmp_path}; seq 20; {line}; echo over; sleep 60")
    try:
        end = time.monotonic() + 60
        sizes = iter(["30", "70", "25"])
        while "over" not in (screen := tmux("capture-pane", "-p", "-S", "-50")):
            assert time.monotonic() < end, screen
            if any(map(BAR.match, screen.splitlines())) and (size := next(sizes, None)):
                tmux("resize-window", "-x", size, "-y", "12")
            time.sleep(0.5)
        tmux("resize-window", "-x", "120", "-y", "12")
        lines = [line.rstrip() for line in tmux("capture-pane", "-p", "-J", "-S", "-50").splitlines()]
    finally:
        tmux("kill-server")

    assert lines[:20] == [str(number) for number in range(1, 21)]
    assert sum(bool(BAR.match(line)) for line in lines) == 1, "\n".join(lines)
    assert any(line.startswith("done: 40 rows = ") for line in lines)

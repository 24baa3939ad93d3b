"""A directory as a reader's after the clone, where each block runs, and nothing leaves this machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchlab.endpoints.simulator.server import Provider
from tests.conftest import CANARY, ROOT, environment
from tests.warm import FORKS, Warm

_KEY = re.compile(r"(?m)^(export )?(\w+_API_KEY)=\S+")
RUN_S = 240
STAGE = ROOT / "tests" / "guide" / "stage"
KEYS = {None, f"Bearer {CANARY}"}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ADDRESS = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?")


@dataclass(frozen=True, slots=True)
class Stage:
    """Runs what a page says."""

    home: Path
    env: dict[str, str]
    port: int

    def local(self, text: str) -> str:
        """A block with keys of the simulator's, and its address for all others."""
        text = _KEY.sub(rf"\1\2={CANARY}", text)
        text = text.replace("batchlab simulate", "batchlab simulate --port 0")
        return _ADDRESS.sub(f"http://localhost:{self.port}/v1", text)

    def bash(self, text: str, *, code: int = 0) -> str:
        """Runs a block; what it printed. A command in it that fails is a failure."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.local(text)],
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
        )
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        assert CANARY not in done.stdout
        return done.stdout

    def python(self, text: str) -> None:
        self.bash(f"python -W error -c {shlex.quote(text)}")

    def on_a_terminal(self, command: str) -> list[str]:
        """Each line, and each state of a line, that a command shows on a terminal of 100 columns."""
        ours, theirs = os.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        told = b""
        with subprocess.Popen(
            ["bash", "-c", self.local(command)],
            cwd=self.home,
            env={**self.env, "TERM": "xterm-256color", "NO_COLOR": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            with contextlib.suppress(OSError):  # the command has ended
                while data := os.read(ours, 65_536):
                    told += data
        os.close(ours)
        return re.split(r"[\r\n]+", _ESCAPES.sub("", told.decode()))

    def serves(self, text: str, words: str) -> None:
        """Runs a command that ends by Ctrl-C, until it has said `words`."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {self.local(text)}".replace("batchlab", "python -m batchlab", 1)],
            cwd=self.home,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as serving:
            assert serving.stdout is not None
            said = ""
            for line in serving.stdout:
                said += line
                if words in said:
                    serving.send_signal(signal.SIGINT)
            assert serving.wait(timeout=30) == 0, said
            assert words in said, said


def _answer(listener: socket.socket, warm: Warm) -> None:
    """Runs, one after another, the commands that `warm_command.py` asks for."""
    while True:
        try:
            line, _ = listener.accept()
        except OSError:  # closed: the test has ended
            return
        with line:
            head, files, _, _ = socket.recv_fds(line, 4, 3)
            request = json.loads(line.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
            code = warm.exit_code(request, files, RUN_S)
            for file in files:
                os.close(file)
            line.sendall(code.to_bytes(4, "big", signed=True))


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """How a block's shell calls batchlab: in a process that is forked, where that can be."""
    if not FORKS:
        yield f"{shlex.quote(sys.executable)} -m batchlab"
        return
    path = tmp_path / "warm"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        answering = threading.Thread(target=_answer, args=(listener, request.getfixturevalue("warm")))
        answering.start()
        yield shlex.join([sys.executable, "-S", "-E", str(STAGE / "warm_command.py"), str(path)])
        listener.shutdown(socket.SHUT_RDWR)
        answering.join()


@pytest.fixture
def stage(tmp_path: Path, simulator, command: str, monkeypatch) -> Stage:
    # a server of the reader's own asks for no key
    monkeypatch.setattr(
        Provider, "_authorized", lambda _, request: request.headers.get("Authorization") in KEYS
    )
    port = int(re.search(r":(\d+)", simulator().base_url)[1])
    home, programs = tmp_path / "clone", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    shutil.copytree(ROOT / "sample_data", home / "sample_data")
    shutil.copytree(ROOT / "jobs", home / "jobs")
    for job in (home / "jobs").glob("*.toml"):
        text = job.read_text(encoding="utf-8")
        job.write_text(text.replace("https://modelslab.com", f"http://127.0.0.1:{port}"), encoding="utf-8")
    for name, words in {"batchlab": command, "python": shlex.quote(sys.executable)}.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
    env = environment(
        PATH=f"{programs}:{os.environ['PATH']}",
        PYTHONPATH=f"{STAGE}:{ROOT}",
        WARM_FIRST="tests.guide.stage.sitecustomize",
        HOME=str(home),
        TMUX_TMPDIR=str(tmp_path),
        SHELF=str(tmp_path / "shelf"),
        GUIDE_ENDPOINT=f"http://127.0.0.1:{port}/v1",
        MODELSLAB_API_KEY=CANARY,
        OPENAI_API_KEY=CANARY,
    )
    env.pop("TMUX", None)
    return Stage(home, env, port)

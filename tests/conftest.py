"""What the tests share: the real command in a process of its own, and runs of the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from hypothesis import HealthCheck, settings

from batchlab.cli import main
from batchlab.endpoints.simulator import Simulator, SimulatorOptions
from tests.warm import FORKS, Warm

# Thousands of processes are started: without bytecode each of them, and each worker of pytest, would compile all.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The machine is shared: how long an example takes says nothing.
settings.register_profile("batchlab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("batchlab")

ROOT = Path(__file__).resolve().parents[1]
CANARY = "canary-key-0123456789abcdef"


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and what it said."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err


@contextmanager
def under_way(
    words: Sequence[str], home: Path, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A `batchlab run` of `runs/rows` in a process of its own, once it says how it stands; ended at the end."""
    with subprocess.Popen(command(*words), cwd=home, env=environment(), stderr=stderr) as run:
        while not (home / "runs/rows/standing.json").exists():
            assert run.poll() is None
            time.sleep(0.05)
        yield run
        if run.poll() is None:
            run.kill()


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "batchlab", *map(str, words)]


def ended_here(
    monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str], words: Iterable[str | Path]
) -> Finished:
    """Runs the command in this process, which spares a second of imports each time."""
    captured.readouterr()
    monkeypatch.setattr(sys, "argv", ["batchlab", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = captured.readouterr()
    assert CANARY not in said.out + said.err
    return Finished(int(ended.value.code or 0), said.out, said.err)


def environment(**more: str) -> dict[str, str]:
    """The environment of a user's shell with a key that no output may ever show."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, "PYTHONPATH": str(ROOT), "SIMULATOR_KEY": CANARY, **more}


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that forks for each command, until the end of the session."""
    forking = Warm()
    yield forking
    forking.close()


@pytest.fixture
def batchlab(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Finished]:
    """Runs the command in `tmp_path`, in a process of its own, and returns what it said.

    It is forked from one that has imported everything; with `cold=True`, or a variable that Python reads when
    it starts, it is started as a user does.
    """

    def run(
        *words: str | Path, stdin: str | None = None, timeout_s: float = 60, cold: bool = False, **env: str
    ) -> Finished:
        if cold or not FORKS or any(name.startswith("PYTHON") for name in env):
            done = subprocess.run(
                command(*words),
                cwd=tmp_path,
                env=environment(**env),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
            said = Finished(done.returncode, done.stdout, done.stderr)
        else:
            forking: Warm = request.getfixturevalue("warm")
            said = Finished(
                *forking.run(
                    map(str, words), cwd=tmp_path, env=environment(**env), stdin=stdin, timeout_s=timeout_s
                )
            )
        assert CANARY not in said.out + said.err
        return said

    run.home = tmp_path
    return run


@pytest.fixture
def here(capfd, monkeypatch, tmp_path: Path) -> Callable[..., Finished]:
    """As `batchlab`, but in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMULATOR_KEY", CANARY)
    return lambda *words: ended_here(monkeypatch, capfd, words)


@dataclass(frozen=True)
class SimulatorHandle:
    """A running simulator as a test sees it: its address and its own books."""

    base_url: str

    def ledger(self) -> dict:
        """What it received and billed; see the simulator's ledger."""
        with urlopen(f"{self.base_url}/simulator/ledger", timeout=60) as response:
            return json.load(response)

    def batches(self) -> dict:
        """Its books of batches: each with its lines, and what was billed twice."""
        with urlopen(f"{self.base_url}/simulator/batches", timeout=60) as response:
            return json.load(response)

    def forward(self, seconds: float) -> None:
        """Sets its clock ahead."""
        body = json.dumps({"forward_s": seconds}).encode()
        with urlopen(Request(f"{self.base_url}/simulator/clock", data=body, method="POST"), timeout=10):
            pass

    def reset(self) -> None:
        """Empties the ledger."""
        with urlopen(Request(f"{self.base_url}/simulator/reset", method="POST"), timeout=10):
            pass


@contextmanager
def simulating(*, clock: Callable[[], float] | None = None, **options: object) -> Iterator[SimulatorHandle]:
    """A simulator in this process that takes the canary key, until the end of the block."""
    settings = {"api_key": CANARY, "latency_median_s": 0.0, **options}
    with Simulator(SimulatorOptions.from_dict(settings), clock=clock) as server:
        yield SimulatorHandle(server.base_url)


@contextmanager
def simulating_apart(latency_s: float) -> Iterator[SimulatorHandle]:
    """The same in a process of its own, for those that fork, or measure themselves."""
    words = command("simulate", "--port", "0", "--api-key", CANARY, "--latency", str(latency_s))
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield SimulatorHandle(server.stdout.readline().split()[1])
        finally:
            server.terminate()


@pytest.fixture
def simulator() -> Iterator[Callable[..., SimulatorHandle]]:
    """Starts simulators in this process; each is stopped at the end of the test."""
    with ExitStack() as started:
        yield lambda **options: started.enter_context(simulating(**options))


@pytest.fixture
def rows_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a JSONL file of distinct rows."""

    def write(count: int, name: str = "rows.jsonl", texts: Sequence[str] | None = None) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8") as file:
            for number in range(count):
                text = (
                    texts[number] if texts else f"The {number}th remark, about parcel {number * 7919 % 1009}."
                )
                file.write(json.dumps({"n": number, "text": text}) + "\n")
        return path

    return write

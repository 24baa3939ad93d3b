"""Schemathesis against the simulator, by the contract in `openapi.json`.

    python -m tests.proofs.simulator.contract_fuzz [--examples 300] [--seed 1] [--schemathesis PATH]

Requests that the contract allows must be taken, others refused, and every answer must be as it says.
Without a PATH, schemathesis is installed into a temporary environment. Prints its summary, and ends with
its exit code.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import CANARY, simulating
from tests.proofs.arguments import a_path, ended, options

CONTRACT = Path(__file__).with_name("openapi.json")
# how much fits a context is the one rule that a schema cannot state
MOST = 10**400


@contextlib.contextmanager
def _installed() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="schemathesis-") as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "-q", "schemathesis"], check=True)
        yield f"{folder}/bin/schemathesis"


def main() -> None:
    """Runs it; exits with 1 when it found an issue."""
    given = options(__doc__, examples=300, seed=1, schemathesis=a_path("the command of an installed one"))
    found = contextlib.nullcontext(given.schemathesis) if given.schemathesis else _installed()
    with found as command, simulating(context_tokens=MOST) as server:
        words = [command, "run", str(CONTRACT), "--url", server.base_url, "--no-color"]
        words += ["-H", f"Authorization: Bearer {CANARY}"]
        words += ["--max-examples", str(given.examples), "--seed", str(given.seed)]
        with tempfile.TemporaryDirectory() as folder:
            code = subprocess.run(words, cwd=folder).returncode
    ended([f"schemathesis ended with {code}"] if code else [])


if __name__ == "__main__":
    main()

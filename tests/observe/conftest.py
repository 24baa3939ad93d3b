"""The command in this process: one of its own takes a second to start, and these tests need its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished, ended_here, environment


@pytest.fixture
def batchlab(
    batchlab: Callable[..., Finished], tmp_path: Path, monkeypatch, capfd
) -> Callable[..., Finished]:
    """As the fixture it stands for, which it has as `process`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, **env: str) -> Finished:
        with monkeypatch.context() as patch:
            for name, value in environment(**env).items():
                patch.setenv(name, value)
            return ended_here(patch, capfd, words)

    run.process = batchlab
    return run

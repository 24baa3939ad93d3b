"""The command in this process: one of its own takes a second to start, and these tests need its files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchlab.cli import main
from tests.conftest import CANARY, Finished, environment


@pytest.fixture
def batchlab(
    batchlab: Callable[..., Finished], tmp_path: Path, monkeypatch, capsys
) -> Callable[..., Finished]:
    """As the fixture it stands for, which it has as `process`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, **env: str) -> Finished:
        with monkeypatch.context() as patch:
            for name, value in environment(**env).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["batchlab", *map(str, words)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        return Finished(int(ended.value.code or 0), said.out, said.err)

    run.process = batchlab
    return run

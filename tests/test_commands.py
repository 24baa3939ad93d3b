"""Every program that a text of the repository tells to run is there, and knows the options it is told with."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import chain

import pytest

from tests.conftest import ROOT

CALL = re.compile(r"python -m (tests(?:\.\w++)++)(?!\.)([^`\n#]*)")


def calls() -> dict[str, set[str]]:
    """Module → the options it is called with, wherever `python -m tests.…` stands."""
    texts = chain(
        *((ROOT / room).rglob("*.*") for room in ("batchlab", "tests")), ROOT.glob("*.*"), [ROOT / ".ci/run"]
    )
    found: dict[str, set[str]] = {}
    for path in texts:
        if path.suffix in {".md", ".py", ".pyi", ".toml", ""} and path.is_file():
            for module, words in CALL.findall(path.read_text(encoding="utf-8")):
                found.setdefault(module, set()).update(re.findall(r"--[\w-]+", words))
    return found


CALLS = calls()
NO_PROGRAMS = {"tests.windows_shim", "tests.proofs.crash.batch_steps"}  # they run batchlab, otherwise


@pytest.mark.parametrize("name", sorted(name for name in CALLS if name not in NO_PROGRAMS))
def test_a_program_that_a_text_names_is_there_and_has_the_options_it_is_told_with(name, monkeypatch, capsys):
    spec = find_spec(name)
    assert spec is not None
    module = import_module(f"{name}.__main__" if spec.submodule_search_locations else name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])

    with pytest.raises(SystemExit) as left:
        module.main()

    said = capsys.readouterr().out
    assert not left.value.code
    assert f"python -m {name}" in said, "its text does not say how to run it"
    assert CALLS[name] <= {*re.findall(r"--[\w-]+", said.partition("options:")[2])}


def test_all_of_them_share_one_parser():
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name not in {"arguments.py", "test_commands.py"}:
            assert "argparse" not in text, path

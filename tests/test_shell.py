"""Commands that are said to a person can be typed as they are said."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import batchlab
from batchlab.shell import command_line, module_words, shell_words
from tests.conftest import command, environment

SOURCES = sorted(Path(batchlab.__file__).parent.rglob("*.py"))
UNQUOTED = re.compile(r"batchlab [a-z]+ \{")
HARMLESS = {"cli/habits.py"}  # what was typed instead of a command's name


@pytest.mark.parametrize("name", ["a b", "it's", "$(touch x)", "a;b", "--help", "日本", 'a"b', "a*"])
def test_a_command_line_is_taken_apart_into_its_words(name):
    assert shell_words(command_line("show", name)) == ["batchlab", "show", name]


def test_no_message_puts_a_command_together_without_its_quotes():
    found = [
        f"{path}:{number}"
        for path in SOURCES
        if not any(path.as_posix().endswith(name) for name in HARMLESS)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNQUOTED.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("theirs", ["batchlab/__init__.py", "batchlab/__main__.py", "click.py", "json.py"])
def test_a_module_of_ours_is_never_one_that_lies_in_the_folder(tmp_path, theirs):
    """A run that came from somebody else may bring a folder to go on in, and Python files in it."""
    (tmp_path / "batchlab").mkdir()
    (tmp_path / theirs).write_text("print('theirs')")

    done = subprocess.run(
        module_words("batchlab", "--version"), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("batchlab")
    assert "theirs" not in done.stdout


def test_every_module_of_ours_is_begun_by_the_same_words():
    begun = [path.name for path in SOURCES if "executable" in path.read_text(encoding="utf-8")]

    assert begun == ["shell.py"]


def test_what_the_end_of_a_run_says_to_type_can_be_typed(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n{"text": "two"}\n')
    asked = ["run", "-i", "rows.jsonl", "-p", "{text}", "-m", "any", "--base-url", "simulator"]

    run = subprocess.run(
        [*command(*asked), "--run-dir", "runs/it's a; night"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )

    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    [line] = [one for one in said.splitlines() if "batchlab show" in one]
    words = shlex.split(line[line.index("batchlab show") :])
    shown = subprocess.run(
        command(*words[1:]), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "one" in shown.stdout

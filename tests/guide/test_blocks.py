"""Every block of the README and the manual does what the page says, each in a directory of its own."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib

import click
import pytest

from batchlab.cli import cli
from batchlab.job.file import job_from
from tests.conftest import ROOT
from tests.guide.blocks import BLOCKS, Block, commands_of

pytestmark = pytest.mark.proof  # each begins processes, and waits for them

CRON = re.compile(r"(?:[\d*/,-]+ ){5}(?P<command>.+)")
BAR = re.compile(r" *\d+%")
KNOWN_NOTES = {"not run", "needs", "first", "then", "until", "exit", "printed by", "ci"}


def those(*languages: str, run: bool = True) -> pytest.MarkDecorator:
    found = [block for block in BLOCKS if block.language in languages and block.is_run is run]
    return pytest.mark.parametrize("block", found, ids=str)


def test_every_block_says_its_language_and_its_notes_are_known():
    for block in BLOCKS:
        assert block.language in {"bash", "python", "toml", "sql", "ini", "cron", "text"}, str(block)
        assert {name for name, _ in block.notes} <= KNOWN_NOTES, str(block)
        assert all(reason for reason in block.said("not run")), str(block)


@those("bash")
def test_a_block_of_commands_runs(block: Block, stage):
    for program in block.said("needs"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    for command in block.said("first"):
        stage.bash(command)
    if block.said("until"):
        [words] = block.said("until")
        stage.serves(block.text, words)
        return
    ending = "".join(f"\n{command}" for command in block.said("then"))
    stage.bash(block.text + ending, code=int((block.said("exit") or ["0"])[0]))


@those("python")
def test_a_block_of_python_runs(block: Block, stage):
    for command in block.said("first"):
        stage.bash(command)
    stage.python(block.text)


@those("sql")
def test_a_query_runs(block: Block, stage):
    for command in block.said("first"):
        stage.bash(command)
    stage.python(f"import duckdb\nassert duckdb.sql({block.text!r}).fetchall()")


@those("toml")
def test_a_job_file_of_a_page_is_one(block: Block, monkeypatch):
    """What it leaves out for brevity is added: input, model and prompt."""
    monkeypatch.chdir(ROOT)
    data = tomllib.loads(block.text)
    data.setdefault("input", {}).setdefault("path", "sample_data/reviews.jsonl")
    asked = data.setdefault("request", {})
    asked.setdefault("model", "any-model")
    if not {"messages", "prompt"} & asked.keys():
        asked["prompt"] = "{text}"
    assert job_from(data).request.model


@those("text")
def test_what_a_page_shows_is_what_the_command_prints(block: Block, stage):
    """On a terminal of 100 columns; numbers differ from run to run, and so does the bar's length."""
    commands = block.said("printed by")
    assert commands, f"{block}: says neither which command prints it nor why it is not run"
    for command in block.said("first"):
        stage.bash(command)
    lines = [line for command in commands for line in stage.on_a_terminal(command)]
    seen = {shape(line) for line in lines} | {cell for line in lines for cell in cells(line)}
    for line in block.text.splitlines():
        if line.startswith("$ "):
            assert line.removeprefix("$ ") in commands
        else:
            assert set(cells(line)) <= seen, f"{block}: not printed: {line!r} in\n" + "\n".join(sorted(seen))


def cells(line: str) -> list[str]:
    """The line itself; of the progress line, which changes, its cells."""
    return [shape(cell) for cell in line.split(" · ")] if BAR.match(line) else [shape(line)]


def shape(line: str) -> str:
    """A line without its numbers and its bar."""
    line = re.sub(r"\|.*?\|", "||", line.rstrip()) if BAR.match(line) else line.rstrip()
    return re.sub(r"\d+([.,:]\d+)*", "0", line).strip()


@those("bash", "cron", run=False)
def test_a_block_that_is_not_run_is_bash_and_its_options_exist(block: Block):
    assert_bash(block.text)


@those("cron")
def test_a_crontab_has_times_and_a_command(block: Block):
    for line in block.text.splitlines():
        if line.startswith("#"):
            continue
        found = CRON.fullmatch(line)
        assert found, f"{block}: {line}"
        assert_bash(found["command"])


@those("ini")
def test_a_unit_of_systemd_is_one(block: Block, tmp_path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(block.text)
    assert_bash(unit["Service"]["ExecStart"])
    if shutil.which("systemd-analyze"):
        file = tmp_path / "night.service"
        program = unit["Service"]["ExecStart"].split()[0]
        file.write_text(block.text.replace(program, "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
        assert "night.service" not in done.stderr, done.stderr


def assert_bash(text: str) -> None:
    """The text parses, and each option that it gives a command of ours is one."""
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    for line in commands_of(text):
        _, name, *words = shlex.split(line)
        context = click.Context(cli)
        command = cli.get_command(context, name)
        assert command is not None, line
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known | {"--help"}, line

"""Help that a person reads: the dozen options that most runs need first, nothing cut, at any width."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from batchlab.cli import _COMMANDS, _SECTIONS, cli
from batchlab.cli.options import _USUAL_SETTINGS
from batchlab.job.index import all_settings
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import GROUPS
from tests.conftest import environment

WIDTHS = (60, 80, 120)


def shown(*words: str, width: int = 80) -> str:
    return CliRunner().invoke(cli, [*words, "--help"], terminal_width=width).output


def test_the_overview_cuts_no_summary_and_groups_every_command():
    for width in WIDTHS:
        plain = " ".join(shown(width=width).split())
        for _, summary in _COMMANDS.values():
            assert summary in plain
    grouped = [name for names in _SECTIONS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(_COMMANDS) == set(grouped)
    assert all(f"\n{title}:" in shown() for title in _SECTIONS)


def test_the_help_of_run_begins_with_what_most_runs_need():
    text = shown("run")
    usual, rest = text.split("Of this command:")
    assert usual.count("\n  -") == len(_USUAL_SETTINGS) == 12
    for flag in ("-i,", "-m,", "-p,", "-o,", "-n,", "--base-url", "--preset", "--max-cost", "--run-dir"):
        assert f"\n  {flag}" in usual
    assert [group for group in GROUPS if f"\n{group}:" in rest] == list(GROUPS)
    settings = [setting for setting in (*all_settings(), *PARAMETERS) if setting.flag]
    assert all(setting.flag in text for setting in settings)
    assert {*_USUAL_SETTINGS} <= {setting.dotted for setting in settings}


def test_plan_and_check_take_what_run_takes_and_show_what_they_use():
    assert "--otel" not in shown("plan")
    assert "--pilot" in shown("plan").split("Input:")[0]
    assert "--output-file" not in shown("check")
    assert "--ca-bundle" in shown("check")
    for name in ("plan", "check"):
        assert any("--otel" in param.opts for param in cli.commands[name].params)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_fits_the_terminal_and_ends_in_an_example(name, width):
    lines = shown(name, width=width).rstrip().splitlines()
    example = lines.index("  Example:")

    assert all(len(line) <= width for line in lines[:example] if not line.lstrip().startswith("-"))
    assert f"batchlab {name}" in "\n".join(lines[example:])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="its memory is read in /proc")
def test_help_is_quick_and_light():
    """0.15 s and 25 MB on an idle machine; the machine of a test may be three times as slow."""
    code = (
        "import sys\nfrom batchlab.cli import cli\ncli.main(['run', '--help'], standalone_mode=False)\n"
        "import time\nfrom pathlib import Path\n"
        "kb = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "print(time.process_time(), int(kb) / 1024, file=sys.stderr)\n"
        "print(*(name for name in ('pandas', 'pyarrow', 'aiohttp', 'numpy') if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    (seconds, mb), heavy = map(float, done.stderr.splitlines()[0].split()), done.stderr.splitlines()[1]

    assert heavy.strip() == ""
    assert mb < 30
    assert seconds < 0.45


def test_the_example_is_not_printed_twice():
    for name, command in cli.commands.items():
        assert isinstance(command, click.Command)
        assert shown(name).count("Example:") == 1

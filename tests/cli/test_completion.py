"""TAB in a shell: the scripts that `batchlab completion` prints, in the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = ("pandas", "pyarrow", "aiohttp", "numpy", "jinja2", "tenacity", "asyncio", "orjson")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with runs and files, and the command on its own path."""
    for name in ("runs/reviews", "runs/replies"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "batchlab"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchlab "$@"\n')
    command.chmod(0o755)
    return tmp_path


def environ(home: Path, **more: str) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    return {
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "TERM": "dumb",
        "PS1": "READY> ",
        **more,
    }


@pytest.fixture
def offered(home: Path, monkeypatch, capsys) -> Callable[[str], list[str]]:
    """What the command answers when bash asks how a line may go on, by click's own protocol."""
    from batchlab.cli import cli

    monkeypatch.chdir(home)

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_BATCHLAB_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit):
            cli.main(prog_name="batchlab", standalone_mode=False)
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("batchlab ver", ["plain,verify"]),
        ("batchlab run --max-tok", ["plain,--max-tokens-total", "plain,--max-tokens"]),
        ("batchlab run --preset gr", ["plain,groq"]),
        ("batchlab run --base-url sim", ["plain,simulator"]),
        ("batchlab run --progress b", ["plain,bar"]),
        ("batchlab run -i ro", ["file,ro"]),
        ("batchlab run -o out/", ["file,out/"]),
        ("batchlab run --log-file l", ["file,l"]),
        ("batchlab run --fail-on tr", ["plain,truncated"]),
        ("batchlab run --fail-on empty,", ["plain,empty,filtered", "plain,empty,truncated"]),
        ("batchlab run jo", ["file,jo"]),
        ("batchlab status ", ["plain,runs/replies", "plain,runs/reviews"]),
        ("batchlab verify runs/rev", ["plain,runs/reviews"]),
        ("batchlab report runs/", ["plain,runs/replies", "plain,runs/reviews"]),
        ("batchlab cost runs/replies runs/rev", ["plain,runs/reviews"]),
        ("batchlab retry else", ["file,else"]),
        ("batchlab export nowhere/", ["file,nowhere/"]),
        ("batchlab show runs/replies --status tr", ["plain,truncated"]),
        ("batchlab completion z", ["plain,zsh"]),
    ],
)
def test_what_a_tab_offers(offered, line, answers):
    assert sorted(offered(line)) == sorted(answers)


def test_a_tab_loads_nothing_heavy(home):
    check = (
        "import sys\ntry:\n    from batchlab.cli import main; main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    asked = {
        "_BATCHLAB_COMPLETE": "bash_complete",
        "COMP_WORDS": "batchlab run --preset gr",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", check], env=environ(home, **asked), cwd=home, capture_output=True, text=True
    )

    assert done.stdout == "plain,groq\n"
    assert done.stderr.strip() == "[]"


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, words: list[str], home: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(home)
            os.execvpe(words[0], words, environ(home))
        self.screen = ""

    def type(self, text: str, until: str) -> str:
        """Types, and waits until what follows on the screen matches."""
        seen = len(self.screen)
        os.write(self._fd, text.encode())
        end = time.monotonic() + 30
        while not re.search(until, self.screen[seen:]):
            assert time.monotonic() < end, f"waited for {until!r}: {self.screen!r}"
            if select.select([self._fd], [], [], 0.2)[0]:
                self.screen += os.read(self._fd, 65_536).decode(errors="replace")
        return self.screen[seen:]

    def close(self) -> None:
        os.close(self._fd)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.mark.parametrize(
    ("words", "load"),
    [
        (["bash", "--norc", "--noprofile", "-i"], 'eval "$(batchlab completion bash)"'),
        (["zsh", "-f", "-i"], 'autoload -Uz compinit && compinit -u -D && eval "$(batchlab completion zsh)"'),
    ],
    ids=["bash", "zsh"],
)
def test_a_tab_completes_in_the_shell(home, words, load):
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    shell = Terminal(words, home)
    try:
        shell.type(f"{load}; echo loaded-$((1+1))\n", "loaded-2")
        for typed, whole in (
            ("batchlab run --preset gro", "--preset groq "),
            ("batchlab status runs/rev", "status runs/reviews "),
            ("batchlab run -i row", "-i rows.jsonl "),
        ):
            # the rest of the word, then the line as it is, and away with it
            rest = whole.split()[-1].removeprefix(typed.split()[-1])
            shell.type(f"{typed}\t", f"{re.escape(typed)}[^a-z]*{re.escape(rest)}")
            shell.type("\x15\n", "READY> $|READY> ")
    finally:
        shell.close()


def test_fish_completes(home):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    script = "batchlab completion fish | source\n" + "\n".join(
        f"complete -C '{line}'"
        for line in (
            "batchlab run --preset gro",
            "batchlab status runs/rev",
            "batchlab run -i row",
            "batchlab veri",
        )
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=environ(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
    )

    found = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert found == ["groq", "runs/reviews", "rows.jsonl", "verify"], done.stderr

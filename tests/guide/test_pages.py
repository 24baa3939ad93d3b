"""The pages themselves: titles, links, what they name, and how `batchlab guide` shows them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest

from batchlab.cli import cli
from batchlab.cli.options import job_of
from batchlab.guide import page, topics
from batchlab.job import default_run_dir
from batchlab.result_columns import RESULT_COLUMNS
from tests.conftest import ROOT
from tests.guide.blocks import BLOCKS, PAGES, WRITTEN, commands_of, outside_blocks

README = ROOT / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")
FOREIGN = {"--no-deps", "--help"}  # of other programs, and of all
PROMISES = [f"P{number}" for number in range(1, 11)]

pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
written = pytest.mark.parametrize("path", WRITTEN[1:], ids=lambda path: path.name)


def prose(path: Path) -> str:
    return "\n".join(line for _, line in outside_blocks(path))


def flags_of_all_commands() -> set[str]:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    return {
        option
        for command in commands
        for one in command.params
        for option in (*one.opts, *one.secondary_opts)
    }


@pages
def test_every_link_leads_to_a_file_and_every_named_topic_is_one(path):
    for target in LINK.findall(prose(path)):
        assert "://" in target or (path.parent / target).resolve().is_file(), target
    for topic in re.findall(r"batchlab guide ([a-z-]+)", path.read_text()):
        assert topic in topics()


@written
def test_a_link_between_pages_is_a_topic_under_the_same_name(path):
    inside = [target for target in LINK.findall(prose(path)) if "/" not in target and "://" not in target]

    assert all(target.removesuffix(".md") in topics() for target in inside)


def test_the_readme_links_every_topic_and_is_no_manual():
    assert {f"batchlab/guide/{topic}.md" for topic in topics()} <= set(LINK.findall(prose(README)))
    assert len(README.read_text().splitlines()) <= 170


@written
def test_a_page_fits_a_terminal_and_begins_with_its_topic_and_one_line(path):
    lines = path.read_text().splitlines()
    titles = [line for line in lines if line.startswith("# ")]
    long = [line for _, line in outside_blocks(path) if len(line) > (103 if line.startswith("|") else 100)]
    code = [line for block in BLOCKS if block.page == path for line in block.text.splitlines()]

    assert re.fullmatch(rf"# {path.stem.replace('-', ' ').capitalize()}: .{{10,80}}", lines[0])
    assert [line for line in titles if line != lines[0] and line not in code] == []
    assert not long
    assert max(map(len, code), default=0) <= 106


@pages
def test_what_a_page_names_exists(path):
    """Flags, extras, files of the repository, programs of the tests."""
    text = prose(path)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)) <= flags_of_all_commands() | FOREIGN
    for names in re.findall(r"batchlab\[([a-z0-9,]+)\]", path.read_text()):
        assert set(names.split(",")) <= extras.keys()
    for name in re.findall(r"(?:jobs|sample_data|tests)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), name
    for module in re.findall(r"python -m (tests[\w.]*\w)", text):
        assert importlib.util.find_spec(module), module


def test_each_of_the_readme_s_two_commands_needs_nothing_but_a_clone():
    """`.ci/run` runs both; here, that neither needs the other to have been run."""
    alone = {block.said("ci") and block.text.split(" && ")[0] for block in BLOCKS if block.said("ci")}
    names = re.findall(r"^<!-- ci:(\w+) -->$", README.read_text(), re.MULTILINE)

    assert names == ["quickstart", "test"]
    assert alone == {"python3 -m venv .venv"}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_a_place_in_the_guide(name):
    assert f"`{name}" in page("commands")


def test_the_guide_names_every_result_column_and_exit_code():
    assert all(f"`{column}`" in page("results") for column in RESULT_COLUMNS)
    assert all(f"**{code}**" in page("commands") for code in (0, 1, 2, 3, 129, 130, 143))


def test_every_line_of_the_promise_has_its_tests():
    told = (ROOT / "tests" / "README.md").read_text()
    rows = " ".join(line.split("|")[1] for line in told.splitlines() if line.startswith("| P"))

    assert re.findall(r"^- \*\*(P\d+)\*\*", README.read_text(), re.MULTILINE) == PROMISES
    assert set(PROMISES) <= set(re.findall(r"P\d+", rows))


def test_the_command_lists_every_page_and_prints_it_without_notes_for_tests(batchlab):
    listed = batchlab("guide").out

    for topic, title in topics().items():
        assert re.search(rf"^{topic} +{re.escape(title)}$", listed, re.MULTILINE)
    assert batchlab("guide", "money").out == page("money")
    assert batchlab("guide", "money.md").out == page("money")  # as a link in a page says it
    assert "<!--" not in "".join(map(page, topics()))
    assert "did you mean 'money'?" in batchlab("guide", "mony").err


def test_no_two_commands_of_readme_manual_and_help_share_a_run_directory(monkeypatch):
    """A reader runs them one after another in one clone: the second would be refused."""
    monkeypatch.chdir(ROOT)
    texts = {str(block): block.text for block in BLOCKS if block.language == "bash"}
    texts |= {f"{name} --help": f"{command.help}\n{command.epilog}" for name, command in cli.commands.items()}
    asked: dict[Path, tuple[str, object]] = {}
    for where, text in texts.items():
        for line in commands_of(text):
            _, name, *words = shlex.split(line, comments=True)
            if name not in {"run", "plan"} or "$" in line or not runs_here(words):
                continue
            params = cli.commands[name].make_context(name, words).params
            ours = {key: value for key, value in params.items() if "__" in key}
            job = job_of(params["job_file"], ours)
            asks = job.request
            request = (job.input.path, asks.model, asks.system, asks.prompt, asks.prompt_file, asks.messages)
            first, known = asked.setdefault(
                Path(job.output.run_dir or default_run_dir(job)), (where, request)
            )
            assert known == request, f"{where} and {first} share {job.output.run_dir or default_run_dir(job)}"
    assert len(asked) > 20


def runs_here(words: list[str]) -> bool:
    """Whether the files that it names come with the repository."""
    named = [word for word in words if word.endswith(".toml")]
    return all((ROOT / word).exists() for word in named)


def test_a_wheel_has_every_page(tmp_path):
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("pyproject.toml asks for setuptools 77")
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "batchlab", clone / "batchlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=clone, check=True, capture_output=True)

    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if name.endswith(".md") and "dist-info" not in name}
    assert names == {f"batchlab/guide/{topic}.md" for topic in topics()}

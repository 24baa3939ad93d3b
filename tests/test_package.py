"""What the package promises from outside: names, light imports, help that is true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

import batchlab
from batchlab.cli import _COMMANDS, cli
from batchlab.job.file import load_job
from tests.conftest import environment

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("pandas", "pyarrow", "aiohttp", "numpy", "jinja2", "tenacity")


def test_every_public_name_is_there_and_sorted():
    assert batchlab.__all__ == sorted(batchlab.__all__)
    assert all(getattr(batchlab, name) for name in batchlab.__all__)
    assert {*batchlab.__all__, "__version__"} <= {*dir(batchlab)}
    assert "TYPE_CHECKING" not in dir(batchlab)
    with pytest.raises(AttributeError):
        _ = batchlab.nothing


@pytest.mark.parametrize(
    "code", ["import batchlab", "from batchlab.cli import cli; cli.main(['--help'], standalone_mode=False)"]
)
def test_importing_and_help_load_nothing_heavy(code):
    check = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"


def test_a_run_over_json_lines_loads_neither_arrow_nor_prices_before_its_first_request(tmp_path):
    """They take half a second, which the first requests need not wait for."""
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "n": 1}\n{"text": "b", "n": 2.5}\n')
    check = f"""
import os, sys
from pathlib import Path
from batchlab.job.file import job_from
from batchlab.dispatch.http.transport import HttpTransport
from batchlab.runner import execute

async def first_request(self, request):
    heavy = {(*HEAVY, "genai_prices", "tqdm")!r}
    print([name for name in heavy if name in sys.modules and name != "aiohttp"])
    sys.stdout.flush()
    os._exit(0)

HttpTransport.send = first_request
execute.execute(job_from({{
    "input": {{"path": "rows.jsonl"}},
    "request": {{"model": "m", "prompt": "Say {{text}}"}},
    "endpoint": {{"base_url": "http://127.0.0.1:9/v1"}},
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_overview_says_of_a_command_what_its_help_begins_with(name):
    """The overview is printed without importing the commands."""
    assert f"  {name}" in cli.get_help(click.Context(cli))
    assert _COMMANDS[name][1] == cli.commands[name].get_short_help_str(1_000)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_an_example(name):
    command = cli.commands[name]

    said = command.get_help(click.Context(command, info_name=f"batchlab {name}"))
    assert "Example:" not in (command.help or "")
    assert f"batchlab {name}" in said.rpartition("Example:")[2]
    assert "-h, --help" not in said.rpartition("Example:")[2]
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.toml")), ids=lambda path: path.name)
def test_every_job_file_is_a_job_over_sample_data(path):
    job = load_job(path)

    assert (ROOT / job.input.path).exists()


def test_the_examples_of_the_help_run(batchlab, tmp_path):
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    run = batchlab("run", "jobs/rehearse.toml", "--progress", "json")
    assert run.code == 0, run.err
    for words in (
        [
            "run",
            "sample_data/tickets.csv",
            "-m",
            "any-model",
            "-p",
            "One word, the topic of: {body}",
            "--base-url",
            "simulator",
        ],
        [
            "plan",
            "sample_data/tickets.csv",
            "-m",
            "any-model",
            "-p",
            "One word, the topic of: {body}",
            "--base-url",
            "simulator",
        ],
        ["init"],
        ["status", "runs/rehearse"],
        ["verify", "runs/rehearse"],
        ["export", "runs/rehearse", "-o", "answers.csv"],
        ["retry", "runs/rehearse", "--only", "timeout", "--only", "500"],
        ["check", "--base-url", "simulator", "-m", "any-model"],
        ["explain-errors"],
    ):
        done = batchlab(*words)
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--conc", "3"], 2, "No such option"),
        (["run", "nothing.toml"], 2, "nothing.toml: cannot read the job file"),
        (
            ["run", "-i", "missing.csv", "-m", "m", "-p", "{x}", "--base-url", "simulator"],
            2,
            "missing.csv: cannot be read",
        ),
        (["run", "-i", "x.csv"], 2, "no model"),
        (["status", "runs/none"], 2, "not a run directory"),
        (["verify", "."], 2, "not a run directory"),
        (["export", "runs/none", "-o", "x.parquet"], 2, "not a run directory"),
        (["run", "-i", "x.csv", "-m", "m", "--param", "seed"], 2, "expected NAME=JSON"),
        (["simulate", "--fault", "nope=0.1", "--port", "0"], 2, "unknown fault"),
        (["run", "-i", "x.jsonl", "-m", "m"], 2, "MODELSLAB_API_KEY"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_exit_code_2(batchlab, tmp_path, words, code, said):
    (tmp_path / "x.jsonl").write_text('{"prompt": "a"}\n')
    done = batchlab(*words)

    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_directory_that_cannot_be_written_is_one_line(batchlab, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "file").write_text("")

    done = batchlab("run", "-i", "x.jsonl", "-m", "m", "--base-url", "simulator", "--run-dir", "file/run")

    assert done.code == 2
    assert "cannot make the run directory" in done.err


async def test_the_python_api_works_inside_a_running_loop(tmp_path, simulator):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    server = simulator(api_key="k")
    import os

    os.environ["LOOP_KEY"] = "k"
    try:
        summary = batchlab.run(
            input=tmp_path / "x.jsonl", model="sim", prompt="{text}", base_url=server.base_url, api_key_env="LOOP_KEY",
            run_dir=tmp_path / "run", progress="none", max_tokens=5,
        )  # fmt: skip
    finally:
        del os.environ["LOOP_KEY"]

    frame = batchlab.load(summary.run_dir)
    assert summary.exit_code == 0
    assert list(frame["text"]) == ["a", "b"]
    assert str(frame["completion_tokens"].dtype) == "int64[pyarrow]"
    assert (
        batchlab.plan(input=tmp_path / "x.jsonl", model="sim", prompt="{text}", base_url="simulator").rows
        == 2
    )


def test_a_run_that_seals_a_shard_imports_no_pandas(batchlab, rows_file):
    """pyarrow would import it at the first array, to recognise its objects: 0.4 s and 60 MB."""
    rows_file(20)
    run = "run -i rows.jsonl -m sim -p {text} --base-url simulator --run-dir r -q".split()
    code = (
        "import sys\nfrom batchlab.cli import main\n"
        f"sys.argv = ['batchlab', *{run!r}]\n"
        "try:\n    main()\nexcept SystemExit as left:\n"
        "    sys.exit(left.code or ('pandas' in sys.modules and 'pandas was imported'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=batchlab.home, env=environment(), capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert list((batchlab.home / "r" / "completions").glob("part-*.parquet"))

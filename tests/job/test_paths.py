"""Paths of a job: those of its file belong to its directory, and nothing is written over what it reads."""

from __future__ import annotations

import os

import pytest

from batchlab.errors import UsageError
from batchlab.job import default_run_dir
from batchlab.job.file import job_from, load_job

HEAD = '[endpoint]\nbase_url = "simulator"\n[request]\nmodel = "m"\n'


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a job file below `work/`, while the current directory is `elsewhere/`."""
    for name in ("work", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "rows.jsonl").write_text('{"prompt": "a"}\n')
    monkeypatch.chdir(tmp_path / "elsewhere")

    def write(text: str):
        (tmp_path / "work" / "job.toml").write_text(text)
        return load_job("../work/job.toml")

    return write


def test_relative_paths_of_a_job_file_belong_to_its_directory(written):
    job = written(
        f'[input]\npath = "rows.jsonl"\nallow_files_under = "pictures"\n{HEAD}image = "image"\n'
        'prompt_file = "p.j2"\n[output]\nrun_dir = "runs/x"\nfile = "out/"\nto = "hf"\nreuse = ["old", "../older"]\n'
        'log_file = "/var/log/night.jsonl"\n'
    )

    assert job.input.path == "../work/rows.jsonl"
    assert job.input.allow_files_under == "../work/pictures"
    assert job.request.prompt_file == "../work/p.j2"
    assert (job.output.run_dir, job.output.file) == ("../work/runs/x", "../work/out/")
    assert job.output.reuse == ("../work/old", "../older")
    assert job.output.log_file == "/var/log/night.jsonl"


def test_a_run_directory_that_a_job_file_does_not_name_belongs_to_it_too(written):
    assert written(f'[input]\npath = "rows.jsonl"\n{HEAD}').output.run_dir == "../work/runs/rows"


@pytest.mark.parametrize("path", ["-", "s3://bucket/rows.jsonl", "/abs/rows.jsonl"])
def test_what_is_no_relative_path_stays_as_it_is(written, path):
    assert written(f'[input]\npath = "{path}"\n{HEAD}').input.path == path


def test_a_local_model_is_a_path_and_its_word_is_none(written):
    named = HEAD.replace("simulator", "local:models/m.gguf")
    assert (
        written(f'[input]\npath = "rows.jsonl"\n{named}').endpoint[0].base_url
        == "local:../work/models/m.gguf"
    )
    assert written(f'[input]\npath = "rows.jsonl"\n{HEAD}').endpoint[0].base_url == "simulator"


def test_options_belong_to_the_directory_they_are_typed_in(written, tmp_path):
    written(f'[input]\npath = "rows.jsonl"\n{HEAD}')
    job = load_job("../work/job.toml", {"output.file": "out.csv", "output.run_dir": "run"})
    assert (job.output.file, job.output.run_dir) == ("out.csv", "run")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"output.file": "rows.jsonl"}, "the input"),
        ({"output.file": "./sub/../rows.jsonl"}, "the input"),
        ({"output.file": "link.jsonl"}, "the input"),
        ({"output.file": "hard.jsonl"}, "the input"),
        ({"output.file": "p.jsonl", "request.prompt_file": "p.jsonl"}, "the prompt file"),
        ({"output.metrics_file": "rows.jsonl"}, "the input"),
        ({"output.log_file": "rows.jsonl"}, "the input"),
        ({"output.file": "o.jsonl", "output.log_file": "o.jsonl"}, "output.file"),
        ({"input.path": "parts", "output.file": "parts/out.parquet"}, "the input"),
        ({"input.path": "*.csv", "output.file": "out.csv"}, "the input"),
        ({"output.file": "k.jsonl", "endpoint.api_key_file": "k.jsonl"}, "the key's file"),
    ],
)
def test_nothing_is_written_over_what_the_run_reads(tmp_path, monkeypatch, settings, what):
    monkeypatch.chdir(tmp_path)
    for name in ("rows.jsonl", "p.jsonl", "k.jsonl"):
        (tmp_path / name).write_text('{"prompt": "a"}\n')
    for name in ("sub", "parts"):
        (tmp_path / name).mkdir()
    (tmp_path / "link.jsonl").symlink_to("rows.jsonl")
    os.link(tmp_path / "rows.jsonl", tmp_path / "hard.jsonl")
    with pytest.raises(UsageError, match=f"would be written over {what}"):
        job_from({}, {"input.path": "rows.jsonl", "request.model": "m", **settings})


def test_a_job_file_is_not_written_over_by_its_own_results(written):
    with pytest.raises(UsageError, match="would be written over the job file"):
        written(f'[input]\npath = "rows.jsonl"\n{HEAD}[output]\nfile = "job.toml"\nto = "jsonl"\n')


def test_a_file_beside_the_input_may_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    job = job_from({}, {"input.path": "rows.jsonl", "request.model": "m", "output.file": "rows.out.jsonl"})
    assert job.output.file == "rows.out.jsonl"


def test_names_in_other_scripts_make_run_directories_that_differ():
    def named(path: str) -> str:
        return default_run_dir(job_from({}, {"input.path": path, "request.model": "m"}))

    names = [named(path) for path in ("質問.jsonl", "プロンプト.jsonl", "ответы.csv", "über.csv", "uber.csv")]
    assert len(set(names)) == len(names)
    assert all(name.isascii() for name in names)
    assert named("u\u0308ber.csv") == named("\u00fcber.csv"), "one name, written in two ways"
    assert named("my rows.csv") == "runs/my-rows", "as ever"

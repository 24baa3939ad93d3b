"""Each setting of the job, walked: what is declared once is true wherever it can be given or read."""

from __future__ import annotations

import inspect
import json
import re
import typing
from pathlib import Path

import certifi
import click
import pytest

import batchlab.api
from batchlab.api.keywords import job_of
from batchlab.cli import cli
from batchlab.cli.options import _USUAL, COMPLETIONS
from batchlab.cli.options import job_of as job_of_options
from batchlab.errors import UsageError
from batchlab.guide import page
from batchlab.job import Job, PriceJob
from batchlab.job.file import job_from
from batchlab.job.index import (
    SECTIONS,
    all_settings,
    as_key,
    by_key,
    called,
    keyword_of,
    keywords,
    near,
    settings_of,
    spelled,
)
from batchlab.job.params import KNOWN_PARAMETERS
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import GROUPS, Asks, Setting
from tests.conftest import ROOT
from tests.generated import GENERATED

SETTINGS = all_settings()
EACH = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.dotted)
WITH_FLAG = pytest.mark.parametrize(
    "setting", [one for one in (*SETTINGS, *PARAMETERS) if one.flags], ids=lambda setting: setting.dotted
)
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}

# a job over which one more setting may be laid
BASE = {
    "input": {"path": "rows.jsonl"},
    "endpoint": {"base_url": "http://127.0.0.1:9/v1"},
    "request": {"model": "m", "prompt": "{text}"},
}
# what else a setting needs, and what it excludes
NEEDED = {
    "input.allow_files_under": {"request": {"image": "i"}},
    "request.prompt_file": {"request": {"prompt": None}},
    "request.messages": {"request": {"prompt": None}},
    "request.image_detail": {"request": {"image": "i"}},
    "request.image_max_side": {"request": {"image": "i"}},
    "request.schema_mode": {"request": {"schema": OBJECT}},
    "request.schema_strict": {"request": {"schema": OBJECT}},
    "limits.ray_address": {"limits": {"engine": "ray"}},
    "output.expand": {"request": {"schema": OBJECT}},
    "output.to": {"output": {"file": "out.csv"}},
    "output.errors": {"output": {"file": "out.csv"}},
    "endpoint.preset": {"endpoint": {"base_url": None}},
    **{f"price.{key}": {"price": {"input": 1.0, "output": 2.0}} for key in by_key("price")},
}
WRITTEN = {
    "input.path": "other.csv",
    "endpoint.base_url": "http://127.0.0.1:7/v1",
    "endpoint.preset": "groq",
    "endpoint.ca_bundle": certifi.where(),
    "endpoint.headers": "x-tenant: blue",
    "endpoint.price": {"input": 1.0, "output": 1.0},
    "request.messages": [{"role": "user", "content": "{text}"}],
    "request.schema": OBJECT,
    "request.params": {"timeout": 5},
    "request.top_p": 0.5,
    "request.schema_mode": "prompt",
    "limits.engine": "processes",
    "limits.lane": "cheapest",
    "limits.start_at": "2036-11-29T22:00:00+00:00",
    "price.models": {"m": {"input": 1.0, "output": 1.0}},
    "price.flex": 0.5,
    "price.batch": 0.25,
    "output.file": "out.parquet",
    "output.remote": "s3://bucket/run",
    "output.fail_on": "truncated",
}


def written(setting: Setting, folder: Path) -> typing.Any:
    """A value that differs from the default, as a job file or a call has it."""
    if setting.dotted in WRITTEN:
        return WRITTEN[setting.dotted]
    if setting.dotted == "request.prompt_file":
        (folder / "t.j2").write_text("hello {{ text }}")
        return str(folder / "t.j2")
    if setting.choices:
        return next(choice for choice in setting.choices if choice != setting.default)
    if setting.is_duration:
        return "90s"
    kinds = typing.get_args(setting.type) or (setting.type,)
    if bool in kinds:
        return not setting.default
    return 3 if int in kinds or float in kinds else "seven"


def base(setting: Setting) -> dict[str, dict]:
    """The job that the setting is laid over."""
    needed = NEEDED.get(setting.dotted, {})
    job = {name: {**BASE.get(name, {}), **needed.get(name, {})} for name in {*BASE, *needed}}
    return {name: {k: v for k, v in values.items() if v is not None} for name, values in job.items()}


def held(job: Job, setting: Setting) -> typing.Any:
    section = getattr(job, setting.section)
    section = section[0] if isinstance(section, tuple) else section
    if setting.dotted == "output.run_dir":
        return job.output.run_dir
    return getattr(section, setting.name)


def in_file(setting: Setting, value: typing.Any) -> Job:
    job = base(setting)
    return job_from({**job, setting.section: {**job.get(setting.section, {}), setting.key: value}})


@EACH
def test_a_setting_is_a_key_of_its_section_and_a_keyword_in_python(setting, tmp_path):
    value = written(setting, tmp_path)
    by_file = in_file(setting, value)

    assert held(by_file, setting) not in (setting.default, held(job_from(base(setting)), setting))
    own_keyword = {keyword_of(setting.dotted): value}
    assert job_of(base(setting), own_keyword) == by_file
    assert job_of(base(setting), {setting.dotted.replace(".", "__"): value}) == by_file
    assert Job.from_dict(json.loads(json.dumps(by_file.to_dict()))) == by_file


@WITH_FLAG
def test_each_flag_of_a_setting_is_an_option_that_sets_it(setting, tmp_path):
    value = written(setting, tmp_path)
    file = job_file(tmp_path, base(setting))
    for flag in setting.flags.replace("/", " ").split():
        if bool in (typing.get_args(setting.type) or (setting.type,)):
            words, value = [flag], not flag.startswith("--no-")
        elif isinstance(value, dict):
            (tmp_path / "value.json").write_text(json.dumps(value))
            words = [flag, str(tmp_path / "value.json")]
        else:
            words = [flag, str(value)]
        job = by_options(file, *words)
        if setting in PARAMETERS:
            assert job.request.params == {setting.name: value}
        else:
            assert held(job, setting) == held(in_file(setting, value), setting)


def by_options(file: str | None, *words: str) -> Job:
    """The job that the command line makes of a job file and words, by the command's own parser."""
    options = cli.commands["run"].make_context("run", [*words]).params
    return job_of_options(file, {name: value for name, value in options.items() if name != "job_file"})


def job_file(folder: Path, job: dict[str, dict]) -> str:
    def toml(value: typing.Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
        return json.dumps(value)

    lines = [
        f"[{name}]\n" + "\n".join(f"{key} = {toml(one)}" for key, one in job[name].items()) for name in job
    ]
    (folder / "job.toml").write_text("\n".join(lines))
    return str(folder / "job.toml")


@EACH
def test_a_setting_in_the_wrong_section_is_told_its_own(setting, tmp_path):
    own = [one.section for one in called(setting.key) if one.key == setting.key]
    for section in SECTIONS.keys() - set(own) - {"price" if setting.type is PriceJob else ""}:
        if section == "endpoint" and setting.key in by_key("endpoint"):
            continue
        value = "x"
        with pytest.raises(UsageError) as refused:
            job_from({**BASE, section: {**BASE.get(section, {}), setting.key: value}})

        said = next(line for line in str(refused.value).splitlines() if f"{section}.{setting.key}: " in line)
        if "did you mean" in said:  # what this section calls by that name elsewhere, as output = for file =
            assert any(f"'{one.key}'" in said for one in called(setting.key) if one.section == section)
        else:
            assert f"[{setting.section}]" in said.split("belongs to ")[1]


@EACH
def test_what_is_nearly_a_setting_is_refused_and_not_sent(setting):
    for word in {setting.key, keyword_of(setting.dotted)}:
        swapped = f"{word[:-2]}{word[-1]}{word[-2]}" if len(word) > 5 else word.upper()
        for wrong in (f"{word}x" if len(word) > 3 else word.upper(), word.upper(), swapped):
            if "__" in word or (called(wrong) and wrong == wrong.lower()):
                continue
            with pytest.raises(UsageError, match=f"no keyword '{wrong}'; did you mean"):
                job_of(BASE, {wrong: 1})
            with pytest.raises(UsageError, match=f"request.{wrong}: unknown key; did you mean"):
                job_from({**BASE, "request": {**BASE["request"], wrong: 1}})


@EACH
def test_what_is_asked_is_compared_and_the_rest_may_change_freely(setting, tmp_path):
    changed = in_file(setting, written(setting, tmp_path)).request_settings()
    same = changed == job_from(base(setting)).request_settings()

    assert same is (
        setting.asks is Asks.NO and setting.dotted not in ("endpoint.base_url", "endpoint.preset")
    )


@EACH
def test_a_setting_says_what_a_person_has_to_know(setting):
    assert setting.help.endswith(".")
    assert setting.group in GROUPS
    assert setting.unit or setting.type in (bool, bool | None)
    said = spelled(setting.help + setting.default_text, as_key)
    assert "{" not in said.replace("{column}", "")
    assert setting.complete in {None, "path", *COMPLETIONS}


def test_no_two_settings_have_a_flag_or_a_keyword_in_common():
    flags = [
        flag for one in (*SETTINGS, *PARAMETERS) for names in one.flags.split() for flag in names.split("/")
    ]
    assert len(flags) == len(set(flags))
    assert len(keywords()) == len(SETTINGS)


def test_every_field_of_a_section_declares_a_setting():
    undeclared = {
        f"{section}.{field}"
        for section, cls in SECTIONS.items()
        for field in cls.__dataclass_fields__.keys() - {one.name for one in settings_of(section)}
    }
    # how the schema was named, for messages; which .env files there are; a deadline that is a clock's
    assert undeclared == {"request.schema_from", "endpoint.env_from", "limits.deadline_at"}


@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_help_lists_every_option_once_under_the_usual_ones_or_its_heading(command):
    text = cli.commands[command].get_help(click.Context(cli.commands[command], terminal_width=4_000))
    unused = cli.commands[command].unused
    usual = text.partition(f"\n{_USUAL}:\n")[2].partition("\n\n")[0].replace(",", "")

    for setting in SETTINGS:
        if setting.flags and setting.group not in unused:
            under = text.partition(f"\n{setting.group}:\n")[2].partition("\n\n")[0].replace(",", "")
            assert (f" {setting.flag} " in f"{usual} ") != (f" {setting.flag} " in f"{under} "), (
                setting.dotted
            )


@pytest.mark.parametrize("name", sorted(KNOWN_PARAMETERS))
def test_a_parameter_of_a_provider_goes_to_it(name):
    assert job_from({**BASE, "request": {**BASE["request"], name: 1}}).request.params == {name: 1}
    assert job_of(BASE, {name: 1}).request.params == {name: 1}


@pytest.mark.parametrize("name", ["timeout", "max_cost", "models", "engine", "prompt", "rpm"])
def test_a_parameter_that_is_called_like_a_setting_goes_through_params(name):
    in_python = job_of(BASE, {"params": {name: 5}, "seed": 7})
    in_file = job_from({**BASE, "request": {**BASE["request"], "params": {name: 5}, "seed": 7}})

    assert in_python.request.params == {name: 5, "seed": 7}
    assert in_python == in_file
    assert in_file.limits == job_from(BASE).limits


def test_parameters_that_are_told_from_a_setting_by_their_type():
    wanted = {"audio": {"voice": "alloy"}, "models": ["a", "b"]}

    assert job_from({**BASE, "request": {**BASE["request"], **wanted}}).request.params == wanted
    assert job_of(BASE, wanted).request.params == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"limits": {"rpm": 5}},
            "'limits': the settings of [limits] are keywords of their own, as limits__KEY",
        ),
        ({"nowhere__rpm": 5}, "nowhere.rpm: unknown section [nowhere]"),
        ({"limits__rmp": 5}, "limits.rmp: unknown key; did you mean 'rpm'"),
        ({"rpm": 5, "limits__rpm": 6}, "limits.rpm is given twice, once as 'limits__rpm'"),
        ({"quite": True}, "no keyword 'quite'; did you mean 'quiet'"),
        ({"progres": "none"}, "no keyword 'progres'; did you mean 'progress'"),
        ({"buffer": 3}, "'buffer' is no argument here"),
        ({"id_column": "n"}, "no keyword 'id_column'; did you mean 'id'"),
        ({"model_column": "n"}, "no keyword 'model_column'; did you mean 'input__model'"),
        ({"price_input": 1}, "no keyword 'price_input'; did you mean 'price_in'"),
        ({"timeout_s": 1}, "no keyword 'timeout_s'; did you mean 'timeout'"),
        ({"max_token": 1}, "no keyword 'max_token'; did you mean 'max_tokens'"),
        ({"params": {"model": "x"}}, "request.params: model: batchlab writes it into each request"),
        ({"params": 5}, "request.params: expected a table of parameters"),
    ],
)
def test_a_keyword_that_is_no_parameter_is_refused_with_what_was_meant(given, said):
    with pytest.raises(UsageError) as refused:
        job_of(BASE, given)

    assert said in str(refused.value)


@pytest.mark.parametrize("name", ["api_key", "apikey", "api-key", "openai_api_key", "Authorization"])
def test_a_key_is_refused_wherever_it_is_handed_in_and_not_repeated(name):
    secret = "sk-secret-1234567890"
    ways = [
        lambda: job_of(BASE, {name: secret}),
        lambda: job_of(BASE, {"params": {name: secret}}),
        lambda: job_from({**BASE, "request": {**BASE["request"], name: secret}}),
        lambda: job_from({**BASE, "endpoint": {**BASE["endpoint"], name: secret}}),
        lambda: by_options(None, "-i", "rows.jsonl", "-m", "m", "--param", f"{name}={secret}"),
    ]
    for way in ways:
        with pytest.raises(UsageError, match="api_key_env") as refused:
            way()
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "query", ["key=S3CRET", "api_key=S3CRET", "a=1&subscription-key=S3CRET", "sig=S3CRET"]
)
@pytest.mark.parametrize("scheme", ["http", "htp"])
def test_a_key_in_an_address_is_refused_without_repeating_it(query, scheme):
    with pytest.raises(UsageError, match="base_url") as refused:
        job_from({**BASE, "endpoint": {"base_url": f"{scheme}://127.0.0.1:9/v1?{query}"}})

    assert "S3CRET" not in str(refused.value)


def test_a_key_above_all_sections_is_told_its_section():
    with pytest.raises(
        UsageError, match=r"max_cost: stands above all sections; 'max_cost' belongs to \[limits\]"
    ):
        job_from({**BASE, "max_cost": 5})


@pytest.mark.parametrize(
    ("name", "frozen"),
    json.loads((Path(__file__).parent / "request_settings.json").read_text()).items(),
)
def test_runs_of_earlier_versions_go_on(name, frozen):
    """The sample was written by the version before settings were declared: what it compares, and its jobs."""
    job = job_from(frozen["job"])

    assert json.dumps(job.request_settings()) == json.dumps(frozen["settings"])
    assert Job.from_dict(frozen["to_dict"]) == job


def test_near_names_are_looked_for_in_all_sections():
    assert {one.section for one in near("concurency")} == {"endpoint", "limits"}
    assert near("top_k") == ()


def test_python_shows_every_keyword():
    for function in (batchlab.run, batchlab.plan, batchlab.stream):
        assert set(inspect.signature(function).parameters) >= keywords().keys() - {"input"}


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_from_the_settings_is_up_to_date(name):
    """`python -m tests.generated` writes them."""
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name]()


@EACH
def test_the_guide_has_a_row_for_every_setting(setting):
    section = page("settings").partition(f"## [{setting.section}]")[2].partition("\n## ")[0]
    row = next(line for line in section.splitlines() if line.startswith(f"| `{setting.key}`"))

    assert f"| `{keyword_of(setting.dotted)}` |" in row
    assert all(f"`{names}`" in row for names in setting.flags.split())
    assert (" ∆ |" in row) is (setting.asks is not Asks.NO)


def test_the_command_prints_the_guide(batchlab):
    assert re.search(r"^settings +Every setting of a job$", batchlab("guide").out, re.MULTILINE)
    assert batchlab("guide", "settings").out == page("settings")
    assert "no topic 'setings'; did you mean 'settings'?" in batchlab("guide", "setings").err

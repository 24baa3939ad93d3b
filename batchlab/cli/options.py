"""The options that describe a job, shared by `run`, `plan` and `check`, and how they become one.

They are made of what the job's settings declare; a setting that has flags is an option.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from batchlab.cli.completion import endpoint_words, fail_on_words, preset_names, run_dirs
from batchlab.cli.spelling import in_flags
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.job.file import job_from, load_job
from batchlab.job.index import all_settings
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import ASKED, GROUPS, Setting
from batchlab.job.values import listed_words

F = TypeVar("F", bound=Callable[..., Any])

_OWN = "Of this command"  # what a command's help calls the options that are no settings

# what a TAB offers for a setting that says so
COMPLETIONS = {
    "endpoints": endpoint_words,
    "fail_on": fail_on_words,
    "presets": preset_names,
    "runs": run_dirs,
}


class _WholeNumberOrWord(click.ParamType[Any]):
    """A number, or a word; what is neither is told with the job's other problems."""

    name = "number or word"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        del param, ctx
        return int(value) if isinstance(value, str) and value.isdecimal() else value


class _SettingOption(click.Option):
    """An option of a setting, which knows its group."""

    def __init__(self, *args: Any, group: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.group = group


class JobCommand(click.Command):
    """A command over a job: its help lists the options under the settings' groups, its own ones last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in (*GROUPS, _OWN)}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups[getattr(param, "group", _OWN)].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def job_options(command: F) -> F:
    """Adds the JOB argument and every option that describes a job."""
    options = [_option(setting) for setting in _settings()]
    at = next(
        n for n, setting in enumerate(_settings()) if setting.group not in GROUPS[: GROUPS.index(ASKED) + 1]
    )
    param = "Any further request parameter; repeatable."
    options.insert(at, _made("--param", multiple=True, metavar="K=JSON", help=param, group=ASKED))
    for option in reversed(options):
        command = option(command)
    return click.argument("job_file", metavar="[JOB.toml | ROWS]", required=False, type=click.Path())(command)


def job_of(
    job_file: str | None, options: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None
) -> Job:
    """The job that a command line describes. Raises UsageError, all problems at once.

    Args:
        job_file: a job file if it ends in .toml, else the input, as -i names it.
    """
    flags: dict[str, Any] = {setting.dotted: options[_parameter(setting)] for setting in _settings()}
    # a repeatable option that is not there is an empty tuple
    flags = {key: None if value == () else value for key, value in flags.items()}
    named = {setting.name: flags.pop(setting.dotted) for setting in PARAMETERS}
    params = {name: value for name, value in named.items() if value is not None}
    for pair in options.get("param", ()):
        name, found, text = pair.partition("=")
        if not found or not name:
            raise UsageError(f"--param {pair}: expected NAME=JSON, for example seed=7.")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text  # stop=END reads as a string; quoting for the shell is enough
    flags["request.params"] = params or None
    flags |= extra or {}
    if job_file is None:
        return job_from({}, flags, where="command line")
    if Path(job_file).suffix != ".toml":
        if flags["input.path"] is not None:
            raise UsageError(
                f"{job_file}: a job file ends in .toml, and the input is {flags['input.path']} already; keep one."
            )
        return job_from({}, flags | {"input.path": job_file}, where="command line")
    return load_job(job_file, flags)


def _settings() -> list[Setting]:
    """The settings that have flags, group by group."""
    found = [setting for setting in (*all_settings(), *PARAMETERS) if setting.flags]
    return sorted(found, key=lambda setting: GROUPS.index(setting.group))


def _parameter(setting: Setting) -> str:
    """click's name for a setting's option: `limits__rpm`."""
    return setting.dotted.replace(".", "__")


def _made(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, cls=_SettingOption, **attributes)


def _option(setting: Setting) -> Callable[[F], F]:
    default = setting.default_text
    text = setting.help + (f" [default: {default}]" if default else "")
    return _made(
        *setting.flags.split(),
        _parameter(setting),
        help=in_flags(text),
        group=setting.group,
        default=None,
        envvar=setting.envvar,
        show_envvar=setting.envvar is not None,
        shell_complete=COMPLETIONS.get(setting.complete or ""),
        **_kind(setting),
    )


def _kind(setting: Setting) -> dict[str, Any]:
    """What click has to know of the values of a setting, after its type."""
    kinds = typing.get_args(setting.type) or (setting.type,)
    if bool in kinds:
        return {} if "/" in setting.flags else {"is_flag": True}
    if setting.choices:
        return {"type": click.Choice(setting.choices)}
    shown = {"metavar": setting.unit}
    if typing.get_origin(setting.type) in (list, tuple):
        return shown if setting.read is listed_words else {**shown, "multiple": True}
    if setting.is_path and setting.complete in (None, "runs"):
        return {**shown, "type": click.Path()}
    if setting.is_duration:  # 8h is read with the rest of the job
        return shown
    if int in kinds:
        return {**shown, "type": _WholeNumberOrWord() if str in kinds else int}
    return {**shown, "type": float} if float in kinds else shown

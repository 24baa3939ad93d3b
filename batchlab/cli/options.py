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
from batchlab.cli.spelling import in_flags, in_job_keys
from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.job.file import job_from, load_job
from batchlab.job.index import all_settings
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import (
    GROUPS,
    INPUT,
    LIMITS,
    MACHINES,
    MEDIA,
    MONEY,
    OUTPUT,
    PROMPT,
    SCHEMA,
    WATCHING,
    Setting,
)
from batchlab.job.values import listed_words

F = TypeVar("F", bound=Callable[..., Any])

# what a command's help calls the options that most need, and those that are no settings
_USUAL, _OWN = "What most runs need", "Of this command"
_USUAL_SETTINGS = (
    "input.path",
    "input.limit",
    "request.model",
    "request.prompt",
    "request.max_tokens",
    "endpoint.preset",
    "endpoint.base_url",
    "endpoint.api_key_env",
    "limits.concurrency",
    "limits.max_cost",
    "output.file",
    "output.run_dir",
)

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
    """An option of a setting, which knows its group, and whether most runs need it."""

    def __init__(self, *args: Any, group: str, usual: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.group = group
        self.usual = usual


class JobCommand(click.Command):
    """A command over a job: its help has the usual options first, its own ones, then groups of the others."""

    unused: tuple[str, ...] = ()  # groups that change nothing in what it does: taken, and not shown

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, group by group."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in (_USUAL, _OWN, *GROUPS)}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option) or (record := param.get_help_record(ctx)) is None:
                continue
            group, usual = (param.group, param.usual) if isinstance(param, _SettingOption) else (_OWN, False)
            if group not in self.unused:
                groups[_USUAL if usual else group].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records, col_max=formatter.width // 3)
        if self.unused:
            formatter.write_paragraph()
            formatter.write_text(
                f"Every option of 'batchlab run' is taken; those that change nothing in {self.name} are not "
                "listed."
            )


class PlanCommand(JobCommand):
    """`plan`, which writes nothing that anybody watches."""

    unused = (MACHINES, WATCHING)


class CheckCommand(JobCommand):
    """`check`, which reads no rows and keeps no results."""

    unused = (INPUT, LIMITS, MONEY, OUTPUT, SCHEMA, MEDIA, MACHINES, WATCHING)


def job_options(command: F) -> F:
    """Adds the JOB argument and every option that describes a job."""
    param = "Any further request parameter; repeatable."
    options = [_made("--param", multiple=True, metavar="K=JSON", help=param, group=PROMPT)]
    options += [_option(setting) for setting in _settings()]
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
            own = next((one.flag for one in PARAMETERS if one.name == name), None)
            instead = f", or {own} VALUE" if own else ""
            example = name if name.isidentifier() else "seed"
            raise UsageError(f"--param {pair}: expected NAME=JSON, for example {example}=7{instead}.")
        try:
            params[name] = json.loads(text)
        except ValueError as error:
            if text.lstrip().startswith(("{", "[{", '["')):  # the shell has taken quotes away
                raise UsageError(
                    f"--param {name}: is no JSON ({error}); in a shell put it into single quotes: "
                    f"--param '{name}={{\"key\": 1}}'."
                ) from None
            params[name] = text  # stop=END reads as a string; quoting for the shell is enough
    flags["request.params"] = params or None
    flags |= extra or {}
    if job_file is None:
        return job_from({}, flags, where="command line")
    if Path(job_file).suffix != ".toml":
        if " " in job_file.strip() and not Path(job_file).exists() and flags["request.prompt"] is None:
            raise UsageError(
                f"{job_file!r}: no such file of rows. If it is the prompt, pass it by {{request.prompt}}, and a "
                "file with a row for each request before it."
            )
        if flags["input.path"] is not None:
            raise UsageError(
                f"{job_file}: a job file ends in .toml, and the input is {flags['input.path']} already; keep one."
            )
        return job_from({}, flags | {"input.path": job_file}, where="command line")
    return load_job(job_file, flags)


def speller(job_file: str | None) -> Callable[[str], str]:
    """How notes call the settings they name: as keys to who has a job file, as flags to who has none."""
    return in_job_keys if job_file is not None and Path(job_file).suffix == ".toml" else in_flags


def _settings() -> list[Setting]:
    """The settings that have flags, as help lists them."""
    return sorted((setting for setting in (*all_settings(), *PARAMETERS) if setting.flags), key=_place)


def _place(setting: Setting) -> tuple[int, int]:
    """Where help has a setting: among the usual ones, in their order, or in its group."""
    if setting.dotted in _USUAL_SETTINGS:
        return 0, _USUAL_SETTINGS.index(setting.dotted)
    return 1, GROUPS.index(setting.group)


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
        usual=setting.dotted in _USUAL_SETTINGS,
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

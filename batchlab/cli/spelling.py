"""How the command line calls the settings that messages name: by their flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from batchlab.job.index import SECTIONS, begun_with, spelled
from batchlab.job.setting import Setting


def in_flags(text: str) -> str:
    """A message with each `{limits.max_cost}` as `--max-cost`, and the setting that it begins with."""
    return begun_with(spelled(text, as_flag), "command line", as_flag)


def in_flags_of_run(own: Collection[str]) -> Callable[[str], str]:
    """The same for a command that goes on with a run: of flags that it does not take it says whose they are.

    Args:
        own: flags of the command.
    """

    def flag(setting: Setting, value: str) -> str:
        named = as_flag(setting, value)
        return named if setting.flag is None or setting.flag in own else f"{named} (of batchlab run)"

    return lambda text: begun_with(spelled(text, flag), "command line", as_flag)


def in_job_keys(text: str) -> str:
    """A message with each `{limits.max_cost=5}` as `[limits] max_cost = 5`."""
    return spelled(text, _as_job_key)


def _as_job_key(setting: Setting, value: str) -> str:
    if setting.section not in SECTIONS:
        return as_flag(setting, value)
    if setting.type is bool:
        value = value or "true"
    elif value and not value.replace(".", "", 1).isdecimal():
        value = json.dumps(value, ensure_ascii=False)
    return f"[{setting.section}] {setting.key}" + (f" = {value}" if value else "")


def as_flag(setting: Setting, value: str = "") -> str:
    """`--max-cost`, or `[limits] idle_timeout` for a setting without a flag; with its value, if there is one."""
    if setting.flag is None:
        return f"[{setting.section}] {setting.key}" + (f" = {value}" if value else "")
    if value == "false" and "/" in setting.flags:
        return setting.flags.rpartition("/")[2]
    quoted = f"'{value}'" if ";" in value else value
    return f"{setting.flag} {quoted}" if value else setting.flag

"""How the command line calls the settings that messages name: by their flags."""

from __future__ import annotations

from batchlab.job.index import begun_with, spelled
from batchlab.job.setting import Setting


def in_flags(text: str) -> str:
    """A message with each `{limits.max_cost}` as `--max-cost`, and the setting that it begins with."""
    return begun_with(spelled(text, as_flag), "command line", as_flag)


def as_flag(setting: Setting, value: str = "") -> str:
    """`--max-cost`, or `[limits] idle_timeout` for a setting without a flag; with its value, if there is one."""
    if setting.flag is None:
        return f"[{setting.section}] {setting.key}" + (f" = {value}" if value else "")
    if value == "false" and "/" in setting.flags:
        return setting.flags.rpartition("/")[2]
    quoted = f"'{value}'" if ";" in value else value
    return f"{setting.flag} {quoted}" if value else setting.flag

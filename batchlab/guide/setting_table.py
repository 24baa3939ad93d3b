"""The guide's page of settings, made of what each declares; `python -m tests.generated` writes it."""

from __future__ import annotations

from batchlab.job.index import SECTIONS, keyword_of, settings_of, spelled
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import Asks, Setting

_ABOVE = """\
# Every setting of a job

Generated from the settings themselves. A setting is a key of its section in a job file, a flag of `run`,
`plan` and `check` where it has one, and a keyword of `batchlab.run`, `batchlab.plan` and `batchlab.stream`;
any is the keyword `section__key` too. A flag wins over its environment variable, that over the job file.
TIME is `90s`, `15m`, `8h`, `1h30m` or a number of seconds. A setting marked ∆ changes what is asked: a run
that has answers goes on only with the same, or with `--fresh`.
"""
_BELOW = """
## Parameters of the request

Any other key of `[request]`, keyword or `--param NAME=JSON` goes to the provider as it is, unless it is
nearly a setting's name. One that is called like a setting goes into `[request.params]` or `params={...}`.

"""
_HEAD = "| key | flag | in Python | default | what it does |\n|---|---|---|---|---|\n"


def settings_page() -> str:
    """The page, as Markdown: a table for each section."""
    text = _ABOVE
    for section in SECTIONS:
        rows = [_row(setting, keyword_of(setting.dotted)) for setting in settings_of(section)]
        text += f"\n## [{section}]\n\n{_HEAD}{''.join(rows)}"
    return text + _BELOW + _HEAD + "".join(_row(setting, setting.name) for setting in PARAMETERS)


def _as_key(setting: Setting, _value: str) -> str:
    return f"`{setting.dotted}`"


def _row(setting: Setting, keyword: str) -> str:
    flags = ", ".join(f"`{names}`" for names in setting.flags.split())
    value = "" if not flags or "/" in flags or setting.type is bool else f" {_value(setting)}"
    text = spelled(setting.help, _as_key)
    if setting.envvar:
        text += f" Also by the variable {setting.envvar}."
    mark = "" if setting.asks is Asks.NO else " ∆"
    default = spelled(setting.default_text, _as_key)
    if isinstance(setting.default, bool):
        default = str(setting.default).lower()
    cells = (f"`{setting.key}`{mark}", flags + value, f"`{keyword}`", default, text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _value(setting: Setting) -> str:
    return " or ".join(setting.choices) if setting.choices else setting.unit

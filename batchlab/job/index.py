"""Every setting of the job: by section, by key, by keyword, and which of them a word may have meant."""

from __future__ import annotations

import collections
import difflib
import functools
import re
import typing
from collections.abc import Callable, Iterable, Mapping

from batchlab.job.endpoint import EndpointJob
from batchlab.job.input import InputJob
from batchlab.job.limits import LimitsJob
from batchlab.job.output import OutputJob
from batchlab.job.price import PriceJob
from batchlab.job.request import PARAMETERS, RequestJob
from batchlab.job.setting import Setting, declared_in

SECTIONS: dict[str, type] = {
    "input": InputJob,
    "endpoint": EndpointJob,
    "request": RequestJob,
    "limits": LimitsJob,
    "price": PriceJob,
    "output": OutputJob,
}
SIMULATOR = "simulator"  # the section whose keys are the simulator's own

# options of a command that messages name too, and that are no settings of a job
FRESH = Setting(
    section="run",
    name="fresh",
    type=bool,
    flags="--fresh",
    help="Go on although the request settings changed: a new generation that keeps every answer to an unchanged "
    "request.",
)
DETACH = Setting(
    section="run",
    name="detach",
    type=bool,
    flags="--detach",
    help="In the lane batch: order what may be ordered, take what has ended, and leave, with exit code 3 while "
    "rows are pending; batchlab collect RUN takes home the rest.",
)
COLUMNS = Setting(
    section="cost",
    name="columns",
    flags="--columns",
    unit="OURS=THEIRS[,…]",
    help="How a Parquet file of somebody else names usage columns, e.g. prompt_tokens=input_tokens.",
)
OF_COMMANDS = (FRESH, DETACH, COLUMNS)
NEAR = 0.8  # of a word to a setting's name, as difflib has it: above, it is that name misspelt
# parameters of well-known services that are near a setting's name, and are none of ours misspelt
_PARAMETERS_NEAR = frozenset(
    "cache files max_images max_new_tokens min_tokens mode safe_prompt top_a top_k top_n".split()
)
_REFERENCE = re.compile(r"\{([a-z]+\.[a-z_]+)(?:=([^{}]*))?\}")


@functools.cache
def settings_of(section: str) -> tuple[Setting, ...]:
    """The settings of a section, as its class declares them."""
    cls = SECTIONS[section]
    return declared_in(section, cls, typing.get_type_hints(cls))


@functools.cache
def by_key(section: str) -> Mapping[str, Setting]:
    """The settings of a section by their keys in a job file."""
    return {setting.key: setting for setting in settings_of(section)}


@functools.cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting of every section."""
    return tuple(setting for section in SECTIONS for setting in settings_of(section))


@functools.cache
def keywords() -> Mapping[str, Setting]:
    """Every setting by its keyword in Python: the one it declares, its key, or `section__key`.

    A key that several sections have, or that is a section's name, is nobody's keyword unless one claims it.
    """
    shared = collections.Counter(setting.key for setting in all_settings())
    shared.update(setting.own_keyword for setting in all_settings() if setting.own_keyword != setting.key)
    shared.update([*SECTIONS, SIMULATOR])
    found = {}
    for setting in all_settings():
        plain = setting.key if shared[setting.key] == 1 else f"{setting.section}__{setting.key}"
        found[setting.own_keyword or plain] = setting
    return found


@functools.cache
def keyword_of(dotted: str) -> str:
    """The keyword of the setting with that section and key."""
    return next(name for name, setting in keywords().items() if setting.dotted == dotted)


@functools.cache
def _names() -> Mapping[str, tuple[Setting, ...]]:
    """Whatever a person may call a setting, in small letters with underscores."""
    names: dict[str, dict[str, Setting]] = {}
    for setting in (*all_settings(), *PARAMETERS):
        flags = [flag.partition("/")[0].strip("-") for flag in setting.flags.split() if flag.startswith("--")]
        for name in (setting.key, setting.name, setting.own_keyword, *flags):
            if name:
                names.setdefault(name.replace("-", "_"), {})[setting.dotted] = setting
    return {name: tuple(settings.values()) for name, settings in names.items()}


def called(word: str) -> tuple[Setting, ...]:
    """The settings that are called `word` in some place: as a key, a flag or a keyword."""
    return _names().get(word.lower().replace("-", "_"), ())


def near(word: str) -> tuple[Setting, ...]:
    """The settings that `word` is a misspelling of; none when it is a parameter of a known service."""
    if word in _PARAMETERS_NEAR:
        return ()
    close = difflib.get_close_matches(word.lower().replace("-", "_"), _names(), n=1, cutoff=NEAR)
    return _names()[close[0]] if close else ()


def sections_of(settings: Iterable[Setting]) -> str:
    """`[limits]`, or `[endpoint] or [limits]`."""
    return " or ".join(dict.fromkeys(f"[{setting.section}]" for setting in settings))


def spelled(text: str, spell: Callable[[Setting, str], str]) -> str:
    """`text` with each `{section.key}` and `{section.key=VALUE}` of a setting as its reader would write it.

    Args:
        spell: takes the setting and the value, which is empty where the text has none.
    """

    def one(match: re.Match[str]) -> str:
        setting = _referred(match.group(1))
        return match.group(0) if setting is None else spell(setting, match.group(2) or "")

    return _REFERENCE.sub(one, text) if "{" in text else text


def begun_with(text: str, where: str, name: Callable[[Setting], str]) -> str:
    """Lines that begin with `where: limits.rpm: `, which is how a job's problems are told, with the setting
    called as where it was written."""

    def one(match: re.Match[str]) -> str:
        setting = _referred(match.group(1))
        return match.group(0) if setting is None else f"{name(setting)}: "

    return re.sub(rf"(?m)^{where}: ([a-z]+\.[a-z_]+): ", one, text)


def as_key(setting: Setting, value: str) -> str:
    """A setting in a text that is kept, and read by whoever: `limits.max_cost`."""
    return f"{setting.dotted} = {value}" if value else setting.dotted


def in_keys(text: str) -> str:
    """A message for whoever reads it, with each `{limits.max_cost}` as `limits.max_cost`."""
    return spelled(text, as_key)


def in_braces(name: str) -> str:
    """A setting as messages name it, `{request.temperature}`, by what `Job.request_settings` calls it; the name
    as it is when it is no setting's."""
    plain = name.replace("request.params.", "request.", 1)
    settings = (*all_settings(), *PARAMETERS)
    found = next((one for one in settings if plain in (one.dotted, f"{one.section}.{one.name}")), None)
    return name if found is None else f"{{{found.dotted}}}"


def _referred(dotted: str) -> Setting | None:
    section, _, key = dotted.partition(".")
    if section in SECTIONS and key in by_key(section):
        return by_key(section)[key]
    return next((setting for setting in (*PARAMETERS, *OF_COMMANDS) if setting.dotted == dotted), None)

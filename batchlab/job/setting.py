"""What a setting of the job is: declared once, as its field's metadata; everything else is derived.

To add one, add its field to its section's module (`job/limits.py`, ...) and use it where it acts.
Derived from the declaration are the option and its place in `--help` (`cli.options`), the Python keyword
and its type (`api.keywords`, `api.signatures`), the key of a job file with what is said of a wrong one
(`job.file`), its check (`job.check`), whether a resumed run compares it (`Job.request_settings`), the row
of the guide and what a TAB offers. `python -m tests.generated` writes what is kept as files of these: the
stub `batchlab/__init__.pyi` and `guide/settings.md`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from batchlab.job.values import nearest

Check: TypeAlias = "Callable[[Any], str | None]"  # what is wrong with a value, as `must be at least 1`

MIB = 1024 * 1024

# groups of settings
INPUT = "Input"
PROMPT = "Prompt and parameters"
ENDPOINT = "Endpoint"
LIMITS = "Limits and retries"
MONEY = "Money (prices in USD per 1M tokens)"
OUTPUT = "Output"
SCHEMA = "Answers that fit a schema"
MEDIA = "Images, sounds and other files of rows"
MACHINES = "Several processes and machines"
WATCHING = "For machines that watch"
# as --help has them
GROUPS = (INPUT, PROMPT, ENDPOINT, LIMITS, MONEY, OUTPUT, SCHEMA, MEDIA, MACHINES, WATCHING)
# the group of a section's settings that name none
_SECTION_GROUPS = {
    "input": INPUT,
    "endpoint": ENDPOINT,
    "request": PROMPT,
    "limits": LIMITS,
    "price": MONEY,
    "output": OUTPUT,
}


class Asks(enum.Enum):
    """Whether a setting changes what is asked; two runs mix their answers only if those that do are equal."""

    NO = "no"
    ALWAYS = "always"
    IF_SET = "if set"  # for one that earlier versions do not have: their runs are as if it was not set
    WITH_SCHEMA = "with a schema"
    BY_HOST = "by the host it names"  # which `Job.request_settings` has itself


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        help: what it does; `{limits.rpm}` stands for another setting, as in messages; see `index.spelled`.
        flags: of the command line, as `-c --concurrency` or `--quotes/--no-quotes`; empty for none.
        unit: what stands for its value, such as USD or COLUMN.
        group: one of GROUPS; its section's when empty.
        check: what is wrong with a value.
        choices: the only values.
        read: makes the value of what was written, before its type is looked at; raises ValueError.
        asks: whether it changes what is asked.
        own_keyword: the keyword of Python, when it is not the key or the key is another's too.
        envvar: variable that a command line reads it from.
        is_path: whether it names files: relative ones of a job file belong to the directory of that file.
        complete: what a TAB offers beside paths: a name of `cli.options.COMPLETIONS`.
        shown: the default as a person reads it, where the value does not say it.
        section, name, type, default: where it stands, filled in by `job.index`.
    """

    help: str
    flags: str = ""
    unit: str = ""
    group: str = ""
    check: Check | None = None
    choices: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    asks: Asks = Asks.NO
    own_keyword: str = ""
    envvar: str | None = None
    is_path: bool = False
    complete: str | None = None
    shown: str | None = None
    section: str = ""
    name: str = ""
    type: Any = str
    default: Any = None

    @property
    def is_duration(self) -> bool:
        """Whether it holds seconds, and is written as `90s` or `8h` under a name without the unit."""
        return self.name.endswith("_s")

    @property
    def key(self) -> str:
        """What a job file calls it."""
        return self.name.removesuffix("_s")

    @property
    def dotted(self) -> str:
        """Section and key, as `limits.max_cost`."""
        return f"{self.section}.{self.key}"

    @property
    def flag(self) -> str | None:
        """The flag by which messages call it: the first long one; None when it has none."""
        longs = [flag.partition("/")[0] for flag in self.flags.split() if flag.startswith("--")]
        return longs[0] if longs else None

    @property
    def default_text(self) -> str:
        """The default as a person reads it; empty when there is nothing to say."""
        if self.shown is not None:
            return self.shown
        if isinstance(self.default, bool):
            on, _, off = self.flags.partition("/")
            return (on if self.default else off) if off else ""
        if self.is_duration and self.default is not None:
            return f"{self.default / 3600:g}h" if self.default >= 3600 else f"{self.default:g}s"
        return f"{self.default}" if isinstance(self.default, int | float | str) else ""

    def problem(self, value: Any) -> str | None:
        """What is wrong with its value; None when nothing is, or there is none."""
        if value is None:
            return None
        if self.choices and value not in self.choices:
            return f"no {self.unit} {value!r}{nearest(str(value), list(self.choices))}"
        return self.check(value) if self.check is not None else None

    def asked(self, value: Any, *, has_schema: bool) -> bool:
        """Whether this value is part of what is asked."""
        match self.asks:
            case Asks.NO | Asks.BY_HOST:
                return False
            case Asks.ALWAYS:
                return True
            case Asks.IF_SET:
                return value != self.default and value not in ("", [])
            case Asks.WITH_SCHEMA:
                return has_schema


def setting(default: Any = dataclasses.MISSING, **declared: Any) -> Any:
    """A field of a section with what is declared of it: the arguments of `Setting`.

    Args:
        default: a list, a dict or a section's class makes one for each job.
    """
    metadata = {"setting": Setting(**declared)}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def declared_in(section: str, cls: type, types: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The settings that a section's class declares, in its order."""
    found = []
    for one in dataclasses.fields(cls):
        if (declared := one.metadata.get("setting")) is not None:
            made = one.default_factory
            found.append(
                dataclasses.replace(
                    declared,
                    group=declared.group or _SECTION_GROUPS[section],
                    section=section,
                    name=one.name,
                    type=types[one.name],
                    default=one.default if made is dataclasses.MISSING else made(),
                )
            )
    return tuple(found)


def at_least(least: float, unit: str = "") -> Check:
    """Checks that a number is that or more."""
    return lambda value: f"must be at least {least:g}{unit}" if value < least else None


def not_negative(value: Any) -> str | None:
    """Checks a number that may be 0."""
    return "must be 0 or more" if value < 0 else None


def positive(value: Any) -> str | None:
    """Checks a number that may not be 0."""
    return "must be more than 0" if value <= 0 else None

"""A run's job as the text of a job file: what is not as by default, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchlab.job import EndpointJob, Job
from batchlab.job.index import SIMULATOR, settings_of
from batchlab.job.setting import Setting
from batchlab.observe.facts import masked
from batchlab.protocol.redact import redact

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_OTHERS = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_PROSE = ("system", "prompt", "messages", "role", "content")  # may say what looks like a login, and is none
_TABLES = ("params", "price", "models")  # settings that are tables of their own


def job_text(job: Job) -> str:
    """The job as TOML. It can be read again, where nothing had to be hidden in it."""
    lines: list[str] = []
    for name in ("input", "endpoint", "request", "limits", "price", "output"):
        value = getattr(job, name)
        if isinstance(value, tuple):
            head = "endpoint" if len(value) == 1 else "[endpoint]"
            for one in value:
                lines += _section(head, "endpoint", one)
        else:
            lines += _section(name, name, value)
    if job.simulator:
        lines += _table(SIMULATOR, job.simulator)
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


def _section(head: str, section: str, values: Any) -> list[str]:
    """One section, and the tables inside it."""
    lines, tables = [], []
    for setting in settings_of(section):
        value = getattr(values, setting.name)
        if _is_default(setting, value, values):
            continue
        name = head.strip("[]")
        if setting.name in _TABLES:
            inner = value if isinstance(value, Mapping) else _set_in(value)
            tables += _table(f"{name}.{setting.key}", inner)
        else:
            lines.append(f"{setting.key} = {_written(setting, value, values)}")
    return [*([f"[{head}]", *lines, ""] if lines or (tables and head != head.strip("[]")) else []), *tables]


def _is_default(setting: Setting, value: Any, values: Any) -> bool:
    if setting.name == "name" and isinstance(values, EndpointJob):  # the host's, where none was given
        return value in ("", values.preset or values.host)
    return value is None or value == setting.default or value in ((), [], {})


def _set_in(values: Any) -> dict[str, Any]:
    """What is set in a section inside another: the price of an endpoint."""
    names = [setting.name for setting in settings_of("price")]
    return {name: one for name in names if (one := getattr(values, name)) not in (None, {})}


def _table(head: str, values: Mapping[str, Any]) -> list[str]:
    lines = [f"{_key(name)} = {_value(name, one)}" for name, one in values.items()]
    return [f"[{head}]", *lines, ""]


def _written(setting: Setting, value: Any, values: Any) -> str:
    if setting.dotted == "limits.deadline" and values.deadline_at is not None:
        at = datetime.fromtimestamp(values.deadline_at)  # noqa: DTZ006 - as a person of here writes it
        return _text(at.isoformat(timespec="minutes"))
    if setting.is_duration:
        return _text(f"{value:g}s")
    if setting.dotted == "request.schema" and values.schema_from:
        return _text(values.schema_from)
    return _value(setting.name, value)


def _value(name: str, value: Any) -> str:
    """A value of a setting of that name, in TOML."""
    value = value if name in _PROSE else masked(name, value)
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case Mapping():
            pairs = ", ".join(f"{_key(str(key))} = {_value(str(key), one)}" for key, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case list() | tuple():
            return f"[{', '.join(_value(name, one) for one in value)}]"
        case None:
            return '""'
        case str():
            return _text(value)
    if hasattr(value, "__dataclass_fields__"):
        return _value(name, _set_in(value))
    return _text(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    text = redact(text)
    plain = text.replace("\n", "").replace('"', "")
    if "\n" in text and '"""' not in text and not text.endswith('"') and not _OTHERS.search(plain):
        return f'"""\n{text}"""'
    return f'"{_OTHERS.sub(_escaped, text)}"'


def _escaped(found: re.Match[str]) -> str:
    sign = found.group()
    if "\ud800" <= sign <= "\udfff":
        return "\ufffd"
    return _ESCAPED.get(sign) or f"\\u{ord(sign):04x}"

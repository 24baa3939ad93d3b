"""What a program is shown of `run`, `plan` and `stream`: each setting as a keyword with its type.

Inside, they take `**keywords`, which `api.keywords` sorts into settings and parameters. An editor and a
type checker read the stub `batchlab/__init__.pyi`, which `python -m tests.generated` writes; a notebook's
completion and `help` read `__signature__`. `Unpack[TypedDict]` would do without a stub, but it is closed:
every parameter of a provider would be an error of types.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from batchlab.job import PriceJob
from batchlab.job.index import keywords
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import Setting

_STUB = '''\
"""Generated from the settings of the job: `python -m tests.generated` writes it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import pandas as pd

from batchlab.api import cancel as cancel
from batchlab.api import collect as collect
from batchlab.api import load as load
from batchlab.api.keywords import JobLike, Rows
from batchlab.errors import BatchlabError as BatchlabError
from batchlab.errors import CorruptRun as CorruptRun
from batchlab.errors import InputError as InputError
from batchlab.errors import UsageError as UsageError
from batchlab.planning.preview import Preview
from batchlab.records import Completion as Completion
from batchlab.records import Failure as Failure
from batchlab.run_end import RunStopped as RunStopped
from batchlab.run_end import RunSummary as RunSummary

__version__: str
__all__: list[str]

@overload
def run(
    job: JobLike = None,
    *,
    fresh: bool = False,
    detach: bool = False,
    progress: str = "auto",
    quiet: bool | None = None,
{settings}
    **parameters: Any,
) -> RunSummary: ...
@overload
def run(
    job: Rows,
    *,
    fresh: bool = False,
    detach: bool = False,
    progress: str = "auto",
    quiet: bool | None = None,
{settings_of_rows}
    **parameters: Any,
) -> pd.DataFrame: ...
def stream(
    rows: str | Path | Rows | Iterable[Mapping[str, Any] | str],
    *,
    fresh: bool = False,
    progress: str = "none",
    quiet: bool | None = None,
    buffer: int = 64,
{settings_of_rows}
    **parameters: Any,
) -> AsyncGenerator[Completion | Failure]: ...
def plan(
    job: JobLike | Rows = None,
    *,
{settings}
    **parameters: Any,
) -> Preview: ...
'''


def stub() -> str:
    """The text of `batchlab/__init__.pyi`."""
    settings = {name: f"    {name}: {text} = None," for name, text in _keyword_types().items()}
    of_rows = [line for name, line in settings.items() if name != "input"]
    return _STUB.format(settings="\n".join(settings.values()), settings_of_rows="\n".join(of_rows))


def with_settings(function: Callable[..., Any]) -> inspect.Signature:
    """The function's signature with every setting among its keywords."""
    signature = inspect.signature(function)
    *own, others = signature.parameters.values()
    settings = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=text)
        for name, text in _keyword_types().items()
    ]
    return signature.replace(parameters=[*own, *settings, others.replace(name="parameters")])


def _keyword_types() -> dict[str, str]:
    """Every keyword that stands for a setting or a known parameter, and the type of its values."""
    found = {**keywords(), **{setting.name: setting for setting in PARAMETERS}}
    return {name: f"{_type(setting)} | None" for name, setting in found.items()}


def _type(setting: Setting) -> str:
    """The type of what may be given, which is more than what a job holds."""
    if setting.dotted == "request.schema":
        return "Mapping[str, Any] | type[Any] | str | Path"
    if setting.choices:
        return f"Literal[{', '.join(map(_quoted, setting.choices))}]"
    if setting.is_duration:
        return "float | str"
    if setting.complete in ("path", "runs"):
        return "str | Path"
    kinds = typing.get_args(setting.type) if isinstance(setting.type, types.UnionType) else (setting.type,)
    return " | ".join(
        _WRITTEN.get(kind, getattr(kind, "__name__", "Any")) for kind in kinds if kind is not types.NoneType
    )


def _quoted(word: str) -> str:
    return f'"{word}"'


# what may be written for what is held
_WRITTEN: dict[Any, str] = {
    PriceJob: "Mapping[str, Any]",
    dict[str, PriceJob]: "Mapping[str, Mapping[str, Any]]",
    dict[str, Any]: "Mapping[str, Any]",
    list[dict[str, str]]: "Sequence[Mapping[str, str]]",
    list[str]: "str | Sequence[str]",
    tuple[str, ...]: "str | Sequence[str]",
}

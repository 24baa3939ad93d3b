"""How our errors leave a function of the Python API: short, and in Python's words."""

from __future__ import annotations

import json
from types import TracebackType

from batchlab.counts import counted
from batchlab.errors import BatchlabError
from batchlab.job.index import OF_COMMANDS, begun_with, keyword_of, spelled
from batchlab.job.request import PARAMETERS
from batchlab.job.setting import Setting
from batchlab.run_end import RunStopped, RunSummary


def in_keywords(text: str) -> str:
    """A message with each `{limits.max_cost}` as `max_cost=`, and the setting that it begins with."""
    return begun_with(spelled(text, _as_keyword), "batchlab", _as_name)


def _as_name(setting: Setting) -> str:
    return setting.name if setting in PARAMETERS else keyword_of(setting.dotted)


def _as_keyword(setting: Setting, value: str) -> str:
    name = setting.name if setting in (*PARAMETERS, *OF_COMMANDS) else keyword_of(setting.dotted)
    if setting.type is bool:
        return f"{name}={'False' if value == 'false' else 'True'}"
    is_number = value.replace(".", "", 1).isdecimal()
    return f"{name}={value if is_number or not value else json.dumps(value)}"


class short_errors:  # noqa: N801 - reads as the statement it is; a generator would restore the traceback
    """Our errors leave with a short traceback and in Python's words: the message says it all."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, BatchlabError):
            error.args = (in_keywords(str(error)),)
            raise error.with_traceback(None) from None


def run_stopped(summary: RunSummary) -> RunStopped:
    """The exception of a run that stopped early."""
    assert summary.stopped is not None
    return RunStopped(
        summary.stopped,
        f"{summary.message.rstrip('.')}. {summary.totals.rows:,} of {counted(summary.input_rows, 'row')} "
        f"have a result: batchlab.load({summary.run_dir!r}). The same call goes on.",
        summary,
    )

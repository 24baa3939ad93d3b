"""What may be done about a run now, each with the command that it stands for.

A run's directory may be somebody else's, and what it says of itself is data: a kept command is taken only
when it is one of batchlab's own that goes on with a run, and it is shown whole before it is run. A process
is signalled only when the kernel says that it holds the run's lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchlab.counts import counted
from batchlab.errors import UsageError
from batchlab.looking.browse.query import words_in
from batchlab.looking.stages import Stage, stage_of
from batchlab.records import completion_cap
from batchlab.run_end import StopReason
from batchlab.shell import shell_line, shell_words
from batchlab.store.asking import ANSWERS, FAILED, joined_ranges, ranges_text, unknown_word
from batchlab.store.standing import Standing
from batchlab.store.view import RunView
from batchlab.totals import Totals

_GOES_ON = frozenset({"run", "retry", "collect"})
_CAPS = {  # the cap: its flag, and how it is called
    "max_cost": ("--max-cost", "cap on cost (USD)"),
    "max_tokens_total": ("--max-tokens-total", "cap on tokens"),
}
FIELDS = (*_CAPS, "max_tokens")  # values that an act may need, as parameters
_LARGEST = 1e12  # no cap and no max_tokens is more
MOST_RANGES = 500  # of rows, in a command that a person reads


@dataclass(frozen=True, slots=True)
class Field:
    """A value that an act needs.

    Attributes:
        value: what stands in the command now.
    """

    name: str
    title: str
    value: str

    def json(self) -> dict[str, str]:
        """For the page."""
        return {"name": self.name, "title": self.title, "value": self.value}


@dataclass(frozen=True, slots=True)
class Offer:
    """One act.

    Attributes:
        words: of the command; the first is `batchlab`, or `kill`.
        asks: what a person is asked before it is done.
        folder: where it is run; "" for where the page is.
    """

    name: str
    title: str
    words: tuple[str, ...]
    asks: str
    folder: str = ""
    field: Field | None = None

    @property
    def command(self) -> str:
        """As a shell takes it."""
        return shell_line(self.words)

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "name": self.name,
            "title": self.title,
            "command": self.command,
            "folder": self.folder,
            "asks": self.asks,
            "field": None if self.field is None else self.field.json(),
        }


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person has chosen on the page.

    Attributes:
        only: of which rows the filter speaks, in the words of `batchlab retry --only`.
        has_none: whether it speaks of good answers and pending rows only.
        is_narrower: whether it has conditions that those words cannot say.
        rows: what it means then: row_ids that are not as they should be, in order; None when nobody looked.
        values: of fields, by their names, as they were typed.
    """

    only: tuple[str, ...] = ()
    has_none: bool = False
    is_narrower: bool = False
    rows: Sequence[int] | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, params: Mapping[str, str]) -> Wish:
        """That of a query's parameters."""
        statuses = [one for one in words_in(params.get("status", "")) if one in (FAILED, *ANSWERS)]
        errors = [one for one in words_in(params.get("error", "")) if unknown_word((one,)) is None]
        answers = [one for one in statuses if one != FAILED]
        only = (*answers, *(errors or [FAILED] * (FAILED in statuses)))
        unsaid = ("q", "where", "lane", "finish", "label", "rows", "first")
        values = {name: params[name] for name in FIELDS if params.get(name)}
        has_none = bool(params.get("status") or params.get("error")) and not only
        return cls(only, has_none, any(params.get(name) for name in unsaid), None, values)

    def filter_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that choose the same rows, and of them those that may be asked again."""
        told = {name: value for name, value in params.items() if name not in (*FIELDS, "sort", "odd")}
        if self.only and not told.get("error"):
            told["status"] = ",".join(self.only)  # without the good ones that the filter may name, too
        elif not self.only:
            told["status"] = FAILED
        return told


@dataclass(frozen=True, slots=True)
class _Now:
    """How a run stands while it is asked what may be done."""

    run: RunView
    totals: Totals
    pending: int
    holder: int | None
    stage: Stage
    last: Standing | None

    @classmethod
    def of(cls, run: RunView) -> _Now:
        holder, last = run.lock_holder(), run.last_standing()
        totals = last.state.totals if holder is not None and last is not None else run.totals()
        pending = max(0, run.manifest.plan.rows - totals.rows)
        return cls(run, totals, pending, holder, stage_of(run, holder, pending), last)

    @property
    def hosts(self) -> str:
        return " and ".join(dict.fromkeys(one.host for one in self.run.manifest.job.endpoint))


def offers_of(run: RunView, wish: Wish) -> list[Offer]:
    """What may be done about a run now.

    Raises:
        UsageError: a value is none; it says which.
    """
    if why_no_act(run):
        return []
    now = _Now.of(run)
    return [*_stop(now), *_go_on(now), *_collect(now), *_raise(now, wish), *_retry(now, wish)]


def _stop(now: _Now) -> Iterator[Offer]:
    if now.holder is None or sys.platform == "win32" or not _holds_the_lock(now.holder, now.run.layout.lock):
        return
    yield Offer(
        "stop",
        "Stop in order",
        ("kill", "-INT", str(now.holder)),
        "Nothing new is sent, requests in flight are waited for, and all that came is kept: as Ctrl-C does. "
        "The same command goes on later.",
    )


def _go_on(now: _Now) -> Iterator[Offer]:
    words, folder = _kept_command(now.last)
    if not now.stage.is_left or not words:
        return
    yield Offer(
        "continue",
        "Go on",
        words,
        f"Goes on with {counted(now.pending, 'pending row')} at {now.hosts}; pays for nothing twice."
        + _also_runs(now.run),
        folder,
    )


def _collect(now: _Now) -> Iterator[Offer]:
    if now.stage is not Stage.WAITING:
        return
    out = counted(len(now.run.batches_out()), "batch", "batches")
    yield Offer(
        "collect",
        "Take home batches",
        ("batchlab", "collect", now.run.place),
        f"Asks {now.hosts} for what has come of {out}, orders what may be ordered, and waits for nothing."
        + _also_runs(now.run),
    )


def _raise(now: _Now, wish: Wish) -> Iterator[Offer]:
    """A cap is raised by the command that goes on, with another one."""
    words, folder = _kept_command(now.last)
    if now.holder is not None or not now.pending or words[1:2] != ("run",):
        return
    limits = now.run.manifest.job.limits
    for name, (flag, title) in _CAPS.items():
        before = _said(words, flag) or getattr(limits, name)
        stopped_by_it = now.last is not None and now.last.ended is not None and _by_cap(now.last, flag)
        if before is None and not stopped_by_it:
            continue
        cap = _number(wish.values.get(name) or f"{float(before or 1) * 2:g}", title)
        yield Offer(
            f"raise_{name}" if name != "max_cost" else "raise",
            f"Raise the {title.partition(' (')[0]} and go on",
            (*_without(words, flag), flag, cap),
            f"Goes on with {counted(now.pending, 'pending row')} at {now.hosts} under the new cap."
            + _also_runs(now.run),
            folder,
            Field(name, title, cap),
        )


def _retry(now: _Now, wish: Wish) -> Iterator[Offer]:
    if now.holder is not None or now.stage is Stage.WAITING or wish.has_none:
        return
    totals = now.totals
    named = [word for word in wish.only if word not in (FAILED, *ANSWERS)]
    what, rows = _meant(totals, wish, named)
    if not rows:
        return
    words = ["batchlab", "retry", now.run.place]
    if wish.only and wish.only != (FAILED,):
        words += ["--only", ",".join(wish.only)]
    more = f" It goes on with {counted(now.pending, 'pending row')}, too." if now.pending else ""
    if wish.rows is not None:
        ranges = joined_ranges((row, row) for row in wish.rows)
        if len(ranges) <= MOST_RANGES:
            words += ["--rows", ranges_text(ranges)]
        else:
            what = "all of these rows" if named else counted(_rows_of(totals, wish), "row")
            more += " All of these kinds: the filter's rows lie too far apart to be named in a command."
    asked = None
    if "truncated" in wish.only:
        own = completion_cap(now.run.manifest.job.request.params)
        tokens = _number(wish.values.get("max_tokens") or str(2 * (own or 1_000)), "max_tokens")
        words += ["--max-tokens", str(int(float(tokens)))]
        asked = Field("max_tokens", "max_tokens of these rows", tokens)
    yield Offer(
        "retry",
        f"Ask again for {what}",
        tuple(words),
        f"Asks {now.hosts} again, which is paid for; a row that fails this time keeps what it had.{more}"
        + _also_runs(now.run),
        field=asked,
    )


def _meant(totals: Totals, wish: Wish, named: Sequence[str]) -> tuple[str, int]:
    """Which rows are to be asked again, in words, and how many, as far as that is known."""
    if wish.rows is not None:
        return counted(len(wish.rows), "row"), len(wish.rows)
    if named:
        return f"the rows that failed with {', '.join(named)}", totals.failed + totals.invalid
    rows = _rows_of(totals, wish)
    return counted(rows, "row"), rows


def _rows_of(totals: Totals, wish: Wish) -> int:
    if not wish.only:
        return totals.failed - totals.bad_input
    return sum(getattr(totals, word) for word in {*wish.only} & {FAILED, *ANSWERS})


def _kept_command(last: Standing | None) -> tuple[tuple[str, ...], str]:
    """The words that go on with a run, and where; none where they are not batchlab's."""
    if last is None or not last.command:
        return (), ""
    try:
        words = shell_words(last.command)
    except ValueError:
        return (), ""
    if len(words) < 2 or words[0] != "batchlab" or words[1] not in _GOES_ON or not Path(last.folder).is_dir():
        return (), ""
    here = os.path.realpath(last.folder) == os.path.realpath(Path.cwd())
    return tuple(words), "" if here else last.folder


def _also_runs(run: RunView) -> str:
    """A command that the run's own job names would be run by whoever goes on with it: that is said."""
    command = run.manifest.job.output.on_end
    return f" At its end it runs: {command}" if command else ""


def why_no_act(run: RunView) -> str:
    """Why nothing can be done about a run from here, in a line; "" where it can."""
    if run.url is not None or sys.platform == "win32":
        return ""
    try:
        is_ours = os.stat(run.path).st_uid == os.getuid()
    except OSError:
        return "the run's directory cannot be looked at any more"
    return "" if is_ours else "the run's directory belongs to another user of this machine"


def _holds_the_lock(pid: int, lock: Path) -> bool:
    """Whether a process has the run's lock open: what the lock file says of it is only text."""
    if pid <= 1:
        return False
    try:
        wanted = os.stat(lock)
        names = os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return not Path("/proc/self/fd").exists() and _is_alive(pid)  # a system that does not tell
    except OSError:
        return False
    for name in names:
        try:
            found = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _by_cap(last: Standing, flag: str) -> bool:
    ended = last.ended
    return ended is not None and ended.stopped == StopReason.BUDGET and flag in ended.message


def _said(words: Sequence[str], flag: str) -> float | None:
    """The value of a flag in a command line; the last one counts."""
    found = None
    for at, word in enumerate(words):
        value = words[at + 1] if word == flag and at + 1 < len(words) else word.removeprefix(f"{flag}=")
        if word == flag or word.startswith(f"{flag}="):
            try:
                found = float(value)
            except ValueError:
                continue
    return found


def _without(words: Sequence[str], flag: str) -> list[str]:
    """A command line without a flag and its value."""
    left, skipped = [], False
    for word in words:
        if skipped:
            skipped = False
        elif word == flag:
            skipped = True
        elif not word.startswith(f"{flag}="):
            left.append(word)
    return left


def _number(text: str, title: str) -> str:
    """A positive number, in the fewest digits. Raises UsageError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _LARGEST:
        raise UsageError(f"{title}: {text[:40]!r} is no number above 0.")
    return str(int(value)) if value == int(value) else f"{value:.12g}"

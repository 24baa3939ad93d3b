"""What is the same of all batch APIs, and what a service's own dialect has to say.

A dialect is data and at most four functions: how a line is written, how a batch is ordered, how its state
reads, and how a line of its results does. Everything else (files, retries, what is kept on disk) is the same
for all. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]

_LINE = re.compile(r"line (\d{1,9}): ")


class Phase(StrEnum):
    """Where a batch is, whatever its service calls that."""

    WAITING = "waiting"  # accepted, and nothing of it asked yet
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"  # every line has an answer, or an error of its own
    EXPIRED = "expired"  # its time was over; lines that were answered by then are kept, and billed
    CANCELLED = "cancelled"  # as expired, because somebody said so
    FAILED = "failed"  # the service gave up; most often before it asked anything

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it changes any more."""
        return self not in {Phase.WAITING, Phase.RUNNING, Phase.CANCELLING}


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as its service sees it.

    Attributes:
        word: the service's own for `phase`; `is_known`, whether it is one that says so.
        total, done, failed: lines, as the service counts them; `done` are all that have a result.
        progress: share that is done, 0 to 1, where the service counts no lines.
        files: where its results are: ids of files, paths where the service keeps no files, or addresses.
        inline: its results, where they come with the state; None where they are in files.
        problems: what the service says is wrong with it, one line each, with the number of a line where it
            names one.
        lacks_room: it failed because too much is queued already: the same batch is accepted later.
        created_at, ended_at: Unix seconds, by the service's clock.
        labels: as they were given when it was ordered.
        lines_file: id of the file of its lines, which nothing else has; None where that is not told.
    """

    id: str
    phase: Phase
    word: str
    total: int | None = None
    done: int | None = None
    failed: int | None = None
    progress: float | None = None
    files: tuple[str, ...] = ()
    inline: tuple[Json, ...] | None = None
    problems: tuple[str, ...] = ()
    lacks_room: bool = False
    created_at: float | None = None
    ended_at: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    lines_file: str | None = None
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class LineResult:
    """What came of one line: what the same call would have brought live.

    Attributes:
        custom_id: ours.
        status: HTTP status; None for a line that was never asked, because its batch ended first.
        body: the answer or the error, in the shape that the live endpoint of its task gives it.
        request_id: the service's own.
    """

    custom_id: str
    status: int | None
    body: Json = field(default_factory=dict)
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch is ordered with, beside its lines.

    Attributes:
        model: the one that all lines name.
        path: of the calls, such as `/v1/chat/completions`.
        window: the time the service has, such as `24h`.
        labels: by which it is found again, at a service that keeps them.
        file: id of the uploaded lines; None where they are sent along.
    """

    model: str
    path: str
    window: str
    labels: Mapping[str, str]
    file: str | None = None


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold.

    Attributes:
        size: bytes of all lines.
        line: bytes of one.
        inputs: texts that its lines ask vectors of, all together.
        tasks: of `job.TASK_PATHS`.
        media: whether a message may hold more than text.
    """

    lines: int = 50_000
    size: int = 200_000_000
    line: int | None = None
    inputs: int | None = None
    tasks: frozenset[str] = frozenset({"chat", "completions", "embeddings"})
    media: bool = True


class Unfit(ValueError):
    """A request that the dialect cannot carry; its text says what of it, for a person."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A service's batch API. Paths are relative to the endpoint's base_url.

    A custom_id is at most 64 of `A-Z a-z 0-9 _ -`: that is what the strictest service takes
    (anthropic-sdk-python 984).

    Attributes:
        batches: path of its batches; one is `{batches}/{id}`, and is cancelled by a POST to `.../cancel`.
        files: path of its files; the content of one is `{files}/{id}/content`. None where lines are part of
            the order.
        upload: path where lines are uploaded, where that is not `files`.
        deletion: path, with `{id}` in it, at which the file of a batch's lines is deleted once that is done
            with, at a service that holds few files; None where they stay.
        purpose: what the upload says it is for.
        form: what the upload says beside.
        inline: name of the list in the order that holds the lines, where `files` is None; the last member.
        headers: sent with every call.
        key_header: carries the key, where it is another header than for live calls.
        windows: times it may be given, the one that is asked for first.
        keeps_labels: whether a batch can be found by the labels of its order. Where it cannot, and has no
            file of lines either, one whose order may or may not have arrived is never ordered again unseen.
        apart: members of a body that must be the same in all lines of a batch, beside the model.
        cancels: whether one that was ordered can be called off.
        page: query parameter of the list that names the last batch seen, where the list has such pages.
        numbered: its query parameters for the number of a page, from 0, and for the size, where it has those.
        visible_s: how long an uploaded file, or a new batch, may stay unseen.
        kept_s: how long results are kept; None for longer than a run takes.
        price_share: the most of the live price that a line costs, where nobody states a price.
        remarks: what a person should know before, one line each.
        line: a body, spelt for the service, as a line with a custom_id and its call's path; raises Unfit.
        order: the JSON that orders a batch.
        state: a batch's state, from its JSON.
        result: what came of a line, from a line of results.
    """

    name: str
    line: Callable[[Json, str, str], Json]
    order: Callable[[Order], Json]
    state: Callable[[Json], BatchState]
    result: Callable[[Json], LineResult]
    batches: str = "batches"
    files: str | None = "files"
    upload: str | None = None
    deletion: str | None = None
    purpose: str = "batch"
    form: Mapping[str, str] = field(default_factory=dict)
    inline: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    key_header: str | None = None
    limits: BatchLimits = BatchLimits()
    windows: tuple[str, ...] = ("24h",)
    keeps_labels: bool = True
    apart: tuple[str, ...] = ()
    cancels: bool = True
    page: str | None = "after"
    numbered: tuple[str, str] | None = None
    visible_s: float = 60.0
    kept_s: float | None = None
    price_share: float = 0.5
    remarks: tuple[str, ...] = ()


def line_of(problem: str) -> int | None:
    """The number of the line that a problem of a batch is about, from 1; None for one of the whole batch."""
    found = _LINE.match(problem)
    return int(found[1]) if found else None


def file_id_in(reply: Any) -> str | None:
    """The id of a file, from what its upload brought; SiliconFlow puts the file into `data`."""
    if not isinstance(reply, dict):
        return None
    inner = reply.get("data")
    found = (inner if isinstance(inner, dict) else reply).get("id")
    return found if isinstance(found, str) and found else None


def batches_in(reply: Any) -> list[Json] | None:
    """The batches of a page of the list, None for what is no list; Together's is the whole of the reply."""
    listed = reply.get("data") if isinstance(reply, dict) else reply
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else None


def has_more(reply: Any) -> bool | None:
    """Whether another page follows; None when the reply does not say."""
    if isinstance(reply, list):
        return False  # nothing but the batches: there is no place for a page
    more = reply.get("has_more") if isinstance(reply, dict) else None
    return more if isinstance(more, bool) else None

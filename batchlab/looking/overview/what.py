"""What a run is: which model is asked what, where, and by which settings. Without secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchlab.job import EndpointJob, Job
from batchlab.looking.overview.job_text import job_text
from batchlab.observe.facts import masked, without_credentials
from batchlab.protocol.redact import redact
from batchlab.store.manifest import Manifest

TEXT_CHARS = 100_000  # of a template, a system prompt or the job's text: what nobody reads further
SHOWN_MODELS = 20  # of those that the lines of a batch file name


@dataclass(frozen=True, slots=True)
class At:
    """One endpoint: what rows call it, its address, how rows are answered there, and how many at once."""

    name: str
    base_url: str
    lane: str
    model: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class What:
    """What a run asks, of whom.

    Attributes:
        model: "" where each row names its own.
        params: the parameters as they are sent, with what settings stand for some.
        template: of the user message; None where the rows hold messages or prompts as they are.
        template_file: where it is kept; its text is not the run's.
        messages: templates of a whole conversation, (role, content) each.
        schema: what answers must fit.
        input: as messages call it.
        job_toml: the job as the text of a job file.
        made_by: which batchlab planned it.
    """

    model: str
    endpoints: tuple[At, ...]
    lane: str
    task: str
    params: Mapping[str, Any]
    system: str | None
    template: str | None
    template_file: str | None
    messages: tuple[tuple[str, str], ...]
    schema: Mapping[str, Any] | None
    input: str
    job_toml: str | None
    made_by: str

    def json(self) -> dict[str, Any]:
        """For the page."""
        return dataclasses.asdict(self)


def what_of(manifest: Manifest) -> What:
    """What a run is, by its run.json."""
    job, request = manifest.job, manifest.job.request
    return What(
        model=_cut(request.model or ", ".join(manifest.plan.models[:SHOWN_MODELS])),
        endpoints=tuple(_at(job, one) for one in job.endpoint),
        lane=_lane(job),
        task=request.task,
        params=masked("params", _params(job)),
        system=_whole(request.system),
        template=_whole(request.prompt),
        template_file=_whole(request.prompt_file),
        messages=tuple((one.get("role", ""), _cut(one.get("content", ""))) for one in request.messages),
        schema=request.schema,
        input=_cut(without_credentials(job.input.shown_as)),
        job_toml=_cut(job_text(job)),
        made_by=f"batchlab {manifest.batchlab}" if manifest.batchlab else "batchlab",
    )


def _at(job: Job, endpoint: EndpointJob) -> At:
    limits = job.limits_at(endpoint)
    return At(
        name=endpoint.name or endpoint.host,
        base_url=redact(without_credentials(endpoint.base_url)),
        lane=limits.lane,
        model=endpoint.model or job.request.model,
        concurrency=limits.concurrency,
    )


def _lane(job: Job) -> str:
    """How rows are answered; several words where endpoints differ."""
    return ", ".join(dict.fromkeys(job.limits_at(one).lane for one in job.endpoint))


def _params(job: Job) -> dict[str, Any]:
    request = job.request
    more: Sequence[tuple[str, Any, Any]] = (
        ("stream", request.stream, False),
        ("image", request.image, []),
        ("audio", request.audio, []),
        ("schema_mode", job.schema_mode if request.schema is not None else None, None),
    )
    return {**request.params, **{name: value for name, value, usual in more if value != usual}}


def _whole(text: str | None) -> str | None:
    return None if text is None else _cut(text)


def _cut(text: str) -> str:
    text = redact(text)
    return text if len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]}… ({len(text):,} characters)"

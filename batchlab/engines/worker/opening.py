"""A run as one of its workers opens it: its directory, or one of the worker's own, and its input."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from batchlab.costs.pricing import price_book
from batchlab.dispatch.stop import StopSignal
from batchlab.engines.endpoint import Endpoint
from batchlab.engines.messages import Begin, RunAt
from batchlab.engines.work import Work
from batchlab.engines.worker.parent import leave
from batchlab.errors import BatchlabError, InputError, UsageError
from batchlab.inputs.requests import RequestBuilder
from batchlab.inputs.sources.opening import source_of
from batchlab.inputs.sources.source import Source
from batchlab.remote.depot import Depot, manifest_at
from batchlab.remote.segments import Segments, own_directory
from batchlab.run_end import StopReason
from batchlab.run_state import RunState
from batchlab.store.disk.fence import Fence, hold
from batchlab.store.manifest import Manifest, read_manifest
from batchlab.store.working import WorkingRun


@contextlib.contextmanager
def opened_work(begin: Begin, stop: StopSignal) -> Iterator[Work[WorkingRun]]:
    """What a worker is to do.

    Raises:
        UsageError: the input is not what it was when the run began: this worker may be a later one.
    """
    job = begin.run.job
    run = _opened_run(begin, _from_any_thread(stop))
    plan = run.manifest.plan
    source = _source(begin.run, run.manifest)
    endpoints = tuple(
        Endpoint(endpoint, address.base_url, address.key, price_book(job, endpoint), headers=address.headers)
        for endpoint, address in zip(job.endpoint, begin.endpoints, strict=True)
    )
    with contextlib.closing(source), contextlib.closing(run):
        yield Work(job, endpoints, source, plan, run, RequestBuilder(job, plan.columns), RunState())


def problem_with(at: RunAt) -> str:
    """What keeps a worker of this machine from a run, in a line; "" when nothing does."""
    try:
        manifest = read_manifest(Path(at.path)) if at.url is None else _manifest(at.url)
        with contextlib.closing(_source(at, manifest)):
            return ""
    except BatchlabError as error:
        return str(error)


def _opened_run(begin: Begin, trouble: Callable[[StopReason, str], None]) -> WorkingRun:
    """The run's directory; one of the worker's own where the run's is at a URL.

    Args:
        trouble: told, also from another thread, what ends the run.
    """
    at, path = begin.run, Path(begin.run.path)
    if begin.fence_s is None:
        return WorkingRun.open(path)
    fence = Fence(begin.fence_s, leave)
    fence.watch()
    if at.url is None:
        run = WorkingRun(path, read_manifest(path), fence=fence)
        hold(run.path, begin.name)
        return run
    assert begin.home is not None, "its node has made one"
    home, manifest = own_directory(Path(begin.home)), _manifest(at.url)
    segments = Segments(
        home,
        Depot(home, at.url),
        begin.name,
        flush_s=at.job.limits.journal_flush_s,
        check=fence.check,
        trouble=lambda text: trouble(StopReason.STORAGE, text),
    )
    return WorkingRun(home, manifest, publisher=segments, fence=fence)


def _from_any_thread(stop: StopSignal) -> Callable[[StopReason, str], None]:
    loop = asyncio.get_running_loop()

    def told(reason: StopReason, text: str) -> None:
        loop.call_soon_threadsafe(stop, reason, text)

    return told


def _source(at: RunAt, manifest: Manifest) -> Source:
    """The input, which must be what it was when the run began.

    Raises:
        UsageError: it is not, or the prompt file is not.
    """
    job, prompt_file = at.job, at.job.request.prompt_file
    if prompt_file is not None and job.request_settings() != manifest.settings:
        raise UsageError(f"{prompt_file}: changed while the run was going on. Run it again.")
    source = source_of(job.input, Path(at.spool))
    if not source.unchanged(manifest.plan, racy_ok=True):
        raise InputError(job.input.path, "changed while the run was going on", "Run it again.")
    return source


def _manifest(url: str) -> Manifest:
    manifest = manifest_at(url)
    if manifest is None:
        raise UsageError(f"{url}: not a run directory (no run.json).")
    return manifest

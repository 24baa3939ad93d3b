"""How many connections this process may have open: each request in flight needs a descriptor."""

from __future__ import annotations

import sys
from collections.abc import Callable

from batchlab.counts import counted
from batchlab.job import Job

RESERVED = 32  # files, pipes, the event loop's own


def within_descriptors(job: Job, say: Callable[[str], None]) -> Job:
    """Raises this process's soft limit as far as the job needs and the hard limit lets it.

    Returns the job, with a lower concurrency when that is not far enough.
    """
    if sys.platform == "win32":  # no such limit
        return job
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return job
    asked = [job.limits_at(endpoint).concurrency for endpoint in job.endpoint]
    need = sum(asked) + RESERVED
    if soft < need:
        raised = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft >= need:
        return job
    each = max(1, (soft - RESERVED) // len(asked))
    say(
        f"this process may open {soft} files, so at most {counted(each, 'request')} at a time for each "
        "endpoint; raise the limit with ulimit -n"
    )
    return job.with_at_most(each)

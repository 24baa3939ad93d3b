"""Which service, and which endpoint of a job, speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping

from batchlab.errors import UsageError
from batchlab.job import EndpointJob, Job
from batchlab.protocol.batches.anthropic import ANTHROPIC
from batchlab.protocol.batches.dialect import Dialect
from batchlab.protocol.batches.mistral import MISTRAL
from batchlab.protocol.batches.openai import OPENAI
from batchlab.protocol.batches.openai_like import ALIBABA, AZURE, DEEPINFRA, GROQ, MOONSHOT, SILICONFLOW
from batchlab.protocol.batches.openrouter import OPENROUTER
from batchlab.protocol.batches.together import TOGETHER

# by the name of the service's preset
DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OPENAI,
        AZURE,
        GROQ,
        TOGETHER,
        ALIBABA,
        SILICONFLOW,
        MOONSHOT,
        DEEPINFRA,
        MISTRAL,
        OPENROUTER,
        ANTHROPIC,
    )
}


def dialect_of(job: Job, endpoint: EndpointJob) -> Dialect | None:
    """How an endpoint's batch API is spoken; None when nobody knows of one.

    Raises UsageError: {endpoint.batch_api} names no service that has one.
    """
    name = endpoint.batch_api or endpoint.service.name
    if endpoint.host == "simulator":
        name = str(dict(job.simulator.get("batch", {})).get("dialect", "openai"))
    if endpoint.batch_api is not None and name not in DIALECTS:
        raise UsageError(
            f"{{endpoint.batch_api={name}}}: no batch API is called that; there are "
            f"{', '.join(sorted(DIALECTS))}."
        )
    return DIALECTS.get(name)

"""Services whose batch API is OpenAI's but for what stands here.

Sources, by service:
- Azure: MicrosoftDocs/azure-ai-docs `openai/how-to/batch.md` (100,000 lines, a file of errors that may be
  empty) and `includes/batch/batch-rest.md` (states with a capital, times in ISO 8601); learn.microsoft.com
  azure/foundry/reference/rest (paths below `/openai/v1`); its question 2285577 (`token_limit_exceeded` at
  30,000 tokens).
- Groq: groq-python `types/batch_create_params.py`; its guide says 200 MB where the SDK says 100.
- Alibaba: alibabacloud.com model-studio/openai-compatible-batch-file-input and batch-inference.
- SiliconFlow: docs.siliconflow.cn userguide/guides/batch and api-reference/batch.
- Moonshot: platform.kimi.com docs/guide/use-batch-api, docs/api/batch-create, docs/api/files-delete (`DELETE
  /v1/files/{file_id}`; platform.kimi.ai says the same of api.moonshot.ai).
- DeepInfra: docs.deepinfra.com/batch; deepinfra.com/blog/batch-api; limits from batchlane.

Left out, because what differs is no data: Gemini, whose OpenAI-compatible endpoint has `batches` and no
`files` (sinas 128: lines go up by its own resumable upload, results come by `:download?alt=media`); xAI,
whose batches have counters for a state and pages for results (docs.x.ai guides/batch-api); Fireworks, which
has datasets and `/accounts/{id}/batchInferenceJobs` (docs.fireworks.ai api-reference).
"""

from __future__ import annotations

from dataclasses import replace

from batchlab.protocol.batches.dialect import BatchLimits, Json, Order, Unfit
from batchlab.protocol.batches.fields import listed, members, name_in
from batchlab.protocol.batches.openai import OPENAI, line, order

DAY_S = 86_400.0
CHAT_ONLY = frozenset({"chat"})
# Alibaba's model that answers the same text to everything, for nothing; at most 100 lines and 1 MB
TEST_MODEL, TEST_PATH = "batch-test-model", "/v1/chat/ds-test"
MAX_NAME_CHARS, MAX_DESCRIPTION_CHARS = 100, 200


AZURE = replace(
    OPENAI,
    name="azure",
    deletion="files/{id}",
    limits=BatchLimits(lines=100_000, inputs=50_000, tasks=frozenset({"chat", "embeddings"})),
    visible_s=600.0,  # an upload is imported first, which may take minutes
    remarks=(
        "half the price of live calls; the model is a deployment of the type Global Batch or Data Zone Batch",
        "answered within 24 hours as a rule; a late batch does not expire, so it may take longer",
        "the tokens that may be queued are limited by deployment, for some to 30,000",
        "a resource holds 500 files for batches: those of lines are deleted after use, those of results stay",
        "what was answered before a batch is cancelled is kept, and billed",
    ),
)

GROQ = replace(
    OPENAI,
    name="groq",
    limits=BatchLimits(size=100_000_000, tasks=CHAT_ONLY),
    windows=("24h", "7d"),
    kept_s=30 * DAY_S,
    remarks=(
        "half the price of live calls, for the models that its guide lists; chat only",
        "accounts without the plan are refused at the upload (403 not_available_for_plan)",
        "files are kept for 30 days",
    ),
)


def alibaba_line(body: Json, custom_id: str, path: str) -> Json:
    """A line; the test model has a path of its own."""
    return line(body, custom_id, TEST_PATH if body.get("model") == TEST_MODEL else path)


def alibaba_order(asked: Order) -> Json:
    """The order; of metadata only a name and a description are told of, which are for a person's eyes."""
    said = ", ".join(f"{name}={value}" for name, value in asked.labels.items())
    return {
        **order(asked),
        "endpoint": TEST_PATH if asked.model == TEST_MODEL else asked.path,
        "metadata": {"ds_name": said[:MAX_NAME_CHARS], "ds_description": said[:MAX_DESCRIPTION_CHARS]},
    }


ALIBABA = replace(
    OPENAI,
    name="alibaba",
    line=alibaba_line,
    order=alibaba_order,
    limits=BatchLimits(size=500_000_000, line=6_000_000, tasks=frozenset({"chat", "embeddings"})),
    windows=("24h", "72h", "168h", "336h"),
    keeps_labels=False,
    remarks=(
        "half the price of live calls; answers only are billed; free quotas and cached prompts do not count",
        "models differ by region (Beijing has most); at most 256k tokens of context",
        f"the model {TEST_MODEL} tries the whole way for nothing, with up to 100 lines",
    ),
)


def siliconflow_line(body: Json, custom_id: str, path: str) -> Json:
    """A line. Raises Unfit for a conversation that its guide does not allow."""
    roles = [name_in(members(one).get("role")) for one in listed(body.get("messages"))]
    if not {*roles} <= {"system", "user", "assistant"}:
        raise Unfit("messages: a batch takes the roles system, user and assistant")
    if not roles or roles[-1] != "user":
        raise Unfit("messages: in a batch the last one has to be the user's")
    return line(body, custom_id, path)


SILICONFLOW = replace(
    OPENAI,
    name="siliconflow",
    line=siliconflow_line,
    limits=BatchLimits(lines=5_000, size=1_000_000_000, tasks=CHAT_ONLY),
    windows=("24h", "72h", "168h", "336h"),
    kept_s=30 * DAY_S,
    remarks=(
        "half the price of live calls, for selected models; chat only, 5,000 rows a batch",
        "results are kept for a month",
    ),
)

MOONSHOT = replace(
    OPENAI,
    name="moonshot",
    deletion="files/{id}",
    limits=BatchLimits(size=100_000_000, tasks=CHAT_ONLY),
    windows=("24h", "12h", "3d", "7d"),
    price_share=0.6,
    remarks=(
        "0.6 of the price of live calls, for kimi-k2.5 and kimi-k2.6; chat only, from account tier 1 on",
        "temperature, top_p, n and the penalties of these models cannot be set",
        "an organization may have 1,000 files: those of lines are deleted after use, those of results stay",
    ),
)

DEEPINFRA = replace(
    OPENAI,
    name="deepinfra",
    limits=BatchLimits(),
    kept_s=30 * DAY_S,
    price_share=0.8,
    remarks=("0.8 of the price of live calls; answered within 24 hours", "files are kept for 30 days"),
)

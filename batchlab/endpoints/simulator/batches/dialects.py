"""What tells one batch service from another, as data.

Read in the SDKs: openai 3.57 `types/batch*.py`, groq 1.7 `types/batch_create_params.py`, together 3.1
`types/batch_job.py`, mistralai 3.7 `client/models/batchjob.py`, openrouter 1.3.84
`components/batchobject.py`, anthropic 2.14 `types/messages/message_batch.py`. Alibaba, Azure, SiliconFlow,
Kimi and DeepInfra: their documentation pages.
"""

from __future__ import annotations

from dataclasses import dataclass

MB, GB = 1_000_000, 1_000_000_000
HOUR_S, DAY_S = 3_600.0, 86_400.0
ANY = ("chat/completions", "completions", "embeddings")
CHAT = ("chat/completions",)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service.

    Attributes:
        purpose: of an uploaded file of requests.
        share: of the live price that a line costs, where the price list does not say.
        hours: shortest and longest completion window.
        kinds: what a batch may ask for.
        metadata: whether it takes and tells them.
        model_in_lines: whether each line names the model; else the batch does.
        late: what becomes of a batch at the end of its window: whether it may go on.
        kept_s: how long results can be fetched after the end.
        inline: whether requests come with the call that creates the batch, in no file.
    """

    purpose: str = "batch"
    max_lines: int = 50_000
    max_bytes: int = 200 * MB
    share: float = 0.5
    hours: tuple[float, float] = (24, 24)
    kinds: tuple[str, ...] = ANY
    metadata: bool = True
    model_in_lines: bool = True
    late: bool = False
    kept_s: float = 30 * DAY_S
    inline: bool = False


DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(),
    "azure": Dialect(max_lines=100_000, kinds=(*CHAT, "embeddings"), late=True),
    "groq": Dialect(max_bytes=100 * MB, hours=(24, 168), kinds=CHAT),
    "together": Dialect(purpose="batch-api", max_bytes=100 * MB, kinds=CHAT, metadata=False),
    "alibaba": Dialect(hours=(24, 336)),
    "siliconflow": Dialect(max_lines=5_000, max_bytes=GB, hours=(24, 336), kinds=CHAT),
    "kimi": Dialect(share=0.6, kinds=CHAT, hours=(12, 168)),
    "deepinfra": Dialect(share=0.8),
    "mistral": Dialect(
        max_lines=100_000, max_bytes=512 * MB, hours=(1, 168), model_in_lines=False, kept_s=DAY_S
    ),
    "openrouter": Dialect(
        max_lines=5_000,
        kinds=(*CHAT, "embeddings", "messages"),
        metadata=False,
        model_in_lines=False,
        inline=True,
    ),
    "anthropic": Dialect(
        max_lines=100_000,
        max_bytes=256 * MB,
        kinds=("messages",),
        metadata=False,
        kept_s=29 * DAY_S,
        inline=True,
    ),
}

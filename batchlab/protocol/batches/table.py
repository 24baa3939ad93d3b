"""Which service speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping

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

"""Which service speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping

from batchlab.protocol.batches.dialect import Dialect
from batchlab.protocol.batches.openai import OPENAI

# by the name of the service's preset
DIALECTS: Mapping[str, Dialect] = {"openai": OPENAI}

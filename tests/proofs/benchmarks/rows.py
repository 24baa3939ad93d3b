"""Inputs for the benchmarks, made of seeded words; some are not ASCII, as in real text."""

from __future__ import annotations

import json
import random
from pathlib import Path

_WORDS = (
    "the quick brown fox jumps over a lazy dog while seventeen auditors review receipts from Brussels "
    "and Geneva, noting each café separately"
).split()
TEXTS = 997  # different ones, each numbered by its row


def write_rows(path: Path, rows: int, line_bytes: int) -> Path:
    """Writes `rows` JSON lines of about `line_bytes`: an id, a text, a word and a number."""
    rng = random.Random(7)
    length = max(1, line_bytes - 60)
    texts = [" ".join(rng.choices(_WORDS, k=length // 5 + 1))[:length] for _ in range(TEXTS)]
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            text = json.dumps(f"{row} {texts[row % TEXTS]}", ensure_ascii=False)
            file.write(f'{{"id":"row-{row:08d}","text":{text},"lang":"en","stars":{row % 5 + 1}}}\n')
    return path

"""The job file of a run by batches at a simulator, over the texts of `rows.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping

Values = Mapping[str, str | int | float]
NONE: Values = {}


def batch_job(
    base_url: str,
    service: str,
    *,
    prompt: str,
    max_tokens: int,
    share: float,
    endpoint: Values = NONE,
    limits: Values = NONE,
    price: Values = NONE,
    output: Values = NONE,
) -> str:
    """Its text, with what its sections have beside.

    Args:
        share: of the live price, that a line of a batch costs.
    """
    to = {"base_url": base_url, "batch_api": service, "api_key_env": "SIMULATOR_KEY", **endpoint}
    sections: dict[str, Values] = {
        "input": {"path": "rows.jsonl"},
        "endpoint": to,
        "request": {"model": "sim", "prompt": prompt, "max_tokens": max_tokens},
        "limits": {"lane": "batch", **limits},
        "price": {"input": 2.0, "output": 8.0, "batch": share, **price},
        "output": {"run_dir": "run", **output},
    }
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"

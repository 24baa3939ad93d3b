"""Any JSON at all, made of samples by putting something else into them."""

from __future__ import annotations

import random
from typing import Any

ODD = [
    None, True, False, 0, -1, 3, 2**70, 1.5, -0.0, float("inf"), float("nan"), 1e308, "", "x", "200", "-3", "²",
    "2024-08-20T18:37:24Z", "9999-12-31T23:59:59+00:00", "{", '{"error": 3}', "[1]", "\ud800", "sk-abcdefghijkl",
    [], [None], [[]], {}, {"error": []}, {"data": [1, "a", {}]}, {"id": {}}, ["a", {"code": []}],
]  # fmt: skip


def mutated(value: Any, chance: random.Random) -> Any:
    """The value, with something in it that is something else."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        if chance.random() < 0.15:
            return {key: one for key, one in value.items() if key != name}
        return {**value, name: mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], mutated(value[at], chance), *value[at + 1 :]]
    return chance.choice(ODD)

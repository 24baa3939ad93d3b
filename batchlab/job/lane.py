"""The lanes: the ways to be answered at an endpoint that a job may name."""

from __future__ import annotations

LANES = ("live", "flex", "batch", "cheapest")  # the last one is a choice among the others

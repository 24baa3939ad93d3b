"""Tests in this folder are the short forms of the proofs: a step of their own (`pytest -m proof`)."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Called for what is in this folder only."""
    item.add_marker(pytest.mark.proof)

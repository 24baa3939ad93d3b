"""The short version of `python -m tests.proofs.nights.run`: every kind of night, seeds of its own."""

from __future__ import annotations

import statistics

import pytest

from tests.proofs.nights.clairvoyant import least_usd
from tests.proofs.nights.nights import KINDS, night_of
from tests.proofs.nights.run import CHOOSERS, WHOLE, Told, met, nights, problems_of, ratios
from tests.proofs.nights.service import gone_by


def test_deadlines_are_met_and_cost_little_more_than_a_clairvoyant_s():
    told = nights(10 * len(KINDS), seed=3, choosers=("policy", WHOLE))

    assert problems_of(told, "policy") == []
    assert problems_of(told, WHOLE) == []


def test_a_tight_deadline_is_met_and_most_of_what_batches_save_is_saved():
    """Half of the price is at stake, and most of what nobody can know beforehand is known too late."""
    tight = [night_of("tight deadline", 90_000 + number) for number in range(60)]
    told = [
        Told(one, least_usd(one), {WHOLE: gone_by(one, CHOOSERS[WHOLE], whole_shards=True)}) for one in tight
    ]

    reached, could = met(told, WHOLE)
    assert reached >= 0.97 * could
    assert statistics.fmean(ratios(told, WHOLE)) <= 1.3


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_cheaper_than_the_clairvoyant(kind):
    """Of those in time: else the bound were none."""
    told = [one for one in nights(2 * len(KINDS), seed=4) if one.night.kind == kind]

    for name in told[0].gone:
        assert all(ratio > 1 - 1e-6 for ratio in ratios(told, name)), (kind, name)
        assert met(told, name)[0] <= met(told, name)[1]


def test_two_runs_of_a_night_are_the_same():
    first, second = (nights(len(KINDS), seed=5, choosers=("policy",)) for _ in range(2))

    assert [one.gone for one in first] == [one.gone for one in second]

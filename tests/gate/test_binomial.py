"""Binomial tails against exact rational arithmetic, and bounds against the published table."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.gate import binomial

MOST_FAILURES = {  # at 95 %, by trials and share; the first that is too many has no entry of its own
    300: {0.01: 0, 0.02: 1, 0.05: 8},
    600: {0.005: 0, 0.01: 1, 0.02: 6, 0.05: 20},
    1000: {0.005: 1, 0.01: 4, 0.02: 12, 0.05: 38},
    5000: {0.005: 16, 0.01: 38, 0.02: 83, 0.05: 224},
    25000: {0.005: 106, 0.01: 223, 0.02: 463, 0.05: 1193},
}


def exact(successes: int, trials: int, p: float) -> float:
    share = Fraction(p)
    return float(sum(comb(trials, i) * share**i * (1 - share) ** (trials - i) for i in range(successes + 1)))


@given(st.integers(1, 120), st.data(), st.floats(1e-6, 1 - 1e-6))
def test_a_tail_is_the_sum_of_its_terms(trials: int, data: st.DataObject, p: float) -> None:
    successes = data.draw(st.integers(0, trials))
    assert binomial.at_most(successes, trials, p) == pytest.approx(exact(successes, trials, p), abs=1e-11)


@pytest.mark.parametrize("trials", MOST_FAILURES)
def test_the_table_of_failures_allowed(trials: int) -> None:
    for share, most in MOST_FAILURES[trials].items():
        assert binomial.upper(most, trials, 0.05) <= share < binomial.upper(most + 1, trials, 0.05)
        assert binomial.at_most(most, trials, share) <= 0.05 < binomial.at_most(most + 1, trials, share)


def test_without_a_failure_299_certify_one_percent_and_298_do_not() -> None:
    assert binomial.upper(0, 299, 0.05) <= 0.01 < binomial.upper(0, 298, 0.05)


@given(st.integers(1, 2000), st.data(), st.sampled_from([1e-6, 0.001, 0.025, 0.05]))
def test_bounds_enclose_the_share_and_mirror_each_other(
    trials: int, data: st.DataObject, delta: float
) -> None:
    successes = data.draw(st.integers(0, trials))
    above, below = binomial.upper(successes, trials, delta), binomial.lower(successes, trials, delta)
    assert 0 <= below <= successes / trials <= above <= 1
    if successes < trials:
        assert binomial.at_most(successes, trials, above) == pytest.approx(delta, rel=1e-6)
    assert binomial.lower(trials - successes, trials, delta) == pytest.approx(1 - above, abs=1e-12)


def test_nothing_tried_is_nothing_known() -> None:
    assert binomial.upper(0, 0, 0.05) == 1
    assert binomial.lower(0, 0, 0.05) == 0


def test_a_million_trials_are_no_trouble() -> None:
    assert binomial.at_most(9_750, 1_000_000, 0.01) == pytest.approx(0.0060, abs=2e-4)
    assert binomial.upper(10_000, 1_000_000, 0.025) == pytest.approx(0.010197, abs=1e-6)

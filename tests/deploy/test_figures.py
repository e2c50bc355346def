"""The arithmetic of the comparison, held to its definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.figures import curve, wilson

samples = st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans(), st.booleans())


@given(st.lists(samples, min_size=1, max_size=40))
def test_every_point_of_the_curve_is_what_its_threshold_would_have_given(
    pairs: list[tuple[float, bool, bool]],
) -> None:
    for point in curve(pairs):
        sent = [confidence < point.threshold for confidence, _, _ in pairs]
        right = [cloud if away else edge for away, (_, edge, cloud) in zip(sent, pairs, strict=True)]
        assert point.offloaded == pytest.approx(sum(sent) / len(pairs))
        assert point.accuracy == pytest.approx(sum(right) / len(pairs))


@given(st.lists(samples, min_size=1, max_size=40))
def test_the_curve_goes_from_sending_nothing_to_sending_everything(
    pairs: list[tuple[float, bool, bool]],
) -> None:
    shares = [point.offloaded for point in curve(pairs)]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares == sorted(set(shares))
    assert curve(pairs)[-1].threshold == math.inf


def test_no_samples_make_no_curve() -> None:
    assert curve([]) == []


@pytest.mark.parametrize(
    ("right", "of", "interval"),
    [(8, 10, (0.4902, 0.9433)), (0, 20, (0.0, 0.1611)), (900, 1000, (0.87985, 0.91709)), (0, 0, (0.0, 1.0))],
)
def test_the_interval_is_wilsons(right: int, of: int, interval: tuple[float, float]) -> None:
    """Reference values from the score test's closed form, to four digits."""
    assert wilson(right, of) == pytest.approx(interval, abs=5e-5)

"""The deferral rule against a reference, and against everything that is no logit."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_node.gate.confidence import ALWAYS, NEVER, ConfidenceGate, softmax_top

FINITE = hnp.arrays(
    np.float32, st.integers(1, 20), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)
MODEST = hnp.arrays(np.float32, st.integers(2, 20), elements=st.floats(-50, 50, width=32))


def softmax(logits: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """In double precision, term by term."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max())
    shares: NDArray[np.float64] = exponentials / exponentials.sum()
    return shares


def logits(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@given(MODEST, st.floats(0.1, 10))
def test_confidence_is_the_largest_softmax_probability(
    values: NDArray[np.float32], temperature: float
) -> None:
    top, confidence = softmax_top(values, temperature)
    reference = softmax(values, temperature)
    assert top == values.argmax()
    assert confidence == pytest.approx(reference.max(), rel=1e-4)


@given(FINITE, st.floats(0.01, 100))
def test_confidence_of_finite_logits_is_a_share_of_at_least_an_even_one(
    values: NDArray[np.float32], temperature: float
) -> None:
    _, confidence = softmax_top(values, temperature)
    assert 0.999 / len(values) <= confidence <= 1


@given(FINITE, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_a_logit_that_is_no_number_always_defers(
    values: NDArray[np.float32], poison: float, data: st.DataObject
) -> None:
    values[data.draw(st.integers(0, len(values) - 1))] = poison
    decision = ConfidenceGate(1.0, ALWAYS).decide(values)
    assert not decision.accepted
    assert decision.confidence == 0
    assert math.isnan(decision.score)
    assert 0 <= decision.class_index < len(values)


def test_no_logits_at_all_defer() -> None:
    assert not ConfidenceGate(1.0, ALWAYS).decide(logits()).accepted


def test_a_tie_goes_to_the_first_class_with_an_even_share() -> None:
    top, confidence = softmax_top(logits(1, 3, 3))
    assert top == 1
    assert confidence == pytest.approx(1 / (2 + math.exp(-2)))


def test_the_top_class_is_the_logits_own_where_their_difference_is_lost_in_a_softmax() -> None:
    assert softmax_top(logits(-1e-41, 0))[0] == 1


def test_a_higher_temperature_is_less_confident_of_the_same_class() -> None:
    cold, warm = (softmax_top(logits(0, 2, 1), temperature) for temperature in (0.5, 5.0))
    assert cold[0] == warm[0] == 1
    assert cold[1] > warm[1]


def test_a_confidence_at_the_threshold_is_trusted() -> None:
    assert ConfidenceGate(1.0, 0.5).decide(logits(4, 4)).accepted


def test_a_confidence_below_the_threshold_is_not() -> None:
    assert not ConfidenceGate(1.0, math.nextafter(0.5, 1)).decide(logits(4, 4)).accepted


def test_never_is_never() -> None:
    assert not ConfidenceGate(1.0, NEVER).decide(logits(1e30, 0)).accepted

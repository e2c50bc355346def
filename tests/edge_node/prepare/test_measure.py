"""Measures against a reference: known shares, known intervals, numbers that are no numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.prepare.errors import GraphError
from edge_node.prepare.measure import compare, distance, interleaved, paired, ratios, wilson
from tests.edge_node.prepare import nets

LOGITS = np.array([[4, 1, 0], [0, 3, 1], [0, 1, 2], [5, 0, 0]], np.float32)
OTHER = np.array([[4, 1, 0], [3, 0, 1], [0, 1, 2], [0, 0, 5]], np.float32)


def test_shares_by_labels() -> None:
    found = compare(LOGITS, OTHER, np.array([0, 0, 1, 0]))
    assert found.agreement.value == 0.5
    assert found.accuracy is not None
    assert found.accuracy.value == 0.5
    assert found.drop.value == 0.0, "one was lost, one was won"
    assert found.drop.low < 0 < found.drop.high


def test_without_labels_every_changed_answer_counts() -> None:
    found = compare(LOGITS, OTHER, None)
    assert found.accuracy is None
    assert found.drop.value == 0.5
    assert found.drop.low < 0.5 < found.drop.high


def test_the_published_example_of_the_wilson_interval() -> None:
    """Newcombe (1998), example a of table I: 81 of 263."""
    found = wilson(81, 263)
    assert [found.low, found.high] == pytest.approx([0.2553, 0.3662], abs=1e-4)


@given(st.integers(1, 2000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_an_interval_holds_its_share(case: tuple[int, int]) -> None:
    found = wilson(*case)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_equal_answers_still_leave_room_for_a_drop() -> None:
    found = paired(0, 0, 100)
    assert (found.value, found.low) == (0, -found.high)
    assert 0.02 < found.high < 0.04, "the rule of three says 0.03"


def test_distance_is_zero_for_the_same_confidences_and_infinite_for_no_numbers() -> None:
    assert distance(LOGITS, LOGITS + 3) == pytest.approx(0, abs=1e-6)
    assert distance(LOGITS, OTHER) > 1
    assert distance(LOGITS, np.full_like(LOGITS, np.nan)) == math.inf


def test_a_reference_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(GraphError, match="gives NaN or infinite logits"):
        compare(LOGITS * np.nan, LOGITS, None)


def test_times_are_taken_in_turns() -> None:
    model = nets.depthwise().onnx()
    times = interleaved({"one": model, "other": model}, nets.samples(1).inputs[0])
    assert len(times["one"]) == len(times["other"]) >= 5
    assert min(times["one"]) > 0


def test_a_ratio_is_the_median_over_the_rounds() -> None:
    slow_machine_in_round_2 = {"fp32": [1.0, 9.0, 1.0], "int8": [0.5, 4.5, 0.6]}
    assert ratios(slow_machine_in_round_2, "fp32") == {"fp32": 1.0, "int8": 0.5}

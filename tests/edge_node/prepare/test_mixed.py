"""The search for the fewest layers in float, on rules whose answer is known."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.prepare.mixed import fewest

LAYERS = [f"layer{number}" for number in range(12)]


@given(st.sets(st.sampled_from(LAYERS)), st.permutations(LAYERS))
def test_what_has_to_be_float_is_found_and_nothing_else(bad: set[str], ranked: list[str]) -> None:
    assert set(fewest(ranked, lambda floats: bad <= set(floats))) == bad


@pytest.mark.parametrize("place", range(len(LAYERS)))
def test_one_bad_layer_costs_few_trials_when_it_is_ranked_high(place: int) -> None:
    trials = []

    def holds(floats: Sequence[str]) -> bool:
        trials.append(floats)
        return LAYERS[place] in floats

    assert fewest(LAYERS, holds) == [LAYERS[place]]
    assert len(trials) <= 4 + place


def test_nothing_is_put_back_where_nothing_hurts() -> None:
    assert fewest(LAYERS, lambda _: True) == []

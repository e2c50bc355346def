"""What answers tell of stages and clocks."""

import math

import pytest

from edge_node.meters.answers import REMEMBERED, Answers
from edge_node.metrics import Meter
from protos import timing

Facts = dict[str, str]


def heard(*answers: tuple[Facts, float], ahead: float = 0.0) -> Meter:
    """A node whose clock is so far ahead of 1000 s, after answers that took these seconds."""
    meter = Meter()
    it = Answers(meter, lambda: 1000.0 + ahead)
    for facts, seconds in answers:
        it.heard(facts, seconds, 0.75)
    return meter


def said(clock: float, queue: float = 0.0, compute: float = 0.0) -> Facts:
    """What a server says when its clock shows this."""
    return timing.facts(queue, compute) | {timing.CLOCK: str(clock)}


def value(meter: Meter, name: str, **labels: str) -> float:
    found = meter.registry.get_sample_value(f"tidegate_{name}", labels)
    assert found is not None
    return found


def test_an_answer_is_split_into_network_queue_and_compute() -> None:
    meter = heard((said(0, queue=0.010, compute=0.020), 0.1))
    found = {
        stage: value(meter, "stage_duration_seconds_sum", stage=stage)
        for stage in ("network", "cloud_queue", "cloud_compute")
    }
    assert found == pytest.approx({"network": 0.07, "cloud_queue": 0.01, "cloud_compute": 0.02})
    assert value(meter, "confidence_sum", route="cloud") == 0.75


def test_a_server_that_says_nothing_leaves_stages_and_clocks_alone() -> None:
    meter = heard(({}, 0.1))
    assert value(meter, "stage_duration_seconds_count", stage="network") == 0
    assert math.isnan(value(meter, "clock_skew_seconds"))


@pytest.mark.parametrize("ahead", [-86_400.0, -3.0, 0.0, 40.0])
def test_skew_is_known_to_half_the_time_on_the_network(ahead: float) -> None:
    """However the network's time is shared between the two ways."""
    for down in (0.0, 0.02, 0.08):
        meter = heard((said(1000.0 - down, compute=0.02), 0.1), ahead=ahead)
        error = value(meter, "clock_skew_error_seconds")
        assert error == pytest.approx(0.04)
        assert abs(value(meter, "clock_skew_seconds") - ahead) <= error + 1e-9


def test_the_fastest_of_the_last_answers_says_it() -> None:
    slow, fast = (said(998.0), 4.0), (said(999.995), 0.01)
    assert value(heard(slow, fast, slow), "clock_skew_error_seconds") == 0.005
    assert value(heard(fast, *[slow] * REMEMBERED), "clock_skew_error_seconds") == 2.0


def test_more_compute_than_time_is_no_negative_network() -> None:
    assert value(heard((said(0, compute=5), 0.1)), "stage_duration_seconds_sum", stage="network") == 0

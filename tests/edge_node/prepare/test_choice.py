"""The rule of the choice, with given figures: times are never measured here."""

from typing import Any

import pytest

from edge_node.prepare.choice import REFERENCE, Candidate, choose, named

INT8 = Candidate("static minmax", "int8", drop=0.005, size=270, time=0.55)
FP16 = Candidate("fp16", "fp16", drop=0.0, size=500, time=1.5)
FP32 = Candidate(REFERENCE, "fp32", drop=0.0, size=1000, time=1.0)


def with_(candidate: Candidate, **changes: Any) -> Candidate:
    return Candidate(**{**vars(candidate), **changes})


def test_the_fastest_that_keeps_the_budget_wins() -> None:
    found = choose([INT8, FP16, FP32], 0.01)
    assert found.name == INT8.name
    assert (
        found.reason
        == "static minmax keeps the budget, and nothing that does is clearly faster on this machine"
    )


def test_a_slower_int8_never_wins_and_one_line_says_why() -> None:
    found = choose([with_(INT8, time=1.2), FP16, FP32], 0.01)
    assert found.name == REFERENCE
    assert found.reason == "fp32: no int8 variant that keeps the budget is faster on this machine"


def test_fp16_wins_where_it_is_fastest() -> None:
    assert choose([with_(INT8, time=1.2), with_(FP16, time=0.7), FP32], 0.01).name == "fp16"


def test_beyond_the_budget_nothing_is_fast_enough() -> None:
    found = choose([with_(INT8, drop=0.011), FP16, FP32], 0.01)
    assert (found.name, found.reason) == (REFERENCE, "fp32: no int8 variant keeps the budget of 0.01")


def test_a_drop_of_exactly_the_budget_is_within_it() -> None:
    assert choose([with_(INT8, drop=8 / 800), FP32], 0.01).name == INT8.name


@pytest.mark.parametrize(("time", "winner"), [(1.04, INT8.name), (1.06, REFERENCE)])
def test_of_equally_fast_ones_the_smallest_file_wins(time: float, winner: str) -> None:
    assert choose([with_(INT8, time=time), FP32], 0.01).name == winner


def test_without_times_the_first_that_keeps_the_budget_wins() -> None:
    untimed = [with_(one, time=None) for one in (INT8, FP16, FP32)]
    found = choose(untimed, 0.01)
    assert found.name == INT8.name
    assert found.reason.endswith("the target is another CPU, so speed has to be measured there")
    assert choose([with_(untimed[0], drop=0.5), *untimed[1:]], 0.01).reason.startswith(
        "fp16: static minmax would lose more than the budget"
    )


def test_fp32_is_never_beyond_the_budget() -> None:
    assert choose([FP32], 0.01).name == REFERENCE


def test_what_was_asked_for_by_name_wins_though_slow() -> None:
    found = named(with_(INT8, time=3.0), 0.01)
    assert (found.name, found.reason) == (INT8.name, "static minmax, as asked for, keeps the budget of 0.01")

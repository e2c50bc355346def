"""What a server says of time, from ours and from strangers."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import timing


def test_stages_and_clock_come_back() -> None:
    facts = timing.facts(queue=0.0002, compute=1.5)
    assert timing.stages(facts) == pytest.approx({"queue": 0.0002, "compute": 1.5})
    found = timing.clock(facts)
    assert found is not None
    assert abs(found - time.time()) < 10


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("cache;desc=hit, db;dur=53", {"db": 0.053}),
        ("db;desc=SQL;dur=53, app;dur=47.2", {"db": 0.053, "app": 0.0472}),
        ("compute;dur=-1, queue;dur=1e400, x;dur=..", {}),
        ("", {}),
    ],
)
def test_server_timing_is_read_as_the_web_writes_it(text: str, stages: dict[str, float]) -> None:
    assert timing.stages({timing.SERVER_TIMING: text}) == pytest.approx(stages)


def test_who_says_nothing_is_not_believed_to_be_fast() -> None:
    assert timing.stages({}) == {}
    assert timing.clock({}) is None
    assert timing.clock({timing.CLOCK: "noon"}) is None
    assert timing.clock({timing.CLOCK: "inf"}) is None


@given(st.text(max_size=200))
def test_any_text_gives_times_that_can_be(text: str) -> None:
    facts = {timing.SERVER_TIMING: text, timing.CLOCK: text}
    assert all(0 <= seconds < math.inf for seconds in timing.stages(facts).values())
    timing.clock(facts)

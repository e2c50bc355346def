"""The past as the dashboard reads it: nothing negative, nothing lost, nothing made up."""

from collections.abc import Sequence
from math import inf, isnan

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloud_server.fleet.devices import Key
from cloud_server.fleet.history import DAY, HOUR, LATE, History, _Track
from cloud_server.fleet.window import Window
from protos.buckets import DURATION_BUCKETS
from protos.snapshot import Histogram, Spread
from tests.cloud_server.fleet.snapshots import EVERY, A, Clock, counter, gauge, sample, snapshot

B = Key("lab", "b")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    return History(clock)


def run(history: History, clock: Clock, counts: Sequence[float], key: Key = A, session: int = 1) -> None:
    """A snapshot an interval, of a device that has just begun."""
    for number, done in enumerate(counts):
        clock.now += EVERY
        history.take(key, snapshot(number, *sample(done), session=session, uptime=EVERY * (number + 1)))


def settle(clock: Clock) -> None:
    """Until the last slot is told of."""
    clock.now += LATE + HOUR[0]


def seen(history: History, key: Key | None = A, seconds: float = 3600.0) -> Window:
    window = history.window(key, seconds)
    assert window is not None
    return window


def known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not isnan(value)]


@pytest.mark.parametrize("key", [A, None])
def test_rates_shares_and_quantiles(history: History, clock: Clock, key: Key | None) -> None:
    run(history, clock, [30.0 * number for number in range(1, 41)])
    settle(clock)
    window = seen(history, key)
    assert known(window.rates["samples"][:-2])[1:] == pytest.approx([2.0] * 38, rel=1e-3)
    assert known(window.offload) == pytest.approx([0.25] * 41, rel=1e-3)
    assert window.totals.counts["samples"] == pytest.approx(1200, rel=1e-3)
    assert 0.005 < known(window.edge.p50)[0] <= 0.01
    assert 0.05 < known(window.cloud.p50)[0] <= 0.1
    assert 0.005 < known(window.hybrid.p50)[0] <= 0.01
    assert 0.05 < known(window.hybrid.p99)[0] <= 0.1
    assert window.totals.hybrid[0] < window.totals.hybrid[1]


def test_nobody_is_known_at_first(history: History) -> None:
    assert history.window(A, 3600) is None
    window = seen(history, None)
    assert len(window.at) == len(window.edge.p50) == len(window.levels["queued_age"])
    assert known(window.offload) == known(window.rates["samples"]) == []
    assert history.recent() == {}


def test_json_has_null_for_what_is_not_known(history: History, clock: Clock) -> None:
    run(history, clock, [1, 2])
    settle(clock)
    window = msgspec.json.decode(msgspec.json.encode(seen(history)))
    assert window["offload"][0] is None
    assert window["at"] == sorted(window["at"])


@pytest.mark.parametrize(("seconds", "step", "slots"), [(300, 15, 20), (3600, 15, 239), (86_400, 300, 287)])
def test_an_hour_is_fine_and_a_day_is_coarse(
    history: History, seconds: float, step: float, slots: int
) -> None:
    window = seen(history, None, seconds)
    assert (window.step, len(window.at)) == (step, slots)
    assert np.diff(window.at) == pytest.approx(step)


def test_a_restart_counts_from_zero_even_if_it_has_passed_what_was(history: History, clock: Clock) -> None:
    """``rate()`` of Prometheus could not see this one: the session number tells."""
    run(history, clock, [10, 20], session=1)
    run(history, clock, [35, 45], session=2)
    settle(clock)
    assert seen(history).totals.counts["samples"] == pytest.approx(20 + 45, rel=1e-3)


def test_a_count_that_falls_has_begun_anew(history: History, clock: Clock) -> None:
    run(history, clock, [100, 110, 4, 8])
    settle(clock)
    assert seen(history).totals.counts["samples"] == pytest.approx(110 + 8, rel=1e-3)


def test_what_happened_in_an_outage_is_spread_over_it(history: History, clock: Clock) -> None:
    run(history, clock, [15, 30])
    clock.now += 600
    history.take(A, snapshot(50, *sample(30 + 600), uptime=630))
    settle(clock)
    rates = known(seen(history).rates["samples"])
    assert len(rates) >= 40
    assert rates == pytest.approx([1.0] * len(rates), rel=0.01), "and no spike"
    assert len(known(seen(history).levels["queued_results"])) < 10, "of what it had waiting nobody knows"


def test_nothing_is_made_up_of_the_time_before(history: History, clock: Clock) -> None:
    """A device that has run for days when this server starts: its first snapshot says where it stands."""
    history.take(A, snapshot(9, *sample(1e6), uptime=500_000))
    clock.now += EVERY
    history.take(A, snapshot(10, *sample(1e6 + 30), uptime=500_015))
    settle(clock)
    assert seen(history).totals.counts["samples"] == pytest.approx(30, rel=1e-3)


def test_levels_of_all_are_combined_as_their_table_says(history: History, clock: Clock) -> None:
    for number in range(20):
        clock.now += EVERY
        for key, waiting, age in ((A, 3, 10.0), (B, 4, 90.0)):
            found = (
                gauge("tidegate_queued_results", waiting),
                gauge("tidegate_queued_result_age_seconds", age),
            )
            history.take(key, snapshot(number, *found))
    settle(clock)
    levels = seen(history, None).levels
    assert known(levels["queued_results"])[-5:] == [7.0] * 5
    assert known(levels["queued_age"])[-5:] == [90.0] * 5
    assert known(levels["circuit"]) == []
    assert known(seen(history).levels["queued_results"])[-5:] == [3.0] * 5


def test_who_is_forgotten_has_been(history: History, clock: Clock) -> None:
    run(history, clock, [15, 30])
    history.forget(A)
    settle(clock)
    assert history.window(A, 3600) is None
    assert seen(history, None).totals.counts["samples"] == pytest.approx(30, rel=1e-3)


def test_an_hour_later_only_the_day_remembers(history: History, clock: Clock) -> None:
    run(history, clock, [15, 30])
    clock.now += 2 * 3600
    assert seen(history).totals.counts["samples"] == 0
    assert seen(history, seconds=86_400).totals.counts["samples"] == pytest.approx(30, rel=1e-3)
    clock.now += DAY[0] * DAY[1]
    assert seen(history, seconds=86_400).totals.counts["samples"] == 0


def test_recent_figures_of_every_device(history: History, clock: Clock) -> None:
    for number in range(1, 21):
        clock.now += EVERY
        for key, pace in ((A, 30), (B, 60)):
            history.take(key, snapshot(number, *sample(pace * number), uptime=EVERY * number))
    settle(clock)
    recent = history.recent()
    assert recent[A].samples == pytest.approx(2.0, rel=0.01)
    assert recent[B].samples == pytest.approx(4.0, rel=0.01)
    assert recent[B].offload == pytest.approx(0.25, rel=0.01)
    assert 0.005 < recent[A].p50 < 0.01 < recent[A].p99 < 0.1


@given(st.lists(st.floats(0.0001, 9.9), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
@settings(max_examples=50)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    clock = Clock()
    history = History(clock)
    edges = [0.0, *DURATION_BUCKETS]
    counts = np.bincount(np.searchsorted(DURATION_BUCKETS, values), minlength=len(edges))
    spread = Spread(("edge",), tuple(map(float, counts)), sum(values))
    clock.now += EVERY
    name = "tidegate_inference_duration_seconds"
    history.take(A, snapshot(0, Histogram(name, ("route",), (spread,), DURATION_BUCKETS), uptime=EVERY))
    settle(clock)
    found = seen(history).totals.edge[0 if share == 0.5 else 1]
    true = np.quantile(values, share, method="inverted_cdf")
    at = int(np.searchsorted(edges, true)) - 1
    assert edges[at] <= found * 1.0001
    assert found <= edges[at + 1] * 1.0001


def test_what_lies_above_every_bucket(history: History, clock: Clock) -> None:
    clock.now += EVERY
    spread = Spread(("cloud",), (*[0.0] * len(DURATION_BUCKETS), 5.0), 100)
    name = "tidegate_inference_duration_seconds"
    history.take(A, snapshot(0, Histogram(name, ("route",), (spread,), DURATION_BUCKETS), uptime=EVERY))
    settle(clock)
    assert seen(history).totals.cloud == (10.0, 10.0)


def test_buckets_of_another_make_are_left_out(history: History, clock: Clock) -> None:
    clock.now += EVERY
    spread = Spread(("edge",), (1.0, 1.0), 1)
    name = "tidegate_inference_duration_seconds"
    history.take(A, snapshot(0, Histogram(name, ("route",), (spread,), (1.0,)), uptime=EVERY))
    settle(clock)
    assert isnan(seen(history).totals.edge[0])


steps = st.lists(
    st.tuples(
        st.floats(0.0, 400.0),  # seconds since the last snapshot
        st.floats(0.0, 1e6),  # samples since then, or since the restart
        st.sampled_from(["on", "on", "on", "restart", "fall"]),
    ),
    max_size=40,
)


def lived(history: History, clock: Clock, story: Sequence[tuple[float, float, str]]) -> float:
    """Tell a device's story; the samples that it took in all."""
    session, done, began, total = 1, 0.0, clock.now, 0.0
    history.take(A, snapshot(0, *sample(0)))
    for number, (pause, more, what) in enumerate(story, 1):
        clock.now += pause
        if what != "on":
            session, done, began = session + (what == "restart"), 0.0, clock.now - pause / 2
        done += more
        total += more
        found = snapshot(number, *sample(done), session=session, uptime=clock.now - began)
        history.take(A, found)
    return total


def everything(window: Window) -> list[float]:
    return [value for rates in window.rates.values() for value in known(rates)]


@given(steps)
@settings(max_examples=100)
def test_no_rate_is_negative_and_nothing_is_lost(story: list[tuple[float, float, str]]) -> None:
    clock = Clock()
    history = History(clock)
    total = lived(history, clock, story)
    clock.now += DAY[0] + LATE
    for key in (A, None):
        for seconds in (3600.0, 86_400.0):
            assert min(everything(seen(history, key, seconds)), default=0.0) >= 0
    day = seen(history, A, 86_400).totals.counts["samples"]
    fallen = any(what == "fall" for *_, what in story)
    assert day == pytest.approx(total, rel=1e-3, abs=1e-3) or fallen, "a fall that is none to see is a rise"


class Subtracting(History):
    """One that knows nothing of restarts."""

    @staticmethod
    def _grown(track: _Track, _session: int, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return counts - track.counts


def test_who_only_subtracts_has_negative_rates(clock: Clock) -> None:
    """The tests above can fail."""
    history = Subtracting(clock)
    lived(history, clock, [(EVERY, 100.0, "on"), (EVERY, 5.0, "restart")])
    settle(clock)
    assert min(everything(seen(history))) < 0


@given(st.lists(st.tuples(st.floats(0, 2**63), st.floats(allow_nan=False)), min_size=1, max_size=10))
@settings(max_examples=50)
def test_no_numbers_break_it(values: list[tuple[float, float]]) -> None:
    clock = Clock()
    history = History(clock)
    for number, (count, level) in enumerate(values):
        clock.now += EVERY
        found = counter("tidegate_samples_total", count), gauge("tidegate_queued_results", level)
        history.take(A, snapshot(number, *found, uptime=EVERY * (number + 1)))
    settle(clock)
    assert min(everything(seen(history))) >= 0
    assert not any(value == inf for value in seen(history, None).levels["queued_results"])


def test_memory_is_bounded(history: History, clock: Clock) -> None:
    """0.2 MB a device, however long it runs."""
    run(history, clock, range(1000))
    rings = history._tracks[A].rings
    size = sum(array.nbytes for ring in rings for array in (ring._counts, ring._levels))
    assert size < 200_000

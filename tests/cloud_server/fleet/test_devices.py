"""The table of devices: who lives, for how long what they said holds, and how large it can get."""

import pytest

from cloud_server.fleet import exposition
from cloud_server.fleet.arrival import Refused
from cloud_server.fleet.devices import FORGET, MISSED, Device, Devices, Key, State
from protos import snapshot as contract
from tests.cloud_server.fleet.snapshots import EVERY, A, Clock, birth, counter, gauge, sample, snapshot


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def devices(clock: Clock) -> Devices:
    return Devices(max_nodes=100, max_series=100, clock=clock)


def state(devices: Devices, key: Key = A) -> State | None:
    device = devices.get(key)
    return device.state if device else None


def known(devices: Devices) -> Device:
    found = devices.get(A)
    assert found is not None
    return found


def text(devices: Devices) -> str:
    return exposition.merge(b"", devices.blocks()).decode()


def test_a_device_is_there_with_its_birth(devices: Devices) -> None:
    assert state(devices) is None
    devices.say(A, birth())
    (device,) = devices.table()
    assert (device.site, device.node, device.state, device.session) == ("lab", "a", "online", 1)
    assert device.model is not None
    assert device.model.name == "wrist"
    assert device.figures is None


def test_a_device_is_offline_with_its_last_will(devices: Devices) -> None:
    devices.say(A, birth(1))
    devices.say(A, birth(1, "offline"))
    assert state(devices) == "offline"
    assert 'tidegate_node_up{site="lab",node="a"} 0' in text(devices)
    devices.say(A, birth(1))
    assert state(devices) == "online"


@pytest.mark.parametrize("old", [1, 2])
def test_an_old_will_does_not_end_a_new_session(devices: Devices, old: int) -> None:
    """And the will of the same session does: else this test could not fail."""
    devices.say(A, birth(1))
    devices.say(A, birth(2))
    devices.say(A, birth(old, "offline"))
    assert state(devices) == ("online" if old == 1 else "offline")


def test_a_snapshot_shows_life_that_a_will_denied(devices: Devices) -> None:
    devices.say(A, birth(1, "offline"))
    devices.report(A, snapshot(3))
    assert state(devices) == "online"


def test_whose_clock_went_back_lives_all_the_same(devices: Devices) -> None:
    devices.say(A, birth(9))
    devices.report(A, snapshot(5, session=9))
    devices.say(A, birth(4))
    devices.report(A, snapshot(0, session=4))
    assert state(devices) == "online"
    assert (known(devices).session, known(devices).restarts) == (4, 1)


@pytest.mark.parametrize(("session", "sequence"), [(1, 9), (2, 4), (2, 5)])
def test_what_is_older_than_the_last_snapshot_is_refused(
    devices: Devices, session: int, sequence: int
) -> None:
    devices.report(A, snapshot(5, session=2))
    with pytest.raises(Refused, match="stale"):
        devices.report(A, snapshot(sequence, session=session))
    devices.report(A, snapshot(6, session=2))
    devices.report(A, snapshot(0, session=3))


@pytest.mark.parametrize(("late", "expected"), [(0.0, "online"), (0.1, "silent")])
def test_series_vanish_after_three_missed_intervals(
    devices: Devices, clock: Clock, late: float, expected: State
) -> None:
    devices.say(A, birth())
    devices.report(A, snapshot(0))
    clock.now += MISSED * EVERY + late
    devices.tidy()
    assert state(devices) == expected
    assert ("tidegate_samples_total{" in text(devices)) == (expected == "online")
    assert (f'tidegate_node_up{{site="lab",node="a"}} {expected == "online":d}') in text(devices)
    assert devices.series() == (40 if expected == "online" else 0)
    assert (known(devices).figures is None) == (expected == "silent")


def test_a_device_that_sends_no_snapshots_is_not_silent(devices: Devices, clock: Clock) -> None:
    devices.say(A, birth())
    clock.now += 3600
    assert state(devices) == "online"


def test_who_is_silent_for_long_is_forgotten(devices: Devices, clock: Clock) -> None:
    devices.report(A, snapshot(0))
    clock.now += FORGET
    devices.tidy()
    assert state(devices) == "silent"
    clock.now += 1
    devices.tidy()
    assert devices.table() == []


def test_a_status_that_is_cleared_takes_the_device_away(devices: Devices) -> None:
    devices.say(A, birth(1, "offline"))
    devices.say(A, None)
    devices.say(A, None)
    assert devices.table() == []


def test_who_leaves_is_told_of_however_it_leaves(clock: Clock) -> None:
    gone: list[Key] = []
    devices = Devices(max_nodes=1, max_series=100, clock=clock, forget=gone.append)
    devices.say(A, birth(state="offline"))
    devices.say(Key("lab", "b"), birth())
    devices.say(Key("lab", "b"), None)
    devices.say(Key("lab", "c"), birth())
    clock.now += FORGET + 1
    devices.tidy()
    assert gone == [A, ("lab", "b"), ("lab", "c")]


def test_figures_are_those_of_the_snapshot(devices: Devices) -> None:
    devices.report(A, snapshot(0, *sample(100)))
    figures = known(devices).figures
    assert figures is not None
    assert (figures.samples, figures.answered_by_edge, figures.answered_by_cloud) == (100, 75, 25)
    assert (figures.queued_results, figures.queued_age, figures.ground) == (2, 2.5, "")
    assert figures.epsilon != figures.epsilon, "NaN: it did not say"


def test_a_full_table_takes_no_more_but_for_who_is_offline(devices: Devices, clock: Clock) -> None:
    for number in range(100):
        clock.now += 1
        devices.say(Key("lab", f"n{number}"), birth())
    with pytest.raises(Refused, match="nodes"):
        devices.report(A, snapshot(0))
    for number in (7, 3):
        clock.now += 1
        devices.say(Key("lab", f"n{number}"), birth(state="offline"))
    devices.report(A, snapshot(0))
    assert len(devices.table()) == 100
    assert state(devices, Key("lab", "n7")) is None, "who is offline for longest"
    assert state(devices, Key("lab", "n3")) == "offline"
    assert state(devices) == "online"


def test_a_device_has_only_so_many_series(devices: Devices) -> None:
    many = tuple(gauge(f"tidegate_mine_{number}", 1) for number in range(90))
    assert devices.report(A, snapshot(0, *sample(1), *many)) == 30
    assert (known(devices).series, known(devices).refused_series) == (100, 30)
    assert devices.series() == 100


def test_labels_that_always_change_run_out_for_the_day(devices: Devices, clock: Clock) -> None:
    """Each is a new series to Prometheus, though never more than one stands on /metrics at a time."""
    refused = [
        devices.report(A, snapshot(number, gauge("tidegate_mine", 1, run=str(number))))
        for number in range(300)
    ]
    assert refused == [0] * 100 + [1] * 200
    clock.now += 86_401
    assert devices.report(A, snapshot(300, gauge("tidegate_mine", 1, run="300"))) == 0


def test_a_restart_takes_no_further_room(devices: Devices) -> None:
    refused = [devices.report(A, snapshot(0, *sample(1), session=number)) for number in range(50)]
    assert not any(refused)


def test_100_000_hostile_devices(clock: Clock) -> None:
    """Each says that it is new, online, and has as many series as a message holds."""
    devices = Devices(max_nodes=50, max_series=100, clock=clock)
    devices.report(A, snapshot(0))
    refused = 0
    found = snapshot(0, *(gauge(f"tidegate_x_{number}", 1) for number in range(200)))
    for number in range(100_000):
        try:
            devices.say(Key("evil", f"n{number}"), birth())
            devices.report(Key("evil", f"n{number}"), found)
        except Refused:
            refused += 1
    assert refused == 100_000 - 49
    assert len(devices.table()) == 50
    assert devices.series() == 49 * 100 + 40
    assert state(devices) == "online", "who was there stays"


def test_100_000_hostile_devices_that_come_and_go(clock: Clock) -> None:
    devices = Devices(max_nodes=50, max_series=100, clock=clock)
    devices.report(A, snapshot(0))
    for number in range(100_000):
        devices.say(Key("evil", f"n{number}"), birth(state="offline"))
    assert len(devices.table()) == 50
    assert state(devices) == "online"


def test_a_name_that_stands_for_two_kinds(devices: Devices) -> None:
    """A device cannot take a name away from the others by calling it something else."""
    devices.report(Key("lab", "evil"), snapshot(0, gauge("tidegate_inference_duration_seconds", 1)))
    for node in "ab":
        devices.report(Key("lab", node), snapshot(0))
    shown = text(devices)
    assert "# TYPE tidegate_inference_duration_seconds histogram" in shown
    assert shown.count("# TYPE tidegate_inference_duration_seconds ") == 1
    assert 'node="evil"} 1\n' not in shown.partition("tidegate_inference_duration_seconds")[2]


def test_lines_are_counted_as_they_are_shown(devices: Devices) -> None:
    devices.report(A, snapshot(0))
    assert sum(map(contract.lines, sample(0))) == 40
    assert sum('node="a"' in line for line in text(devices).splitlines()) == 40 + 2


def test_values_are_escaped(devices: Devices) -> None:
    devices.report(A, snapshot(0, counter("tidegate_mine_total", 1, label='a"\\é{}')))
    assert 'tidegate_mine_total{site="lab",node="a",label="a\\"\\\\é{}"} 1' in text(devices)

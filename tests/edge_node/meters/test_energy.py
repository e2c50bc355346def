"""Joules, from a tree of files like that of the kernel's, and from constants where there is none."""

from functools import partial
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter

from edge_node.config import Energy
from edge_node.errors import NodeError
from edge_node.meters import sensors
from edge_node.meters.energy import CONSTANTS, Constants, Device, EnergyMeter, Estimate, Radio

PI = Device(idle=2.0, core=1.0)
LTE = Radio(up=1e-6, down=1e-7, base=1.0, rate_up=1e6, rate_down=1e7, tail=0.5, tail_seconds=10.0)


class Clock:
    """Time, and whatever else grows, as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rapl_tree(root: Path, **microjoules: int) -> None:
    for name, value in microjoules.items():
        package = root / "class/powercap" / name.replace("_", ":").replace("rapl", "intel-rapl")
        package.mkdir(parents=True, exist_ok=True)
        (package / "energy_uj").write_text(f"{value}\n")
        (package / "max_energy_range_uj").write_text("1000000\n")


def ina_tree(root: Path, chip: str, **files: object) -> Path:
    folder = root / f"class/hwmon/hwmon{len([*root.glob('class/hwmon/*')])}"
    folder.mkdir(parents=True)
    for name, value in {"name": chip, **files}.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def metered(root: Path, settings: Energy | None = None) -> tuple[EnergyMeter, CollectorRegistry]:
    registry = CollectorRegistry()
    counter = Counter("joules", "Energy.", ["source", "part"], registry=registry)
    return EnergyMeter(settings or Energy(), counter, lambda: (0.0, 0.0), root), registry


def joules(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (it.labels["source"], it.labels["part"]): it.value
        for family in registry.collect()
        for it in family.samples
        if it.name == "joules_total"
    }


def test_rapl_counts_packages_once_and_past_the_end_of_their_range(tmp_path: Path) -> None:
    rapl_tree(tmp_path, rapl_0=900_000, rapl_1=900_000, rapl_0_0=900_000)
    sensor = sensors.find(tmp_path)
    assert sensor
    rapl_tree(tmp_path, rapl_0=950_000, rapl_1=100_000, rapl_0_0=0)
    assert sensor.part == "processor"
    assert sensor.spent() == pytest.approx(0.05 + 0.2)
    assert sensor.spent() == pytest.approx(0.05 + 0.2)


def test_a_board_sensor_is_integrated_between_readings(tmp_path: Path) -> None:
    chip, clock = ina_tree(tmp_path, "ina226", power1_input=2_000_000), Clock()
    sensor = sensors.ina(tmp_path / "class/hwmon", clock)
    assert sensor
    clock.now = 3.0
    (chip / "power1_input").write_text("4000000")
    assert sensor.spent() == pytest.approx(3 * (2 + 4) / 2)
    clock.now = 4.0
    assert sensor.spent() == pytest.approx(9 + 4)


def test_the_supply_of_a_jetson_is_volts_times_amperes(tmp_path: Path) -> None:
    rails = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 600}
    rails |= {"in2_label": "VDD_CPU_GPU_CV", "in2_input": 5000, "curr2_input": 9000}
    ina_tree(tmp_path, "ina3221", **rails)
    clock = Clock()
    sensor = sensors.ina(tmp_path / "class/hwmon", clock)
    assert sensor
    clock.now = 2.0
    assert sensor.spent() == pytest.approx(2 * 3.0)


def test_the_board_comes_before_the_processor_and_the_supply_before_its_rails(tmp_path: Path) -> None:
    rapl_tree(tmp_path, rapl_0=0)
    ina_tree(tmp_path, "coretemp", power1_input=90_000_000)
    ina_tree(tmp_path, "ina219", power1_input=1_000_000)
    ina_tree(tmp_path, "ina219", power1_input=5_000_000)
    meter, _ = metered(tmp_path)
    assert isinstance(meter._sensor, sensors.Ina)
    assert meter._sensor._watts == 5.0


def test_a_sensor_makes_every_estimate_needless(tmp_path: Path) -> None:
    rapl_tree(tmp_path, rapl_0=0)
    meter, registry = metered(tmp_path, Energy(device="raspberry-pi-4", radio="lte"))
    rapl_tree(tmp_path, rapl_0=500_000)
    meter.look()
    assert joules(registry) == {("measured", "processor"): pytest.approx(0.5)}


def test_a_sensor_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    rapl_tree(tmp_path, rapl_0=0)
    meter, registry = metered(tmp_path)
    file = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    file.unlink()
    meter.look()
    file.write_text("700000")
    meter.look()
    assert joules(registry) == {("measured", "processor"): pytest.approx(0.7)}


def test_counters_that_this_user_may_not_read_are_none(tmp_path: Path) -> None:
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)  # also root cannot read it
    ina_tree(tmp_path, "ina219", power1_input="nothing")
    assert sensors.find(tmp_path) is None


def test_nothing_is_said_of_a_device_that_nobody_names(tmp_path: Path) -> None:
    meter, registry = metered(tmp_path, Energy(radio="wifi"))
    meter.look()
    assert meter.source is None
    assert joules(registry) == {}


def test_an_estimate_is_labelled_as_one(tmp_path: Path) -> None:
    _, registry = metered(tmp_path, Energy(device="raspberry-pi-4"))
    assert {source for source, _ in joules(registry)} == {"estimated"}


def test_a_device_tree_names_the_device(tmp_path: Path) -> None:
    model = tmp_path / "firmware/devicetree/base/model"
    model.parent.mkdir(parents=True)
    model.write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    meter, _ = metered(tmp_path)
    assert meter.source == "estimated"
    model.write_text("Another Computer\0")
    assert metered(tmp_path)[0].source is None


def test_a_device_is_its_idle_power_and_its_busy_cores() -> None:
    clock, busy = Clock(), Clock()
    estimate = Estimate(PI, None, lambda: (0.0, 0.0), clock, busy)
    clock.now, busy.now = 10.0, 4.0
    assert estimate.spent() == {"idle": 20.0, "compute": 4.0, "radio": 0.0}


def test_a_radio_pays_for_bits_for_being_active_and_for_its_tail() -> None:
    clock, sent = Clock(), Clock()
    estimate = Estimate(PI, LTE, lambda: (sent.now, 0.0), clock, Clock())
    clock.now, sent.now = 1.0, 12_500.0  # 100 000 bits take 0.1 s; the rest of the second is tail
    bits = 100_000 * LTE.up + 0.1 * LTE.base
    assert estimate.spent()["radio"] == pytest.approx(bits + 0.9 * LTE.tail)
    clock.now = 6.0
    assert estimate.spent()["radio"] == pytest.approx(bits + 5.9 * LTE.tail)
    clock.now = 100.0
    for _ in range(2):  # it ends ten seconds after the last byte
        assert estimate.spent()["radio"] == pytest.approx(bits + 10.9 * LTE.tail)


def test_the_model_says_what_its_paper_says() -> None:
    """15 KB at 6 Mbit/s: 37 mJ over an 802.11 radio of 2012, 78 mJ over LTE."""
    radios = msgspec.toml.decode(CONSTANTS.read_bytes(), type=Constants).radios
    for name, millijoules in (("wifi", 37), ("lte", 78)):
        clock, sent = Clock(), Clock()
        estimate = Estimate(PI, radios[name], partial(_sent, sent), clock, Clock())
        clock.now, sent.now = 0.02, 15_000.0
        assert estimate.spent()["radio"] == pytest.approx(millijoules / 1e3, rel=0.03)


def _sent(count: Clock) -> tuple[float, float]:
    return count.now, 0.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (Energy(device="abacus"), r"device: no 'abacus' in \S+energy.toml, which has raspberry-pi-3b, "),
        (Energy(radio="pigeon"), r"radio: no 'pigeon' in \S+energy.toml, which has lte, wifi$"),
        (Energy(constants=Path("absent")), "constants: absent: no such file or directory$"),
        (Energy(constants=Path("bad")), "constants: bad: .*version"),
        (Energy(constants=Path("worse")), "constants: worse: "),
    ],
)
def test_a_mistake_is_one_line(workplace: Path, tmp_path: Path, settings: Energy, problem: str) -> None:
    (workplace / "bad").write_text("[devices]")
    (workplace / "worse").write_text("[[[")
    with pytest.raises(NodeError, match=rf"^\[energy\] {problem}"):
        metered(tmp_path / "sys", settings)


def test_constants_of_ones_own_are_taken(workplace: Path, tmp_path: Path) -> None:
    (workplace / "own.toml").write_text("version = 7\n[devices.mine]\nidle = 1\ncore = 2\n")
    meter, _ = metered(tmp_path / "sys", Energy(device="mine", constants=Path("own.toml")))
    assert meter.source == "estimated"

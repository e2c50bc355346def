"""A fleet that its Prometheus cannot reach; ``python -m tests.benchmarks.bridge`` reports.

A real broker, the bridge behind a real ``/metrics``, and a real Prometheus; the devices are made up.
"""

import json
import random
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import isnan
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import msgspec
from paho.mqtt.client import Client

from cloud_server import metrics
from cloud_server.config import Metrics
from cloud_server.fleet.bridge import Bridge
from cloud_server.fleet.devices import Key
from cloud_server.fleet.history import HOUR, LATE
from cloud_server.metrics import Meter
from deploy.demo.broker import open_broker
from deploy.demo.processes import HOST, Child, wait_until
from protos import snapshot as contract
from protos.snapshot import Snapshot
from tests import mqtt
from tests.benchmarks import bridge_costs
from tests.benchmarks.table import Row, machine
from tests.cloud_server.fleet import bridges
from tests.cloud_server.fleet.sinks import value
from tests.cloud_server.fleet.snapshots import birth, sample, snapshot
from tests.ports import free_port
from tests.services import require

REPORT = Path(__file__).parents[2] / "docs/reports/bridge.md"
DEVICES, SPARE, CROWD = 1000, 50, 100_000
"""Devices that are known, places for more, and devices that nobody knows."""
EVERY, ROUNDS = 5.0, 24
"""Seconds between snapshots, a third of what nodes do; and how many each device sends."""
SILENT, RESTARTED = 100, 300
MOST = 200
"""Samples between two snapshots, at most."""
SPAN = f"{ROUNDS * EVERY:.0f}s"
STEPS = f"{SPAN}:{EVERY:.0f}s"
PATIENCE = 60.0

WORDS = f"""# Metrics of a fleet that its Prometheus cannot reach, as measured

`python -m tests.benchmarks.bridge` wrote this, on a machine that had other work.

## A snapshot

The {{lines}} series of a node that has answered 10,000 samples, as bytes of one message:

{{sizes}}

It is the compressed JSON that travels: msgpack is no smaller, and leaves less to compress. A choice of what
to send would have to be made anew for each dashboard.

## {DEVICES:,} devices of 40 series, {ROUNDS} snapshots each, one in {EVERY:.0f} s

{SILENT} of them fall silent half-way, without a last will. {RESTARTED} begin a new session at some time, and
count from zero. At the end {CROWD:,} devices that nobody knows send a birth message and a snapshot each.
Mosquitto, the bridge, and a Prometheus that scrapes it every {EVERY:.0f} s.

{{live}}

## What it costs

{DEVICES:,} devices, by the 40 series of the run above and by all that a node has; each in a process of its
own, without a broker.

{{costs}}

{{about}}
"""


@dataclass
class Device:
    """One that is made up, and what it did."""

    key: Key
    session: int = 1
    sequence: int = 0
    done: float = 0.0
    """Samples since its session began."""
    total: float = 0.0
    born: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        self.session, self.sequence, self.done, self.born = self.session + 1, 0, 0.0, time.monotonic()

    def payload(self, more: float) -> bytes:
        """The next snapshot, so many samples later."""
        self.sequence, self.done, self.total = self.sequence + 1, self.done + more, self.total + more
        uptime, found = time.monotonic() - self.born, sample(self.done)
        made = snapshot(self.sequence, *found, session=self.session, uptime=uptime, interval=EVERY)
        return contract.encode(made)


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, expression: str) -> float:
        """The one value that an expression has now; 0 if it has none."""
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{urlencode({'query': expression})}") as answer:
            found = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready"):
                return True
        except OSError:
            return False


def main() -> None:
    """Measure, and write the report."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        live = _live(stack, Path(folder))
    full = bridge_costs.full()
    words = WORDS.format(
        lines=sum(map(contract.lines, full.families)),
        sizes=_table(bridge_costs.sizes(full)),
        live=_table([{"": what, "found": found} for what, found in live.items()]),
        costs=_table([_apart(name, payload) for name, payload in (("40", snapshot(0)), ("all", full))]),
        about=", ".join(f"{name} {said}" for name, said in machine().items()),
    )
    REPORT.write_text(words)
    print(words)


def _apart(name: str, payload: Snapshot) -> dict[str, str]:
    """In a process that has not had the other's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(bridge_costs.costs, DEVICES, name, contract.encode(payload)).result()


def _live(stack: ExitStack, folder: Path) -> dict[str, str]:
    broker, meter = stack.enter_context(open_broker(folder)), Meter()
    settings = bridges.fleet(broker, "bench", max_nodes=DEVICES + SPARE)
    bridge = stack.enter_context(Bridge(settings, meter))
    port = stack.enter_context(metrics.serve(meter, Metrics(port=0)))
    assert wait_until(lambda: bridge.hearing, PATIENCE)
    prometheus = stack.enter_context(_prometheus(folder, port))
    client = stack.enter_context(mqtt.connected(mqtt.client(), broker))
    devices = [Device(Key("lab", f"n{number}")) for number in range(DEVICES)]
    vanished = _send(client, devices, bridge)
    time.sleep(EVERY)  # until the last are scraped
    scraped = _by_prometheus(prometheus)
    time.sleep(LATE + HOUR[0])  # until the last are in slots that are told of
    found = {
        **_by_the_history(bridge, devices),
        f"silent devices were gone after (three intervals: {3 * EVERY:.0f}), s": f"{vanished:.1f}",
        **scraped,
    }
    _send_crowd(client, meter)
    return found | _after_the_crowd(bridge, meter)


def _send(client: Client, devices: Sequence[Device], bridge: Bridge) -> float:
    """Snapshots of all devices, evenly in time; how long after the last of them the silent ones had gone."""
    chance, start, last, vanished = random.Random(SILENT), time.monotonic(), 0.0, 0.0
    for device in devices:
        client.publish(f"bench/lab/{device.key.node}/status", msgspec.json.encode(birth()), qos=1)
    restarts = {SILENT + number: chance.randrange(1, ROUNDS) for number in range(RESTARTED)}
    for turn in range(ROUNDS):
        for number, device in enumerate(devices):
            time.sleep(max(0.0, start + (turn + number / DEVICES) * EVERY - time.monotonic()))
            if last and not vanished and bridge.devices.counts()["silent"] == SILENT:
                vanished = time.monotonic() - last
            if number < SILENT and turn >= ROUNDS // 2:
                continue
            if restarts.get(number) == turn:
                device.restart()
            client.publish(f"bench/lab/{device.key.node}/metrics", device.payload(chance.randrange(MOST)))
            if (turn, number) == (ROUNDS // 2 - 1, SILENT - 1):
                last = time.monotonic()
    return vanished


def _by_the_history(bridge: Bridge, devices: Sequence[Device]) -> dict[str, str]:
    window = bridge.history.window(None, 3600)
    assert window is not None
    done = sum(device.total for device in devices)
    restarts = sum(device.restarts for device in bridge.devices.table())
    lowest = min(_rates(bridge, devices))
    counted = window.totals.counts["samples"]
    assert lowest >= 0
    assert abs(counted - done) < done / 1e4
    return {
        "restarts: true, in the device table": f"{RESTARTED}, {restarts}",
        "samples: true, in the history": f"{done:,.0f}, {counted:,.0f}",
        "lowest rate of anything in the history of any device": f"{lowest:.3g}",
    }


def _rates(bridge: Bridge, devices: Sequence[Device]) -> Iterator[float]:
    for device in devices:
        window = bridge.history.window(device.key, 3600)
        assert window is not None
        yield from (rate for rates in window.rates.values() for rate in rates if not isnan(rate))


def _by_prometheus(prometheus: Prometheus) -> dict[str, str]:
    rates = f'rate(tidegate_samples_total{{site="lab"}}[{4 * EVERY:.0f}s])'
    lowest, highest = (prometheus.ask(f"{it}_over_time({it}({rates})[{STEPS}])") for it in ("min", "max"))
    series = prometheus.ask(f'max_over_time(count({{site="lab"}})[{STEPS}])')
    scrape = prometheus.ask(f"max_over_time(scrape_duration_seconds[{SPAN}])")
    return {
        f"rates by Prometheus (0 to {MOST / EVERY:.0f}; it extrapolates)": f"{lowest:.1f} to {highest:.1f}",
        "series of devices in Prometheus, at most": f"{series:,.0f}",
        "its longest scrape, s": f"{scrape:.2f}",
    }


def _send_crowd(client: Client, meter: Meter) -> None:
    """As fast as the bridge hears them: Mosquitto would leave out what it cannot pass on."""
    for number in range(CROWD):
        client.publish(f"bench/evil/n{number}/status", msgspec.json.encode(birth()), qos=1)
        client.publish(f"bench/evil/n{number}/metrics", contract.encode(snapshot(0)), qos=1)
        if number % 500 == 499:
            expected = 2 * (number + 1 - SPARE)
            assert wait_until(lambda: _refused(meter) >= expected, PATIENCE), _refused(meter)  # noqa: B023


def _refused(meter: Meter) -> float:
    return value(meter, "tidegate_refused_reports_total", reason="nodes")


def _after_the_crowd(bridge: Bridge, meter: Meter) -> dict[str, str]:
    table = bridge.devices.table()
    known = sum(device.site == "lab" for device in table)
    assert (known, len(table)) == (DEVICES, DEVICES + SPARE)
    return {
        f"of {CROWD:,} unknown devices: taken": f"{SPARE}",
        "messages of the others: refused": f"{_refused(meter):,.0f}",
        "known devices that are still in the table": f"{known:,}",
    }


@contextmanager
def _prometheus(folder: Path, port: int) -> Iterator[Prometheus]:
    config = folder / "prometheus.yml"
    target = {"static_configs": [{"targets": [f"{HOST}:{port}"]}], "job_name": "cloud-server"}
    timing = {"scrape_interval": f"{EVERY:.0f}s", "scrape_timeout": f"{EVERY:.0f}s"}
    config.write_text(json.dumps({"global": timing, "scrape_configs": [target]}))  # YAML, too
    listen = f"{HOST}:{free_port()}"
    command: list[str | Path] = [
        require("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={listen}",
    ]
    with Child("prometheus", command, folder / "prometheus.log"):
        running = Prometheus(f"http://{listen}")
        assert wait_until(running.ready, PATIENCE)
        yield running


def _table(rows: Sequence[Row | Mapping[str, str]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()

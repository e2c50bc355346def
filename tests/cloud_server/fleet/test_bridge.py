"""From a node's registry over a real broker to the fleet's `/metrics`."""

import gzip
import signal
import subprocess
import urllib.request
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cloud_server import metrics
from cloud_server.config import Fleet, Metrics
from cloud_server.fleet.bridge import Bridge
from cloud_server.fleet.devices import Key
from cloud_server.metrics import Meter
from deploy.demo.broker import Broker, open_broker
from edge_node.node import EdgeNode
from protos import snapshot as contract
from protos.artifact import Artifact
from tests import mqtt
from tests.cloud_server.fleet import bridges
from tests.cloud_server.fleet.bridges import Series, bomb, bridging, of, shown
from tests.cloud_server.fleet.sinks import until, value
from tests.cloud_server.fleet.snapshots import A, birth, gauge, sample, snapshot
from tests.nodes import opened, settings, started, write_config
from tests.services import require

SURE = np.array([0, 5, 0], np.float32)
UP = "tidegate_node_up"
RESTLESS = ("process_", "tidegate_network_bytes")
"""They change while nothing happens."""


@pytest.fixture
def told(broker: Broker, root: str) -> Fleet:
    return bridges.fleet(broker, root)


def publish(broker: Broker, root: str, leaf: str, *payloads: bytes, node: str = "lab/a") -> None:
    with mqtt.connected(mqtt.client(), broker) as client:
        for payload in payloads:
            client.publish(f"{root}/{node}/{leaf}", payload, qos=1).wait_for_publish(mqtt.PATIENCE)


def sections(broker: Broker, root: str, every: float = 0.2) -> dict[str, dict[str, object]]:
    return {
        "mqtt": {"host": broker.host, "port": broker.port, "root": root},
        "metrics": {"port": 0, "snapshot": every},
    }


def counted(meter: Meter, samples: int) -> bool:
    return of(meter, "tidegate_samples_total", site="lab", node="a") == samples


def own(node: EdgeNode) -> dict[Series, float]:
    """What the node shows on its own `/metrics`, as the fleet would name it."""
    whose = {("site", "lab"), ("node", "a")}
    return {
        (it.name, frozenset({*it.labels.items(), *whose})): it.value
        for family in text_string_to_metric_families(generate_latest(node.meter.registry).decode())
        for it in family.samples
        if not it.name.endswith("_created")
    }


def differing(theirs: dict[Series, float], ours: dict[Series, float]) -> set[str]:
    """Names of the series that are not the same, but for those that change while nothing happens."""
    return {
        name
        for (name, labels), number in theirs.items()
        if not name.startswith(RESTLESS)
        and not np.array_equal(ours.get((name, labels), -1.0), number, equal_nan=True)
    }


def same(theirs: dict[Series, float], ours: dict[Series, float]) -> bool:
    return not differing(theirs, ours) and theirs.keys() <= ours.keys()


def test_the_fleet_shows_what_the_node_shows(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, told: Fleet
) -> None:
    with (
        mqtt.subscribed(broker, f"{root}/lab/a/result"),
        bridging(told) as (bridge, meter),
        opened(settings(tmp_path, artifact, **sections(broker, root, every=2))) as node,
    ):
        for _ in range(20):
            node.infer(SURE)
        until(lambda: same(own(node), shown(meter)) and counted(meter, 20))
        device = bridge.devices.get(A)
    assert device is not None
    assert device.model is not None
    assert (device.model.name, device.state) == (artifact.manifest.name, "online")


def test_prometheus_accepts_them(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, told: Fleet
) -> None:
    with bridging(told) as (_, meter), opened(settings(tmp_path, artifact, **sections(broker, root))) as node:
        node.infer(SURE)
        publish(broker, root, "metrics", contract.encode(snapshot(0, *sample(9))), node="lab/b")
        until(lambda: all(of(meter, UP, site="lab", node=name) == 1 for name in "ab") and counted(meter, 1))
        text = meter.exposition()
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_node_that_ends_is_offline_and_then_its_series_are_gone(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, end: signal.Signals
) -> None:
    told = bridges.fleet(broker, root)
    config = write_config(tmp_path, artifact, source={"kind": "stdin"}, **sections(broker, root))
    with bridging(told) as (bridge, meter), started(tmp_path, config) as node:
        until(lambda: counted(meter, 0) and of(meter, UP, site="lab", node="a") == 1)
        node.signal(end)
        node.wait()
        until(lambda: of(meter, UP, site="lab", node="a") == 0)
        until(lambda: of(meter, "tidegate_samples_total", site="lab", node="a") is None)
        (device,) = bridge.devices.table()
        until(lambda: value(meter, "tidegate_fleet_nodes", state="offline") == 1)
        until(lambda: value(meter, "tidegate_fleet_series") == 0)
    assert device.state == "offline"


def test_who_listens_later_hears_who_is_there(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, told: Fleet
) -> None:
    with (
        opened(settings(tmp_path, artifact, **sections(broker, root, every=0))),
        bridging(told) as (bridge, _),
    ):
        until(lambda: bridge.devices.counts()["online"] == 1)
    with bridging(told) as (bridge, _):
        until(lambda: bridge.devices.counts()["offline"] == 1)
        mqtt.publish(broker, f"{root}/lab/a/status", b"", retain=True)
        until(lambda: not bridge.devices.table())


def test_a_restart_of_a_node_is_seen(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, told: Fleet
) -> None:
    with bridging(told) as (bridge, meter):
        for samples in (30, 40):
            with opened(settings(tmp_path, artifact, **sections(broker, root))) as node:
                for _ in range(samples):
                    node.infer(SURE)
                until(partial(counted, meter, samples))
        (device,) = bridge.devices.table()
        assert device.restarts == 1
        day = bridge.history._tracks[A].rings[1]
        assert day._counts[:, 1].sum() == pytest.approx(70, rel=1e-3), "both sessions, though 40 is above 30"


def test_the_bridge_comes_back_after_its_broker(tmp_path: Path, root: str) -> None:
    with open_broker(tmp_path) as broker, bridging(bridges.fleet(broker, root)) as (bridge, meter):
        mqtt.kill(broker)
        until(lambda: value(meter, "tidegate_bridge_connected") == 0)
        mqtt.restart(broker)
        until(lambda: value(meter, "tidegate_bridge_connected") == 1)
        publish(broker, root, "metrics", contract.encode(snapshot(0)))
        until(lambda: bridge.devices.counts()["online"] == 1)


HOSTILE = {
    "malformed": [b"", b"\xff" * 50, bomb(), b"x" * 70_000, b"[" * 1000],
    "topic": [contract.encode(snapshot(0))],
    "stale": [contract.encode(snapshot(0))] * 2,
    "nodes": [contract.encode(snapshot(0))],
}


def test_what_is_refused_is_counted_and_said_once(
    broker: Broker, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    with bridging(bridges.fleet(broker, root, max_nodes=1, max_series=50)) as (bridge, meter):
        publish(broker, root, "metrics", contract.encode(snapshot(5)))
        publish(broker, root, "metrics", *HOSTILE["malformed"])
        publish(broker, root, "status", b"{}", b"[" * 10_000, b"online")
        publish(broker, root, "metrics", *HOSTILE["stale"])
        publish(broker, root, "metrics", *HOSTILE["topic"], node="l b/a")
        publish(broker, root, "metrics", *HOSTILE["topic"], node='lab/a"} 1')
        publish(broker, root, "metrics", *HOSTILE["nodes"], node="lab/b")
        many = (gauge(f"tidegate_mine_{number}", 1) for number in range(100))
        publish(broker, root, "metrics", contract.encode(snapshot(6, *sample(0), *many)))
        until(lambda: value(meter, "tidegate_refused_series_total") == 90)
        refused = {
            reason: value(meter, "tidegate_refused_reports_total", reason=reason) for reason in HOSTILE
        }
        assert refused == {"malformed": 8, "topic": 2, "stale": 2, "nodes": 1}
        assert value(meter, "tidegate_snapshots_total") == 2
        assert [device.series for device in bridge.devices.table()] == [50]
        until(lambda: value(meter, "tidegate_fleet_series") == 50)
    assert sum("refused" in record.message for record in caplog.records) == 6, "topic and reason, each once"


def test_one_scrape_over_http(broker: Broker, root: str, told: Fleet) -> None:
    with bridging(told) as (_, meter), metrics.serve(meter, Metrics(port=0)) as port:
        publish(broker, root, "metrics", contract.encode(snapshot(0)))
        until(lambda: of(meter, UP, site="lab", node="a") == 1)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"}
        )
        with urllib.request.urlopen(request, timeout=mqtt.PATIENCE) as answer:
            text = gzip.decompress(answer.read()).decode()
    assert 'tidegate_samples_total{site="lab",node="a"} 0' in text
    assert "# TYPE tidegate_requests_total counter" in text


def test_families_that_both_have_stand_in_one_place(broker: Broker, root: str, told: Fleet) -> None:
    with bridging(told) as (_, meter):
        mine = gauge("tidegate_build_info", 1, version="0.0.1"), gauge("tidegate_store_lag_seconds", 1)
        publish(broker, root, "metrics", contract.encode(snapshot(0, *mine)))
        until(lambda: of(meter, "tidegate_build_info", site="lab", node="a", version="0.0.1") == 1)
        text = meter.exposition().decode()
    assert text.count("# TYPE tidegate_build_info gauge") == 1
    _, _, rest = text.partition("# TYPE tidegate_build_info gauge\n")
    family, _, _ = rest.partition("#")
    assert family.count("\n") == 2
    assert "tidegate_store_lag_seconds{" not in text, "here that is a histogram"


def test_a_crowd_over_the_broker(broker: Broker, root: str, caplog: pytest.LogCaptureFixture) -> None:
    """Many devices, more than there is room for, and one that was there."""
    with bridging(bridges.fleet(broker, root, max_nodes=50)) as (bridge, meter):
        publish(broker, root, "metrics", contract.encode(snapshot(0)))
        until(lambda: bridge.devices.get(A) is not None)
        with mqtt.connected(mqtt.client(), broker) as client:
            for number in range(500):
                client.publish(f"{root}/evil/n{number}/metrics", contract.encode(snapshot(0)), qos=1)
            client.publish(f"{root}/lab/a/metrics", contract.encode(snapshot(1))).wait_for_publish(
                mqtt.PATIENCE
            )
            until(lambda: value(meter, "tidegate_refused_reports_total", reason="nodes") == 451)
        assert len(bridge.devices.table()) == 50
        assert bridge.devices.series() == 50 * 40
        assert bridge.devices.get(A) is not None
        assert bridge.devices.get(Key("evil", "n499")) is None
    assert sum("refused" in record.message for record in caplog.records) < 50, "the log is not theirs to fill"


def test_memory_is_bounded_by_the_table(told: Fleet) -> None:
    """Strangers that say something and leave, each making room for the next."""
    bridge = Bridge(told, Meter())
    leave = msgspec.json.encode(birth(state="offline"))
    for number in range(1000):
        bridge._read(f"{told.mqtt.root}/evil/n{number}/metrics", contract.encode(snapshot(0)))
        bridge._read(f"{told.mqtt.root}/evil/n{number}/status", leave)
    assert len(bridge.devices.table()) == len(bridge.history._tracks) == told.max_nodes


def test_without_a_bridge_nothing_is_added() -> None:
    meter = Meter()
    assert UP not in meter.exposition().decode()

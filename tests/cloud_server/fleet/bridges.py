"""Bridges in this process."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from cloud_server.config import Fleet, Mqtt
from cloud_server.fleet.bridge import Bridge
from cloud_server.metrics import Meter
from deploy.demo.broker import Broker
from tests.cloud_server.fleet.sinks import until, value

Series = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels."""


def fleet(broker: Broker, root: str, *, max_nodes: int = 100, max_series: int = 500) -> Fleet:
    told = Mqtt(host=broker.host, port=broker.port, root=root, client_id=f"{root}-fleet")
    return Fleet(mqtt=told, max_nodes=max_nodes, max_series=max_series)


@contextmanager
def bridging(settings: Fleet) -> Iterator[tuple[Bridge, Meter]]:
    """A bridge that has its subscriptions."""
    meter = Meter()
    with Bridge(settings, meter) as bridge:
        until(lambda: value(meter, "tidegate_bridge_connected") == 1)
        yield bridge, meter


def shown(meter: Meter) -> dict[Series, float]:
    """Every series on `/metrics`, each once."""
    found = [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(meter.exposition().decode())
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found), "a series stands there twice"
    return dict(found)


def of(meter: Meter, name: str, **labels: str) -> float | None:
    """The value of one series; None if there is none."""
    return shown(meter).get((name, frozenset(labels.items())))


def bomb() -> bytes:
    return zlib.compress(b" " * 50_000_000)

"""What a snapshot takes on the wire, and the bridge to keep and to show a thousand of them."""

import gzip
import random
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from prometheus_client import generate_latest

from cloud_server.fleet import exposition
from cloud_server.fleet.devices import Devices, Key
from cloud_server.fleet.history import History
from cloud_server.metrics import Meter as ServerMeter
from edge_node.broker.snapshot import Snapshots
from edge_node.gate.ground import Ground
from edge_node.metrics import STAGES, Meter
from protos import snapshot as contract
from protos.result import Reason
from protos.snapshot import Snapshot

ANSWERED = 10_000
SLOTS = 6
"""Rounds of snapshots that are timed."""
TIMES = 9
T = TypeVar("T")


def meter() -> Meter:
    """That of a node that has answered 10,000 samples with a certificate and a cloud."""
    made, chance = Meter(), random.Random(7)
    made.model.info({"name": "wrist", "version": "3", "precision": "int8", "sha256": "0123456789abcdef" * 4})
    for ground in Ground:
        made.standing.labels(ground).set(ground is Ground.VALID)
    for gauge, labels in (
        (made.audits, ("answered", "missing")),
        (made.disagreement, ("estimate", "low", "high", "worst")),
        (made.stream_disagreement, ("estimate", "error", "worst")),
        (made.cloud_only_quantiles, ("p50", "p99")),
    ):
        for label in labels:
            gauge.labels(label).set(chance.random())
    for _ in range(ANSWERED):
        seconds = chance.expovariate(100)
        made.samples.inc()
        made.edge(chance.random(), seconds / 10, seconds / 2, seconds, 3000)
        route, reason = ("edge", Reason.CONFIDENT) if chance.random() < 0.8 else ("cloud", Reason.CLOUD)
        made.result(route, reason, seconds)
        made.stage[chance.choice(STAGES)].observe(seconds)
    return made


def full() -> Snapshot:
    """Everything that it says."""
    return contract.decode(Snapshots(meter().registry, time.time_ns() // 1000, 15.0).make())


def sizes(snapshot: Snapshot) -> list[dict[str, str]]:
    """Bytes by form."""
    forms = {
        "JSON": msgspec.json.encode(snapshot),
        "msgpack": msgspec.msgpack.encode(snapshot),
        "text of `/metrics`": generate_latest(meter().registry),
    }
    return [
        {"form": name, "plain": f"{len(text):,}", "zlib": f"{len(zlib.compress(text)):,}"}
        for name, text in forms.items()
    ]


def costs(count: int, name: str, payload: bytes) -> dict[str, str]:
    """Of so many devices that say this."""
    devices, history, before = Devices(count, 1000), History(), _resident()
    first, busy = contract.decode(payload).sequence, time.process_time()
    for sequence in range(SLOTS):
        for key in _keys(count):
            found = msgspec.structs.replace(contract.decode(payload), sequence=first + sequence)
            devices.report(key, found)
            history.take(key, found)
    busy = time.process_time() - busy
    own = ServerMeter().exposition()
    scrape, text = _timed(lambda: exposition.merge(own, devices.blocks()))
    zipped, packed = _timed(lambda: gzip.compress(text, 1))
    window, _ = _timed(lambda: history.window(None, 3600))
    return {
        "series of a device": name,
        "CPU of a snapshot, ms": f"{busy / count / SLOTS * 1e3:.2f}",
        "`/metrics`: series": f"{devices.series():,}",
        "ms": f"{scrape * 1e3:.0f}",
        "gzip, ms": f"{zipped * 1e3:.0f}",
        "MB": f"{len(text) / 1e6:.1f}",
        "MB, gzip": f"{len(packed) / 1e6:.2f}",
        "an hour of the history, ms": f"{window * 1e3:.1f}",
        "memory, MB": f"{(_resident() - before) / 1e6:.0f}",
    }


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, the median of a few, and what came of it."""
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        made = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), made


def _keys(count: int) -> Iterator[Key]:
    return (Key("lab", f"n{number}") for number in range(count))


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

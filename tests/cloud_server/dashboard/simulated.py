"""A fleet that is made up: real device table and history, fed with snapshots that nobody measured."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud_server.fleet.devices import Devices, Key
from cloud_server.fleet.history import History
from protos.buckets import DURATION_BUCKETS
from protos.snapshot import Amounts, Counter, Family, Gauge, Histogram, Reading, Readings, Snapshot, Spread
from protos.status import Gate, Model, Status, Versions

GROUNDS = ("valid", "none", "mismatch", "drift", "labels", "expired", "budget", "unserved")
SITES = ("harbour", "north-mill", "quarry", "depot-2", "greenhouse", "line-7", "ferry", "tunnel")
Buckets = NDArray[np.float64]
"""(buckets,) of how many fell into each."""
FLEET = 7
"""Seed of all that is random here."""

_INPUT = 1_620.0
"""Bytes of an input as it travels, framing included."""
_ANSWER = 260.0
"""Of its answer."""
_EDGES = np.array([0.0, *DURATION_BUCKETS, math.inf])


class Clock:
    """Monotonic seconds that pass only when told to; the latest is now."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


@dataclass
class Node:
    """One device and what it has counted."""

    key: Key
    rate: float
    offload: float
    cloud: float
    """Median latency of its cloud, in seconds."""
    ground: str = "valid"
    trouble: str = ""
    model: Model = field(
        default_factory=lambda: Model(name="wrist-motion", version="3", precision="int8", sha256="6b1f0a92c4")
    )
    counts: dict[str, float] = field(default_factory=dict)
    edge_buckets: Buckets = field(default_factory=lambda: np.zeros(len(DURATION_BUCKETS) + 1))
    cloud_buckets: Buckets = field(default_factory=lambda: np.zeros(len(DURATION_BUCKETS) + 1))
    alone_buckets: Buckets = field(default_factory=lambda: np.zeros(len(DURATION_BUCKETS) + 1))
    sequence: int = 0
    queued: float = 0.0

    def run(self, at: float, seconds: float, random: np.random.Generator) -> None:
        """So many seconds of work, up to that moment."""
        samples = random.poisson(self.rate * seconds)
        tide = 1 + 0.35 * math.sin(at / 900) + 0.15 * math.sin(at / 170 + self.rate)
        unsure = random.binomial(samples, min(0.95, self.offload * tide))
        failed = random.binomial(unsure, 0.9 if self.trouble == "circuit" else 0.006)
        kept, answered = samples - unsure, unsure - failed
        for name, amount in (
            ("samples", samples),
            ("confident", kept),
            ("cloud", answered),
            ("circuit_open" if self.trouble == "circuit" else "cloud_timeout", failed),
            ("grpc_sent", answered * _INPUT),
            ("grpc_received", answered * _ANSWER),
            ("all_sent", samples * _INPUT),
            ("all_received", samples * _ANSWER),
            ("dropped", random.poisson(0.4) if self.trouble == "dropped" else 0),
        ):
            self.counts[name] = self.counts.get(name, 0.0) + float(amount)
        self.edge_buckets += _latencies(0.00055, 0.45, kept + failed, random)
        self.alone_buckets += _latencies(0.0005, 0.45, samples, random)
        self.cloud_buckets += _latencies(self.cloud * (0.9 + 0.2 * tide), 0.16, answered, random)
        growing = self.trouble in {"outbox", "dropped"}
        self.queued = self.queued + samples if growing else float(random.poisson(self.rate * 0.4))

    def snapshot(self, uptime: float, interval: float) -> Snapshot:
        self.sequence += 1
        return Snapshot(
            session=1,
            sequence=self.sequence,
            uptime=uptime,
            interval=interval,
            families=tuple(self._families(uptime)),
        )

    def birth(self) -> Status:
        return Status(
            schema="tidegate.status/1",
            state="online",
            session=1,
            versions=Versions(tidegate="0.1.0", python="3.11.2"),
            model=self.model,
            gate=Gate(policy="certified", temperature=1.4, threshold=0.83),
        )

    def _families(self, uptime: float) -> Iterator[Family]:
        count = self.counts.get
        reasons = [it for it in ("confident", "cloud", "cloud_timeout", "circuit_open") if it in self.counts]
        yield Counter("tidegate_samples_total", (), (Amounts((), count("samples", 0.0)),))
        yield Counter(
            "tidegate_results_total",
            ("route", "reason"),
            tuple(Amounts(("cloud" if it == "cloud" else "edge", it), count(it, 0.0)) for it in reasons),
        )
        yield _histogram(
            "tidegate_inference_duration_seconds", {"edge": self.edge_buckets, "cloud": self.cloud_buckets}
        )
        yield _histogram("tidegate_edge_only_duration_seconds", {"": self.alone_buckets})
        yield Counter(
            "tidegate_network_bytes_total",
            ("transport", "direction"),
            tuple(Amounts(("grpc", it), count(f"grpc_{it}", 0.0)) for it in ("sent", "received")),
        )
        yield Counter(
            "tidegate_cloud_only_network_bytes_total",
            ("direction",),
            tuple(Amounts((it,), count(f"all_{it}", 0.0)) for it in ("sent", "received")),
        )
        yield Counter(
            "tidegate_dropped_results_total", ("reason",), (Amounts(("rows",), count("dropped", 0.0)),)
        )
        yield from self._gauges(uptime)

    def _gauges(self, uptime: float) -> Iterator[Gauge]:
        late = self.trouble in {"outbox", "dropped"}
        plain: Mapping[str, Reading] = {
            "tidegate_queued_results": self.queued,
            "tidegate_queued_result_bytes": self.queued * 610,
            "tidegate_queued_result_age_seconds": uptime * 0.6 if late else 0.4,
            "tidegate_deferrals_in_flight": 1.0,
            "tidegate_circuit_state": 2.0 if self.trouble == "circuit" else 0.0,
            "tidegate_gate_threshold": 0.83,
            "tidegate_certificate_epsilon": "NaN" if self.ground == "none" else 0.02,
            "tidegate_certificate_delta": "NaN" if self.ground == "none" else 0.05,
            "tidegate_certificate_offload_ratio": "NaN" if self.ground == "none" else 0.26,
            "tidegate_certificate_risk": "NaN" if self.ground == "none" else 0.0182,
            "tidegate_audit_evidence": 1200.0 if self.ground == "drift" else 0.7,
            "tidegate_cloud_only_latency_seconds": self.cloud,
            "process_resident_memory_bytes": 61e6,
        }
        for name, value in plain.items():
            yield Gauge(name, (), (Readings((), value),))
        yield _gauge(
            "tidegate_cloud_only_latency_quantile_seconds", "at", {"p50": self.cloud, "p99": 1.5 * self.cloud}
        )
        wrong = 0.06 if self.ground == "drift" else 0.012
        bounds = {"estimate": wrong, "low": wrong * 0.6, "high": wrong * 1.5}
        yield _gauge("tidegate_disagreement_ratio", "bound", bounds)
        yield _gauge("tidegate_stream_disagreement_ratio", "bound", {"estimate": wrong * 0.75})
        yield _gauge(
            "tidegate_certificate_standing",
            "ground",
            {it: float(it == self.ground) for it in (*GROUNDS, self.ground)},
        )


@dataclass(frozen=True)
class MadeUp:
    """What a served fleet offers to the page."""

    devices: Devices
    history: History
    hearing: Callable[[], bool] = lambda: True
    broker: str = "127.0.0.1:1883"


@dataclass(frozen=True)
class Simulation:
    """A fleet, and the way to let time pass."""

    fleet: MadeUp
    nodes: list[Node]
    clock: Clock
    random: np.random.Generator
    started: float

    def tick(self, seconds: float, *, interval: float) -> None:
        """Time passes, and every device that lives says what it did in it."""
        self.clock.now += seconds
        uptime = self.clock.now - self.started
        for node in self.nodes:
            if node.trouble == "silent" and uptime > 300:
                continue
            node.run(self.clock.now, seconds, self.random)
            snapshot = node.snapshot(uptime, interval)
            self.fleet.devices.report(node.key, snapshot)
            self.fleet.history.take(node.key, snapshot)


def simulate(devices: int, seconds: float, *, interval: float = 15.0, healthy: bool = False) -> Simulation:
    """A fleet that has run for so long, up to now; of ten devices one has some trouble, unless `healthy`."""
    clock, random = Clock(time.monotonic() - seconds), np.random.default_rng(FLEET)
    nodes = [_node(number, devices, random, healthy=healthy) for number in range(devices)]
    fleet = MadeUp(Devices(2 * devices + 10, 2000, clock), History(clock))
    simulation = Simulation(fleet, nodes, clock, random, clock.now)
    for node in nodes:
        fleet.devices.say(node.key, node.birth())
    for _ in range(round(seconds / interval)):
        simulation.tick(interval, interval=interval)
    for node in nodes:
        if node.trouble == "offline":
            fleet.devices.say(node.key, Status(schema="tidegate.status/1", state="offline", session=1))
    return simulation


def _node(number: int, devices: int, random: np.random.Generator, *, healthy: bool) -> Node:
    troubles = {
        3: "silent",
        13: "circuit",
        23: "outbox",
        33: "dropped",
        43: "offline",
        53: "drift",
        63: "none",
    }
    trouble = "" if healthy else troubles.get(number % 70, "")
    site = SITES[number * len(SITES) // max(devices, len(SITES)) % len(SITES)]
    node = Node(
        key=Key(site, f"cam-{number:03d}"),
        rate=float(random.uniform(2, 9)),
        offload=float(random.uniform(0.16, 0.34)),
        cloud=float(random.uniform(0.06, 0.09)),
        trouble=trouble,
        ground={"drift": "drift", "none": "none", "circuit": "unserved"}.get(trouble, "valid"),
    )
    if number % 70 == 8 and not healthy:
        node.model = Model(name="wrist-motion", version="3", precision="int8", sha256="ffee0011aa")
    return node


def _latencies(median: float, sigma: float, count: int, random: np.random.Generator) -> Buckets:
    """(buckets,) of lognormal latencies."""
    found = np.histogram(random.lognormal(math.log(median), sigma, count), _EDGES)[0]
    return found.astype(np.float64)


def _histogram(name: str, routes: Mapping[str, Buckets]) -> Histogram:
    """By route, unless there is one without a name."""
    spreads = tuple(Spread((it,) if it else (), tuple(found.tolist()), 1.0) for it, found in routes.items())
    return Histogram(name, ("route",) if all(routes) else (), spreads, DURATION_BUCKETS)


def _gauge(name: str, label: str, values: Mapping[str, float]) -> Gauge:
    return Gauge(name, (label,), tuple(Readings((key,), value) for key, value in values.items()))

"""Snapshots of devices that were never built, and a clock that goes when it is told to."""

from typing import Any

from cloud_server.fleet.devices import Key
from protos.buckets import DURATION_BUCKETS
from protos.snapshot import Amounts, Counter, Family, Gauge, Histogram, Readings, Snapshot, Spread
from protos.status import Model, Status

A = Key("lab", "a")
EVERY = 15.0
"""Seconds between snapshots."""


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def birth(session: int = 1, state: Any = "online") -> Status:
    return Status(schema="tidegate.status/1", state=state, session=session, model=Model(name="wrist"))


def snapshot(
    sequence: int, *families: Family, session: int = 1, uptime: float = 0.0, interval: float = EVERY
) -> Snapshot:
    return Snapshot(
        session=session, sequence=sequence, uptime=uptime, interval=interval, families=families or sample(0)
    )


def counter(name: str, value: float, **labels: str) -> Counter:
    return Counter(name, tuple(labels), (Amounts(tuple(labels.values()), value),))


def gauge(name: str, value: float, **labels: str) -> Gauge:
    return Gauge(name, tuple(labels), (Readings(tuple(labels.values()), value),))


def sample(done: float) -> tuple[Family, ...]:
    """40 lines of a device that has answered so many: three in four itself, in 8 ms, the rest in 60 ms."""
    edge, cloud = done * 0.75, done * 0.25
    return (
        counter("tidegate_samples_total", done),
        Counter(
            "tidegate_results_total",
            ("route", "reason"),
            (Amounts(("edge", "confident"), edge), Amounts(("cloud", "cloud"), cloud)),
        ),
        Histogram(
            "tidegate_inference_duration_seconds",
            ("route",),
            (
                Spread(("edge",), bucket(0.01, edge), edge * 0.008),
                Spread(("cloud",), bucket(0.1, cloud), cloud * 0.06),
            ),
            DURATION_BUCKETS,
        ),
        gauge("tidegate_queued_results", done % 7),
        gauge("tidegate_queued_result_age_seconds", 2.5),
        gauge("tidegate_circuit_state", 0),
    )


def bucket(bound: float, count: float) -> tuple[float, ...]:
    """All in the bucket up to this bound."""
    return tuple(count if upper == bound else 0.0 for upper in (*DURATION_BUCKETS, None))

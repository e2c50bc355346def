"""Every metric of the server, in one table. Base units; ratios and rates are left to PromQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)

from cloud_server.config import Metrics
from cloud_server.listening import require_free
from protos.buckets import DURATION_BUCKETS


class Meter:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "tidegate_requests", "Calls answered, by gRPC status.", ["method", "code"], registry=registry
        )
        self.durations = Histogram(
            "tidegate_request_duration_seconds",
            "From a thread taking the call to its answer.",
            ["method"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge("tidegate_requests_in_flight", "Calls being answered.", registry=registry)
        self.payload = Counter(
            "tidegate_request_payload_bytes",
            "Bytes of gRPC messages, without framing.",
            ["direction"],
            registry=registry,
        )
        self.inference = Histogram(
            "tidegate_model_inference_duration_seconds",
            "One run of the model itself.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.stored = Counter(
            "tidegate_stored_results", "Results stored, each for the first time.", registry=registry
        )
        self.duplicates = Counter(
            "tidegate_duplicate_results", "Results that were stored already.", registry=registry
        )
        self.refused = Counter(
            "tidegate_refused_results", "Messages that are no results.", ["reason"], registry=registry
        )
        self.missing = Gauge(
            "tidegate_missing_results",
            "Numbers that will never come, as far as the whole store knows.",
            registry=registry,
        )
        self.nodes = Gauge("tidegate_nodes", "Nodes that the store has results of.", registry=registry)
        self.lag = Histogram(
            "tidegate_store_lag_seconds",
            "From capture to storage, by the clocks of two machines; without what waited for the broker.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.transactions = Histogram(
            "tidegate_store_transaction_duration_seconds",
            "One transaction, of one or many results.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.store_up = Gauge(
            "tidegate_store_up", "1 while the database takes what comes.", registry=registry
        )
        self.broker_connected = Gauge(
            "tidegate_fleet_broker_connected", "1 while results can come.", registry=registry
        )
        self.model = Info("tidegate_model", "A model that is served.", ["name"], registry=registry)
        self.build = Info("tidegate_build", "This software.", registry=registry)
        self.build.info({"version": version("tidegate")})
        self.received = self.payload.labels("received")
        self.sent = self.payload.labels("sent")

    def announce(self, name: str, version: str, precision: str, sha256: str) -> None:
        """Say which model is served."""
        self.model.labels(name).info({"version": version, "precision": precision, "sha256": sha256})


@contextmanager
def serve(meter: Meter, settings: Metrics) -> Iterator[int]:
    """``/metrics`` over HTTP while inside; gives the port. ``ListenError`` if it cannot listen."""
    require_free("metrics", settings.host, settings.port)
    server, thread = start_http_server(settings.port, settings.host, meter.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

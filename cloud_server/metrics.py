"""Every metric of the server, in one table. Base units; ratios and rates are left to PromQL."""

import gzip
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from cloud_server.config import Metrics
from cloud_server.listening import require_free
from protos.buckets import DURATION_BUCKETS
from protos.tally import Histogram, Refreshing, Tally

_Gauge = partial(Gauge, multiprocess_mode="livesum")
"""One of which each worker has a part, while it lives."""
BATCH_BUCKETS = tuple(float(2**power) for power in range(8))
SHED = ("expired", "gone", "late", "queue", "rate", "streams")
"""Why a request is not run: its time is over; its caller gave up; its turn would come too late for it; the
queue is full, or too long for most who call; its caller asks too often; too many streams are open."""
REFUSED = (
    "bad_certificate",
    "bad_token",
    "control",
    "expired",
    "handshake",
    "model",
    "no_certificate",
    "no_token",
    "nobody",
)
"""Why a caller is refused; of those whom gRPC refuses in the handshake it tells nobody."""


class Called(Struct, frozen=True):
    """A call that was answered, one way or another."""

    method: str
    received: int
    """Bytes."""
    sent: int
    seconds: float


class Inside:
    """How many calls are inside."""

    def __init__(self) -> None:
        self._calls, self._lock = 0, Lock()

    def __len__(self) -> int:
        return self._calls

    def __enter__(self) -> None:
        with self._lock:
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._calls -= 1


class Meter:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._refreshing = Refreshing(registry)
        self._called = Tally(self._count_calls)
        self.called = self._called.note
        """Counts a ``Called``."""
        self.inside = Inside()
        self.under_way: list[Sized] = [self.inside]
        """Where calls are that have come and are not answered yet."""
        self.before_scrape(self._called.count)
        self.before_scrape(lambda: self.in_flight.set(sum(map(len, self.under_way))))
        ProcessCollector(registry=registry)
        self._make_calls(registry)
        self._make_models(registry)
        self._make_store(registry)
        self._make_nodes(registry)
        self.request_of = cache(self.requests.labels)
        self._extend: Callable[[bytes], bytes] | None = None
        self.shown: Collector = registry
        """What is exposed: this process, or this one and its workers."""

    def _make_calls(self, registry: CollectorRegistry) -> None:
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
        self.in_flight = _Gauge(
            "tidegate_requests_in_flight", "Calls that have come and are not answered yet.", registry=registry
        )
        self.payload = Counter(
            "tidegate_request_payload_bytes",
            "Bytes of gRPC messages, without framing.",
            ["direction"],
            registry=registry,
        )
        self.network = Counter(
            "tidegate_network_bytes",
            "Bytes that crossed the sockets, by the kernel's count: framing and TLS included.",
            ["transport", "direction"],
            registry=registry,
        )
        self.certificate_expiry = _Gauge(
            "tidegate_tls_certificate_expiry_timestamp_seconds",
            "When this server's own certificate for a transport expires. NaN without one.",
            ["transport"],
            registry=registry,
        )
        self.handshakes = Counter(
            "tidegate_tls_handshakes",
            "TLS handshakes begun, whatever became of them.",
            ["transport"],
            registry=registry,
        )
        self.refused_callers = Counter(
            "tidegate_refused_callers",
            "Calls refused for who made them, and over HTTP failed handshakes, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSED:
            self.refused_callers.labels(reason)
        self.received = self.payload.labels("received")
        self.sent = self.payload.labels("sent")

    def _make_models(self, registry: CollectorRegistry) -> None:
        self.stages = Histogram(
            "tidegate_request_stage_duration_seconds",
            "Where the time of an answered request goes: reading it, waiting, the model, writing.",
            ["model", "stage"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "tidegate_batch_size", "Samples in one run.", ["model"], buckets=BATCH_BUCKETS, registry=registry
        )
        self.batch_limit = Gauge(
            "tidegate_batch_limit",
            "Samples that share a run at most, by what has paid so far.",
            ["model"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.shed = Counter(
            "tidegate_shed_requests", "Requests refused before they ran.", ["reason"], registry=registry
        )
        self.inference = Histogram(
            "tidegate_model_inference_duration_seconds",
            "One run of the model itself.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.workers = _Gauge("tidegate_workers", "Processes that answer calls.", registry=registry)
        self.restarts = Counter(
            "tidegate_worker_restarts", "Workers that ended unasked, and were replaced.", registry=registry
        )
        self.shed_by = {reason: self.shed.labels(reason) for reason in SHED}
        self.model = Info("tidegate_model", "A model that is served.", ["name"], registry=registry)
        self.build = Info("tidegate_build", "This software.", registry=registry)
        self.build.info({"version": version("tidegate")})

    def _make_store(self, registry: CollectorRegistry) -> None:
        self.stored = Counter(
            "tidegate_stored_results", "Results stored, each for the first time.", registry=registry
        )
        self.duplicates = Counter(
            "tidegate_duplicate_results", "Results that were stored already.", registry=registry
        )
        self.refused = Counter(
            "tidegate_refused_results", "Messages that are no results.", ["reason"], registry=registry
        )
        self.missing = _Gauge(
            "tidegate_missing_results",
            "Numbers that will never come, as far as the whole store knows.",
            registry=registry,
        )
        self.nodes = _Gauge("tidegate_nodes", "Nodes that the store has results of.", registry=registry)
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
        self.store_up = _Gauge(
            "tidegate_store_up", "1 while the database takes what comes.", registry=registry
        )
        self.broker_connected = _Gauge(
            "tidegate_fleet_broker_connected", "1 while results can come.", registry=registry
        )

    def _make_nodes(self, registry: CollectorRegistry) -> None:
        self.bridge_connected = _Gauge(
            "tidegate_bridge_connected", "1 while metrics of nodes can come.", registry=registry
        )
        self.snapshots = Counter(
            "tidegate_snapshots", "Snapshots of nodes' metrics taken.", registry=registry
        )
        self.refused_reports = Counter(
            "tidegate_refused_reports",
            "Snapshots and status messages not taken.",
            ["reason"],
            registry=registry,
        )
        self.refused_series = Counter(
            "tidegate_refused_series",
            "Series left out of snapshots, as their node has too many: counted in each.",
            registry=registry,
        )
        self.devices = _Gauge(
            "tidegate_fleet_nodes",
            "Nodes by birth, last will and snapshots: online, silent or offline.",
            ["state"],
            registry=registry,
        )
        self.device_series = _Gauge(
            "tidegate_fleet_series", "Series of nodes that are shown here.", registry=registry
        )

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Call this each time that the metrics are read, before they are."""
        self._refreshing.calls.append(refresh)

    def tally(self) -> None:
        """Count what was noted."""
        self._refreshing.refresh()

    def answered(self, model: str, spent: Mapping[str, Sequence[float]]) -> None:
        """Requests to a model: the seconds of each by stage."""
        for stage, seconds in spent.items():
            self.stages.labels(model, stage).observe_all(seconds)

    def ran(self, model: str, samples: Sequence[int], seconds: Sequence[float], limit: int) -> None:
        """Runs of a model; ``limit``: samples that may share one from now on."""
        self.batch_size.labels(model).observe_all(samples)
        self.inference.labels(model).observe_all(seconds)
        self.batch_limit.labels(model).set(limit)

    def _count_calls(self, calls: Sequence[Called]) -> None:
        self.received.inc(sum(it.received for it in calls))
        self.sent.inc(sum(it.sent for it in calls))
        seconds = defaultdict[str, list[float]](list)
        for call in calls:
            seconds[call.method].append(call.seconds)
        for method, each in seconds.items():
            self.durations.labels(method).observe_all(each)

    def beside(self, extend: Callable[[bytes], bytes]) -> None:
        """What is shown from now on is what this makes of our own text."""
        self._extend = extend

    def exposition(self) -> bytes:
        """The text of ``/metrics``."""
        own = generate_latest(self.shown)
        return self._extend(own) if self._extend else own

    def announce(self, name: str, version: str, precision: str, sha256: str) -> None:
        """Say which model is served."""
        self.inference.labels(name)
        self.model.labels(name).info({"version": version, "precision": precision, "sha256": sha256})

    def withdraw(self, name: str) -> None:
        """Say that a model is served no more."""
        self.model.remove(name)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each scrape."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, handler)


class _Handler(WSGIRequestHandler):
    """One that does not log every scrape."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(meter: Meter, settings: Metrics) -> Iterator[int]:
    """``/metrics`` over HTTP while inside; gives the port. ``ListenError`` if it cannot listen."""
    require_free("metrics", settings.host, settings.port)
    server = make_server(settings.host, settings.port, partial(_answer, meter), _Server, _Handler)
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(meter: Meter, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Prometheus asks for gzip, which makes a twentieth of the metrics of a large fleet."""
    body, headers = meter.exposition(), [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")]
    if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
        body = gzip.compress(body, 1)
        headers.append(("Content-Encoding", "gzip"))
    start_response("200 OK", headers)
    return [body]

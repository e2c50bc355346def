"""Every metric of a node, in one table. Base units; ratios and rates are left to PromQL."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from itertools import count
from math import nan
from threading import Event, Lock

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.metrics import MetricWrapperBase

from edge_node.config import Metrics
from edge_node.errors import PortInUse
from protos.artifact import Artifact
from protos.buckets import DURATION_BUCKETS
from protos.result import Reason
from protos.tally import Refreshing

CONFIDENCE_BUCKETS = tuple(step / 20 for step in range(1, 21))
ROUTES = ("edge", "cloud")
STAGES = ("preprocess", "predict", "publish", "cloud", "network", "cloud_queue", "cloud_compute")
"""``cloud`` is a whole call, all attempts included; the last three are where an answered one spent its time,
as far as the server says."""
TRANSPORTS = ("grpc", "mqtt")
DIRECTIONS = ("sent", "received")
AT_ONCE = 50
"""Notes that are counted without a pause for a sample."""
DROPS = ("rows", "bytes", "age", "disk", "corrupt", "oversize", "refused")
"""Why a result was given up: one of three bounds, the disk, damage, or the broker's limits or refusal."""


class Meter:
    """The metrics of one node, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._refreshing = Refreshing(registry)
        self._noted: deque[Callable[[], None]] = deque()
        """What samples tell, until it is counted, a second later at most."""
        self._tallying = Lock()
        self.before_scrape(self.tally)
        self.unrest = Event()
        """Set by who knows that a connection comes or goes: its bytes are counted by looking."""
        ProcessCollector(registry=registry)
        for make in (
            self._make_path,
            self._make_traffic,
            self._make_outbox,
            self._make_promise,
            self._make_audit,
            self._make_cloud_only,
            self._make_facts,
        ):
            make(registry)
        self._bind()

    def _make_path(self, registry: CollectorRegistry) -> None:
        self.samples = Counter("tidegate_samples", "Samples taken from the source.", registry=registry)
        self.results = Counter(
            "tidegate_results", "Results made, one a sample.", ["route", "reason"], registry=registry
        )
        self.durations = Histogram(
            "tidegate_inference_duration_seconds",
            "From capture to result, by who answered.",
            ["route"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.edge_only = Histogram(
            "tidegate_edge_only_duration_seconds",
            "From capture to the edge's answer, published or not: what a node without a cloud would take.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.stages = Histogram(
            "tidegate_stage_duration_seconds",
            "Time of one stage of a sample's path; cloud is made of network, cloud_queue and cloud_compute.",
            ["stage"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.confidence = Histogram(
            "tidegate_confidence",
            "Confidence by who says it: the edge of every sample, the cloud of those it answered.",
            ["route"],
            buckets=CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "tidegate_deferrals_in_flight", "Calls to the cloud under way.", registry=registry
        )
        self.circuit_state = Gauge(
            "tidegate_circuit_state",
            "The way to the cloud: 0 closed, 1 half-open, 2 open.",
            registry=registry,
        )
        self.cloud_retries = Counter(
            "tidegate_cloud_retries", "Further attempts at a call to the cloud.", registry=registry
        )
        self.held_inputs = Gauge(
            "tidegate_held_inputs", "Inputs that wait for the cloud's word.", registry=registry
        )
        self.held_bytes = Gauge("tidegate_held_bytes", "Size of the inputs that wait.", registry=registry)

    def _make_traffic(self, registry: CollectorRegistry) -> None:
        self.network = Counter(
            "tidegate_network_bytes",
            "Bytes that crossed the sockets, by the kernel's count: framing and TLS included.",
            ["transport", "direction"],
            registry=registry,
        )
        self.cloud_only_network = Counter(
            "tidegate_cloud_only_network_bytes",
            "Bytes that gRPC's sockets would have carried with every sample sent: its own payload,"
            " and framing and answer as measured on the calls made.",
            ["direction"],
            registry=registry,
        )
        self.cloud_payload = Counter(
            "tidegate_cloud_payload_bytes",
            "Bytes of tensors and images sent to the cloud, and of its answers: what budgets count.",
            ["direction"],
            registry=registry,
        )
        self.cloud_only_payload = Counter(
            "tidegate_cloud_only_payload_bytes",
            "Bytes of tensors and images, of every sample whether sent or not.",
            registry=registry,
        )

    def _make_outbox(self, registry: CollectorRegistry) -> None:
        self.queued = Gauge("tidegate_queued_results", "Results not yet acknowledged.", registry=registry)
        self.queued_bytes = Gauge("tidegate_queued_result_bytes", "Size of those results.", registry=registry)
        self.queued_age = Gauge(
            "tidegate_queued_result_age_seconds", "Age of the oldest of them, in uptime.", registry=registry
        )
        self.dropped_results = Counter(
            "tidegate_dropped_results", "Results lost on the way out.", ["reason"], registry=registry
        )
        self.recoveries = Counter(
            "tidegate_outbox_recoveries",
            "Times that the outbox was found damaged, and was built anew of what could be read.",
            registry=registry,
        )
        self.dropped_samples = Counter(
            "tidegate_dropped_samples", "Sensor messages lost before the model.", registry=registry
        )
        self.connected = Gauge("tidegate_mqtt_connected", "1 while the broker is there.", registry=registry)

    def _make_promise(self, registry: CollectorRegistry) -> None:
        self.standing = Gauge(
            "tidegate_certificate_standing",
            "1 at the ground on which the certificate's promise stands (valid) or does not, 0 at the others.",
            ["ground"],
            registry=registry,
        )
        self.epsilon = Gauge(
            "tidegate_certificate_epsilon",
            "Certified bound of the promise: what accuracy may be lost. NaN without a certificate.",
            registry=registry,
        )
        self.delta = Gauge(
            "tidegate_certificate_delta", "Probability that the certificate is wrong.", registry=registry
        )
        self.certified_offload = Gauge(
            "tidegate_certificate_offload_ratio", "Share of samples that was sent on CERT.", registry=registry
        )
        self.risk = Gauge(
            "tidegate_certificate_risk",
            "Upper bound of what is lost, unserved deferrals included.",
            registry=registry,
        )
        self.suspicion = Gauge(
            "tidegate_audit_evidence", "E-value against the certificate: 1000 is an alarm.", registry=registry
        )
        self.to_detect = Gauge(
            "tidegate_audit_detection_audits",
            "Audits that it takes, about, to notice that disagreement has doubled.",
            registry=registry,
        )
        self.nonfinite = Counter(
            "tidegate_nonfinite_logits", "Samples whose logits held NaN or infinity.", registry=registry
        )
        self.threshold = Gauge(
            "tidegate_gate_threshold", "Score from which the edge is trusted now.", registry=registry
        )

    def _make_audit(self, registry: CollectorRegistry) -> None:
        self.audit_share = Gauge(
            "tidegate_audit_share_ratio", "Share of the samples that is audited now.", registry=registry
        )
        self.audits = Gauge(
            "tidegate_audits", "Audits since the certificate's restart.", ["outcome"], registry=registry
        )
        self.disagreement = Gauge(
            "tidegate_disagreement_ratio",
            "Share of the kept samples on which the cloud would have said something else, by audit.",
            ["bound"],
            registry=registry,
        )
        self.stream_disagreement = Gauge(
            "tidegate_stream_disagreement_ratio",
            "Share of all samples that were kept and differ: no accuracy is lost or won beyond it.",
            ["bound"],
            registry=registry,
        )
        self.labelled_drop = Gauge(
            "tidegate_labelled_drop_ratio",
            "Accuracy that is lost to the cloud, by late labels of watched samples. NaN until there are any.",
            registry=registry,
        )
        self.gain = Gauge(
            "tidegate_offload_gain_ratio",
            "Answers put right by an offload below the certified threshold, less those spoilt, a sample.",
            registry=registry,
        )
        self.late_labels = Counter(
            "tidegate_labels",
            "Late labels, by what became of them: of a remembered sample, of an unknown one, unreadable.",
            ["outcome"],
            registry=registry,
        )

    def _make_cloud_only(self, registry: CollectorRegistry) -> None:
        self.cloud_only_seconds = Gauge(
            "tidegate_cloud_only_latency_seconds",
            "Mean latency of a cloud that answers every sample, estimated. NaN until it is known.",
            registry=registry,
        )
        self.cloud_only_quantiles = Gauge(
            "tidegate_cloud_only_latency_quantile_seconds",
            "Quantiles of that latency; NaN while too few samples tell, infinite where it would not answer.",
            ["at"],
            registry=registry,
        )
        self.cloud_only_bytes = Gauge(
            "tidegate_cloud_only_sample_bytes",
            "Mean payload of a sample in such a cloud, estimated.",
            registry=registry,
        )
        self.cloud_only_effective = Gauge(
            "tidegate_cloud_only_effective_samples",
            "How many equally likely samples would say as much as those behind the two estimates.",
            registry=registry,
        )

    def _make_facts(self, registry: CollectorRegistry) -> None:
        self.energy = Counter(
            "tidegate_energy_joules",
            "Energy by a sensor of this machine (measured), or by constants of the device (estimated).",
            ["source", "part"],
            registry=registry,
        )
        self.clock_skew = Gauge(
            "tidegate_clock_skew_seconds",
            "How far this node's clock is ahead of the cloud server's. NaN until that says the time.",
            registry=registry,
        )
        self.clock_skew_error = Gauge(
            "tidegate_clock_skew_error_seconds", "The most that it may be off.", registry=registry
        )
        self.certificate_expiry = Gauge(
            "tidegate_tls_certificate_expiry_timestamp_seconds",
            "When this node's own certificate for a transport expires. NaN without one.",
            ["transport"],
            registry=registry,
        )
        self.model = Info("tidegate_model", "The edge model.", registry=registry)
        self.build = Info("tidegate_build", "This software.", registry=registry)
        self.build.info({"version": version("tidegate")})

    def _bind(self) -> None:
        """Look labels up once: every series exists from the start, and the hot path only adds."""
        self.results_by = {
            (route, why): self.results.labels(route, why) for route in ROUTES for why in Reason
        }
        self.duration = {route: self.durations.labels(route) for route in ROUTES}
        self.stage = {stage: self.stages.labels(stage) for stage in STAGES}
        self.labels = {
            outcome: self.late_labels.labels(outcome) for outcome in ("used", "unknown", "invalid")
        }
        self.confidences = {route: self.confidence.labels(route) for route in ROUTES}
        for gauge in (self.clock_skew, self.clock_skew_error):
            gauge.set(nan)
        for direction in DIRECTIONS:
            self.cloud_only_network.labels(direction)
            for transport in TRANSPORTS:
                self.network.labels(transport, direction)
        self.sent = self.cloud_payload.labels("sent")
        self.received = self.cloud_payload.labels("received")
        self.dropped = {reason: self.dropped_results.labels(reason) for reason in DROPS}

    def sample(self) -> None:
        """One sample was taken from the source."""
        self._noted.append(self.samples.inc)

    def edge(
        self, confidence: float, preprocess: float, predict: float, elapsed: float, payload: int
    ) -> None:
        """One pass of the edge model: seconds by stage and since capture, bytes that the cloud would get."""
        self._noted.append(partial(self._count_edge, confidence, preprocess, predict, elapsed, payload))

    def result(self, route: str, reason: Reason, seconds: float) -> None:
        """One result, ``seconds`` after its sample's capture."""
        self._noted.append(partial(self._count_result, route, reason, seconds))

    def tally(self) -> None:
        """Count what was noted: whoever reads the metrics waits for it, and no sample does."""
        with self._tallying, suppress(IndexError):
            for number in count(1):
                self._noted.popleft()()
                if not number % AT_ONCE:
                    os.sched_yield()  # lets a sample go first

    def _count_edge(
        self, confidence: float, preprocess: float, predict: float, elapsed: float, payload: int
    ) -> None:
        self.confidences["edge"].observe(confidence)
        if not confidence:
            self.nonfinite.inc()
        self.stage["preprocess"].observe(preprocess)
        self.stage["predict"].observe(predict)
        self.edge_only.observe(elapsed)
        self.cloud_only_payload.inc(payload)

    def _count_result(self, route: str, reason: Reason, seconds: float) -> None:
        self.results_by[route, reason].inc()
        self.duration[route].observe(seconds)

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Call this each time that the metrics are read, before they are."""
        self._refreshing.calls.append(refresh)

    def describe(self, artifact: Artifact) -> None:
        """Say which model runs."""
        manifest = artifact.manifest
        self.model.info(
            {
                "name": manifest.name,
                "version": manifest.version,
                "precision": manifest.precision,
                "sha256": artifact.sha256,
            }
        )


def amount(metric: MetricWrapperBase) -> float:
    """What one series of a counter or gauge says; of a histogram, how many observations."""
    samples = next(iter(metric.collect())).samples
    return next(it.value for it in samples if not it.name.endswith(("_bucket", "_sum", "_created")))


@contextmanager
def serve(meter: Meter, settings: Metrics) -> Iterator[int]:
    """``/metrics`` over HTTP while inside; gives the port. ``PortInUse`` if it cannot listen."""
    try:
        server, thread = start_http_server(settings.port, settings.host, meter.registry)
    except OSError as error:
        raise PortInUse(settings.host, settings.port, (error.strerror or str(error)).lower()) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

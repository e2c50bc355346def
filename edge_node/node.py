"""The composition root: opens everything a node is made of, in one ``with``."""

import logging
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from edge_node import config
from edge_node.choice import recall
from edge_node.config import EdgeConfig
from edge_node.connection import Connection
from edge_node.courier import Courier
from edge_node.errors import NodeError
from edge_node.fallback import CloudFallback, NoFallback
from edge_node.gate.assemble import buckets, oversee
from edge_node.gate.confidence import ConfidenceGate
from edge_node.gate.exposure import expose
from edge_node.gate.policy import make_gate
from edge_node.identity import Identity
from edge_node.metrics import Meter, serve
from edge_node.model import EdgeModel
from edge_node.mqtt_publisher import MqttPublisher
from edge_node.outbox import Outbox, folder
from edge_node.pipeline import Pipeline
from edge_node.preprocess import for_manifest
from edge_node.publisher import NoPublisher, Publisher
from edge_node.sample import Sample
from edge_node.snapshot import Snapshots
from edge_node.sources import Source, open_source, resume
from protos import artifact
from protos.codec import Tensor
from protos.result import Result

NO_DEADLINE = 0.0
"""Nothing waits where there is no cloud."""

log = logging.getLogger(__name__)


class EdgeNode:
    """A running node. ``with EdgeNode.open(config) as node: node.infer(array)``."""

    def __init__(self, pipeline: Pipeline, source: Source | None, meter: Meter) -> None:
        self._pipeline, self._source = pipeline, source
        self.meter = meter
        self.busy_since: float | None = None
        """When work on the present sample of ``run`` began, by ``time.monotonic()``."""

    @classmethod
    @contextmanager
    def open(
        cls, settings: EdgeConfig | str | Path, publisher: Publisher | None = None
    ) -> Iterator["EdgeNode"]:
        """A node from its settings or their file. On leaving, calls in flight end and results are sent.

        Without ``[mqtt]`` results go to ``publisher``, if there is one. ``NodeError``,
        ``SettingsError`` or ``ArtifactError`` says why a node cannot start.
        """
        if not isinstance(settings, EdgeConfig):
            settings = config.load(Path(settings))
        model = EdgeModel(recall(artifact.load(settings.model.path)), settings.model.threads)
        meter = Meter()
        meter.describe(model.artifact)
        gate = make_gate(settings.gate, model.artifact)
        preprocess = for_manifest(model.artifact.manifest)
        cloud: CloudFallback | NoFallback = NoFallback()
        if settings.cloud:
            allowance = buckets(settings.budget.bytes_per_day, settings.budget.bytes_per_second)
            cloud = CloudFallback(settings.cloud, model.artifact, meter, allowance)
        oversight = oversee(settings, model.artifact, gate, lambda: cloud.blocked)
        meter.before_scrape(lambda: expose(oversight, meter))
        with ExitStack() as stack:
            identity, connection, outbox = Identity(settings.node), None, None
            if settings.mqtt:
                outbox = stack.enter_context(Outbox(settings.outbox, folder(settings), meter))
                identity = Identity(settings.node, outbox.session, outbox.stream)
                birth = birth_message(model, settings.gate.policy, gate)
                birth |= {"stream": outbox.stream, "confirm": settings.outbox.confirm}
                connection = Connection(settings.mqtt, identity, birth, meter)
                publisher = MqttPublisher(connection, outbox, settings.outbox, meter)
                if every := settings.metrics.snapshot:
                    snapshots = Snapshots(meter.registry, identity.session, every)
                    connection.report(connection.topic("metrics"), every, snapshots.make)
            source = open_source(settings.source, connection, meter)
            if outbox:
                resume(source, outbox)
            port = stack.enter_context(serve(meter, settings.metrics))
            log.info("metrics on http://%s:%d/metrics", settings.metrics.host, port)
            stack.enter_context(cloud)
            if connection:
                stack.enter_context(connection)
            stack.callback(cloud.drain)  # while the connection still stands for the results
            deadline = settings.cloud.deadline if settings.cloud else NO_DEADLINE
            sink, first = publisher or NoPublisher(), outbox.next_seq if outbox else 0
            courier = Courier(outbox, cloud, model.artifact.sha256)
            promises = courier if settings.cloud and settings.cloud.delivery == "provisional" else None
            pipeline = Pipeline(
                identity, preprocess, model, gate, oversight, cloud, sink, meter, deadline, promises, first
            )
            if promises or (outbox and outbox.held(1)):
                courier.carry(pipeline.correct)
                stack.enter_context(courier)
            yield cls(pipeline, source, meter)

    def infer(self, data: Tensor | bytes, name: str = "") -> Result:
        """The result of one sample: an array, or an encoded image. Waits for the cloud where it has to."""
        answers: SimpleQueue[Result] = SimpleQueue()
        self._pipeline.process(Sample(name, data), answers.put, patient=True)
        return answers.get()

    def run(self, stop: Event) -> None:
        """Answer the samples of the source until it ends or ``stop`` is set."""
        if self._source is None:
            raise NodeError("there is nothing to run on: set a section [source]")
        for sample in self._source.samples(stop):
            self.busy_since = time.monotonic()
            self._pipeline.process(sample, patient=not self._source.live)
            self.busy_since = None
            if stop.is_set():
                return


def birth_message(model: EdgeModel, policy: str, gate: ConfidenceGate) -> dict[str, object]:
    """What a node says of itself when it comes online."""
    manifest = model.artifact.manifest
    return {
        "versions": {"tidegate": version("tidegate"), "python": platform.python_version()},
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": model.artifact.sha256,
            "threads": model.threads,
        },
        "gate": {"policy": policy, "temperature": gate.temperature, "threshold": gate.threshold},
    }

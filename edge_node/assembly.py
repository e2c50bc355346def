"""The parts of a node, each opened in the order in which they need each other."""

import logging
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from edge_node.broker.connection import Connection
from edge_node.broker.labels import Labels
from edge_node.broker.publisher import MqttPublisher
from edge_node.broker.snapshot import Snapshots
from edge_node.choice import recall
from edge_node.config import EdgeConfig, Mqtt
from edge_node.courier import Courier
from edge_node.fallback import CloudFallback, NoFallback
from edge_node.gate.assemble import buckets, oversee
from edge_node.gate.exposure import expose
from edge_node.gate.oversight import Oversight
from edge_node.gate.policy import make_gate
from edge_node.gate.standing import Standing, State
from edge_node.identity import Identity
from edge_node.meters.running import running
from edge_node.metrics import Meter, serve
from edge_node.model import EdgeModel
from edge_node.outbox import Outbox, folder
from edge_node.pipeline import Pipeline
from edge_node.preprocess import for_manifest
from edge_node.publisher import NoPublisher, Publisher
from edge_node.sources import open_source, resume
from edge_node.state import Saved
from protos import artifact

NO_DEADLINE = 0.0
"""Nothing waits where there is no cloud."""
STANDING = "standing.json"
"""Beside the outbox: what the certificate's standing has learnt."""

log = logging.getLogger(__name__)


class Assembly:
    """Everything a node is made of; what has to be closed is on ``stack``.

    ``NodeError``, ``SettingsError`` or ``ArtifactError`` says why a node cannot start.
    """

    def __init__(self, settings: EdgeConfig, publisher: Publisher | None, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self.model = EdgeModel(recall(artifact.load(settings.model.path)), settings.model.threads)
        self.meter = Meter()
        self.meter.describe(self.model.artifact)
        self.gate = make_gate(settings.gate, self.model.artifact)
        self.cloud = self._make_cloud()
        self.oversight = oversee(settings, self.model.artifact, self.gate, lambda: self.cloud.blocked)
        self.meter.before_scrape(lambda: expose(self.oversight, self.meter))
        self.preprocess = for_manifest(self.model.artifact.manifest)
        self.identity = Identity(settings.node)
        self.publisher = publisher or NoPublisher()
        self.outbox: Outbox | None = None
        self.connection: Connection | None = None
        if settings.mqtt:
            self._join(settings.mqtt)
        self.source = open_source(settings.source, self.connection, self.meter)
        if self.outbox:
            resume(self.source, self.outbox)
        self.pipeline = self._open()

    def _make_cloud(self) -> CloudFallback | NoFallback:
        settings = self._settings
        if settings.cloud is None:
            return NoFallback()
        allowance = buckets(settings.budget.bytes_per_day, settings.budget.bytes_per_second)
        return CloudFallback(settings.cloud, self.model.artifact, self.meter, allowance)

    def _join(self, mqtt: Mqtt) -> None:
        """Publish by way of an outbox; report metrics, hear of labels."""
        settings = self._settings
        self.outbox = outbox = self._stack.enter_context(
            Outbox(settings.outbox, folder(settings), self.meter)
        )
        self.identity = identity = Identity(settings.node, outbox.session, outbox.stream)
        self._remember_standing()
        self.connection = connection = Connection(mqtt, identity, self._birth, self.meter)
        self.publisher = MqttPublisher(connection, outbox, settings.outbox, self.meter)
        labels = Labels(self.oversight, self.model.artifact.manifest.labels, self.meter)
        connection.listen(connection.topic("label"), labels.take)
        if every := settings.metrics.snapshot:
            snapshots = Snapshots(self.meter.registry, identity.session, every)
            connection.report(connection.topic("metrics"), every, snapshots.make)

    def _remember_standing(self) -> None:
        standing = self.oversight.standing
        if not isinstance(standing, Standing):
            return
        saved = Saved(folder(self._settings) / STANDING, State)
        if (state := saved.load()) and standing.resume(state):
            log.info("certificate: its standing is %s, as before", standing.ground)
        self.oversight.keep(lambda: saved.save(standing.state()))
        self._stack.callback(lambda: saved.save(standing.state()))

    def _open(self) -> Pipeline:
        port = self._stack.enter_context(serve(self.meter, self._settings.metrics))
        log.info("metrics on http://%s:%d/metrics", self._settings.metrics.host, port)
        self._stack.enter_context(running(self._settings, self.meter))
        self._stack.enter_context(self.cloud)
        if self.connection:
            self._stack.enter_context(self.connection)
        self._stack.callback(self.cloud.drain)  # while the connection still stands for the results
        cloud = self._settings.cloud
        courier = Courier(self.outbox, self.cloud, self.model.artifact.sha256)
        promises = courier if cloud and cloud.delivery == "provisional" else None
        pipeline = Pipeline(
            self.identity,
            self.preprocess,
            self.model,
            self.gate,
            self.oversight,
            self.cloud,
            self.publisher,
            self.meter,
            cloud.deadline if cloud else NO_DEADLINE,
            promises,
            self.outbox.next_seq if self.outbox else 0,
        )
        if promises or (self.outbox and self.outbox.held(1)):
            courier.carry(pipeline.correct)
            self._stack.enter_context(courier)
        return pipeline

    def _birth(self) -> dict[str, Any]:
        """What a node says of itself whenever it comes online."""
        manifest, outbox = self.model.artifact.manifest, self._settings.outbox
        return {
            "versions": {"tidegate": version("tidegate"), "python": platform.python_version()},
            "model": {
                "name": manifest.name,
                "version": manifest.version,
                "precision": manifest.precision,
                "sha256": self.model.artifact.sha256,
                "threads": self.model.threads,
            },
            "gate": {
                "policy": self._settings.gate.policy,
                "temperature": self.gate.temperature,
                "threshold": self.gate.threshold,
            },
            "certificate": promise(self.oversight),
            "stream": self.identity.stream,
            "confirm": outbox.confirm,
        }


def promise(oversight: Oversight) -> Mapping[str, Any] | None:
    """What the node promises now; ``None`` without a certificate."""
    standing = oversight.standing
    found = standing.certificate
    if found is None:
        return None
    return {
        "promise": found.promise,
        "epsilon": found.epsilon,
        "delta": found.delta,
        "offload": found.offload,
        "verdict": found.verdict,
        "standing": standing.ground,
        "audited": oversight.audit.share,
        "audits_to_detect": standing.audits_to_detect,
    }

"""Everything that can be wrong before a node talks to anybody."""

from collections.abc import Iterator

from edge_node.broker.connection import Connection
from edge_node.config import EdgeConfig
from edge_node.gate.assemble import oversee
from edge_node.gate.policy import make_gate
from edge_node.handshake import expected_model, open_channel
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.model import EdgeModel
from edge_node.preprocess import for_manifest
from edge_node.sources import open_source
from protos import artifact


def check(settings: EdgeConfig) -> Iterator[str]:
    """Lines that say what the node would do; the error that ``EdgeNode.open`` would raise if it could not."""
    model = EdgeModel(artifact.load(settings.model.path), settings.model.threads or 1).artifact
    manifest = model.manifest
    gate = make_gate(settings.gate, model)
    for_manifest(manifest)
    meter, identity = Meter(), Identity(settings.node)
    connection = Connection(settings.mqtt, identity, dict, meter) if settings.mqtt else None
    oversight = oversee(settings, model, gate, lambda: False)
    open_source(settings.source, connection, meter)
    yield f"model    {manifest.name} {manifest.version}, {manifest.precision}, {len(manifest.labels)} classes"
    yield f"sha256   {model.sha256}"
    yield f"gate     {settings.gate.policy}: answers itself from score {oversight.pace.threshold:.4g} on"
    yield f"promise  {oversight.standing.verdict}"
    if oversight.audit.share:
        yield f"audit    {100 * oversight.audit.share:g} % of the samples"
    if settings.cloud:
        open_channel(settings.cloud).close()
        yield f"cloud    asks {expected_model(settings.cloud, model)} at {settings.cloud.target}"
    else:
        yield "cloud    none: edge-only"
    if settings.mqtt:
        yield f"results  to {settings.mqtt.root}/{settings.node.site}/{settings.node.name}/result"
    else:
        yield "results  to standard output"

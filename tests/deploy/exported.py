"""What our programs export, by their own tables."""

from prometheus_client import CollectorRegistry

import cloud_server.metrics
import edge_node.metrics
from cloud_server.fleet import exposition

_SUFFIXES = {
    "counter": ["_total"],
    "histogram": ["_bucket", "_sum", "_count"],
    "info": ["_info"],
    "gauge": [""],
}


def metrics() -> set[str]:
    """Every series' name: of node, server and bridge."""
    registries = edge_node.metrics.Meter().registry, cloud_server.metrics.Meter().registry
    bridge = {name.decode() for name in exposition._OURS}
    return bridge.union(*map(_names, registries))


def _names(registry: CollectorRegistry) -> set[str]:
    return {family.name + suffix for family in registry.collect() for suffix in _SUFFIXES[family.type]}

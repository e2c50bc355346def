"""PromQL in parts. ``$site``, ``$node`` and ``$server`` are the dashboards' variables.

A node's series carry ``site`` and ``node``, whether it is scraped or a fleet server shows them; a server's
own carry neither. A node that comes both ways counts once.
"""

from dataclasses import dataclass

WINDOW = "[$__rate_interval]"
PERIOD = "[$__range]"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called."""

    expr: str
    legend: str = ""


def of_nodes(metric: str, *labels: str) -> str:
    """Series of the chosen nodes."""
    return _where(metric, 'site=~"$site"', 'node=~"$node"', *labels)


def of_servers(metric: str, *labels: str) -> str:
    """Series of the chosen servers about themselves."""
    return _where(metric, 'site=""', 'instance=~"$server"', *labels)


def once(series: str) -> str:
    """Without knowing from whom we have it."""
    return f"max without (job, instance) ({series})"


def rate(series: str, by: str = "") -> str:
    """Growth a second, of nodes."""
    return f"sum{_by(by)}({once(f'rate({series}{WINDOW})')})"


def growth(series: str, by: str = "", over: str = PERIOD) -> str:
    """Growth in the period that is shown, or in another one, of nodes."""
    return f"sum{_by(by)}({once(f'increase({series}{over})')})"


def total(series: str, by: str = "") -> str:
    """Sum of gauges of nodes."""
    return f"sum{_by(by)}({once(series)})"


def server_rate(series: str, by: str = "") -> str:
    """Growth a second, of servers."""
    return f"sum{_by(by)}(rate({series}{WINDOW}))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Interpolated within its bucket, so good for comparing what has the same buckets."""
    return f"histogram_quantile({share}, {rate(histogram, _and('le', by))})"


def server_quantile(share: float, histogram: str, by: str = "") -> str:
    """The same of servers."""
    return f"histogram_quantile({share}, {server_rate(histogram, _and('le', by))})"


def mean_known(series: str) -> str:
    """Over the nodes that know it: NaN and infinity are left out."""
    return f"avg({once(series)} < Inf)"


def _where(metric: str, *labels: str) -> str:
    return f"{metric}{{{','.join(labels)}}}"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _and(label: str, others: str) -> str:
    return f"{label},{others}" if others else label


SAMPLES = of_nodes("tidegate_samples_total")
RESULTS = of_nodes("tidegate_results_total")
DEFERRED = of_nodes("tidegate_results_total", 'reason!~"confident|invalid_sample"')
FROM_CLOUD = of_nodes("tidegate_results_total", 'route="cloud"')
LATENCY = of_nodes("tidegate_inference_duration_seconds_bucket")
EDGE_ONLY_LATENCY = of_nodes("tidegate_edge_only_duration_seconds_bucket")
STAGES = "tidegate_stage_duration_seconds"
CONFIDENCE = of_nodes("tidegate_confidence_bucket", 'route="edge"')
NETWORK = of_nodes("tidegate_network_bytes_total")
TO_CLOUD = of_nodes("tidegate_network_bytes_total", 'transport="grpc"')
CLOUD_ONLY = of_nodes("tidegate_cloud_only_network_bytes_total")
ENERGY = of_nodes("tidegate_energy_joules_total")
DROPPED = of_nodes("tidegate_dropped_results_total")
DROPPED_SAMPLES = of_nodes("tidegate_dropped_samples_total")
QUEUED = of_nodes("tidegate_queued_results")
QUEUED_AGE = of_nodes("tidegate_queued_result_age_seconds")
IN_FLIGHT = of_nodes("tidegate_deferrals_in_flight")
CIRCUIT = of_nodes("tidegate_circuit_state")
STANDING = of_nodes("tidegate_certificate_standing")
STREAM_DISAGREEMENT = of_nodes("tidegate_stream_disagreement_ratio", 'bound="estimate"')
MODELS = of_nodes("tidegate_model_info")
NODE_UP = of_nodes("tidegate_node_up")
LAST_SEEN = of_nodes("tidegate_node_last_seen_timestamp_seconds")

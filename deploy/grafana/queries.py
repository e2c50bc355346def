"""PromQL in parts. ``$site`` and ``$node`` are the dashboard's variables: the labels of a scraped node."""

from dataclasses import dataclass

NODES = 'site=~"$site",node=~"$node"'
WINDOW = "[$__rate_interval]"
PERIOD = "[$__range]"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called."""

    expr: str
    legend: str = ""


def of_nodes(metric: str, *labels: str) -> str:
    """Series of the chosen nodes."""
    return f"{metric}{{{','.join((NODES, *labels))}}}"


def rate(series: str, by: str = "") -> str:
    """Growth a second."""
    return f"sum{_by(by)}(rate({series}{WINDOW}))"


def growth(series: str, by: str = "", over: str = PERIOD) -> str:
    """Growth in the period that is shown, or in another one."""
    return f"sum{_by(by)}(increase({series}{over}))"


def quantile(share: float, histogram: str, by: str) -> str:
    """Interpolated within its bucket, so good for comparing what has the same buckets."""
    return f"histogram_quantile({share}, {rate(histogram, f'le,{by}')})"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


RESULTS = of_nodes("tidegate_results_total")
DEFERRED = of_nodes("tidegate_results_total", 'reason!~"confident|invalid_sample"')
FROM_CLOUD = of_nodes("tidegate_results_total", 'route="cloud"')
LATENCY = of_nodes("tidegate_inference_duration_seconds_bucket")
STAGES = "tidegate_stage_duration_seconds"
CONFIDENCE = of_nodes("tidegate_confidence_bucket")
SENT = of_nodes("tidegate_cloud_payload_bytes_total", 'direction="sent"')
CLOUD_ONLY = of_nodes("tidegate_cloud_only_payload_bytes_total")
DROPPED = of_nodes("tidegate_dropped_results_total")
DROPPED_SAMPLES = of_nodes("tidegate_dropped_samples_total")
CONNECTED = of_nodes("tidegate_mqtt_connected")
QUEUED = of_nodes("tidegate_queued_results")
IN_FLIGHT = of_nodes("tidegate_deferrals_in_flight")
MODELS = "tidegate_model_info"

REQUESTS = "tidegate_requests_total"
REQUEST_SECONDS = 'tidegate_request_duration_seconds_bucket{method="ModelInfer"}'
MODEL_SECONDS = "tidegate_model_inference_duration_seconds_bucket"
REQUESTS_IN_FLIGHT = "tidegate_requests_in_flight"

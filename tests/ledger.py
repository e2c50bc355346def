"""The law of every node: samples == Σ results by reason."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


def exposition(registry: CollectorRegistry) -> str:
    """What `/metrics` of this registry says."""
    return generate_latest(registry).decode()


def value(metrics: str, name: str, /, **labels: str) -> float:
    """Sum over the series of ``name`` that have these labels; there must be one."""
    found = [sample for sample in _samples(metrics, name) if labels.items() <= sample[0].items()]
    assert found, f"no series {name} {labels}"
    return sum(amount for _, amount in found)


def results_by_reason(metrics: str) -> dict[str, int]:
    """Reasons that occurred; every sample of the node must have its one result."""
    series = _samples(metrics, "tidegate_results_total")
    reasons = {labels["reason"]: 0 for labels, _ in series}
    for labels, amount in series:
        reasons[labels["reason"]] += int(amount)
    samples = value(metrics, "tidegate_samples_total")
    assert samples == sum(reasons.values()), f"{samples} samples, results {reasons}"
    return {reason: count for reason, count in reasons.items() if count}


def _samples(metrics: str, name: str) -> list[tuple[dict[str, str], float]]:
    families = text_string_to_metric_families(metrics)
    return [(it.labels, it.value) for family in families for it in family.samples if it.name == name]

"""What the oversight of the gate knows, as metrics."""

from math import nan

from edge_node.gate.ground import Ground
from edge_node.gate.oversight import Oversight
from edge_node.metrics import Meter

QUANTILES = {"p50": 0.5, "p99": 0.99}


def expose(oversight: Oversight, meter: Meter) -> None:
    """Bring the gauges up to date; what nobody knows is NaN."""
    _expose_standing(oversight, meter)
    _expose_audit(oversight, meter)
    meter.threshold.set(oversight.pace.threshold)


def _expose_standing(oversight: Oversight, meter: Meter) -> None:
    standing, certificate = oversight.standing, oversight.standing.certificate
    found = standing.ground
    for ground in Ground:
        meter.standing.labels(ground).set(ground is found)
    meter.epsilon.set(certificate.epsilon if certificate else nan)
    meter.delta.set(certificate.delta if certificate else nan)
    meter.certified_offload.set(certificate.offload if certificate else nan)
    meter.risk.set(standing.risk)
    meter.suspicion.set(standing.suspicion())
    meter.to_detect.set(standing.audits_to_detect)


def _expose_audit(oversight: Oversight, meter: Meter) -> None:
    audit = oversight.audit
    found = audit.disagreement()
    meter.audit_share.set(audit.share)
    meter.labelled_drop.set(_known(audit.memory.drop))
    meter.gain.set(oversight.benefit.gain(nan) if oversight.benefit else nan)
    meter.audits.labels("answered").set(found.audited)
    meter.audits.labels("missing").set(found.missing)
    for bound, value in (
        ("estimate", found.kept),
        ("low", found.kept_low),
        ("high", found.kept_high),
        ("worst", found.kept_worst),
    ):
        meter.disagreement.labels(bound).set(value)
    meter.stream_disagreement.labels("estimate").set(found.stream)
    meter.stream_disagreement.labels("error").set(found.stream_error)
    meter.stream_disagreement.labels("worst").set(found.stream_worst)
    meter.cloud_only_seconds.set(_known(audit.seconds.mean()))
    for at, share in QUANTILES.items():
        meter.cloud_only_quantiles.labels(at).set(_known(audit.seconds.quantile(share)))
    meter.cloud_only_bytes.set(_known(audit.bytes.mean()))
    meter.cloud_only_effective.set(audit.seconds.effective)


def _known(value: float | None) -> float:
    return nan if value is None else value

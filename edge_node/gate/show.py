"""A certificate for a person."""

from collections.abc import Iterator

from edge_node.gate.certificate import Certificate


def lines(certificate: Certificate, problem: str | None) -> Iterator[str]:
    """What is promised, whether it holds for these files, and what it rests on."""
    yield certificate.verdict
    yield from (f"{name:<11}{value}" for name, value in _facts(certificate, problem))


def _facts(it: Certificate, problem: str | None) -> Iterator[tuple[str, str]]:
    yield "valid", "yes" if problem is None else f"no: {problem}"
    yield "promise", f"{it.promise} {it.epsilon:g} at {1 - it.delta:.4g}, {it.method} tests, one a {it.unit}"
    yield "keeps", f"{it.score.__struct_config__.tag} >= {it.threshold:.6g}, temperature {it.temperature:.4g}"
    yield "offload", f"{it.offload:.1%} of the samples, {it.bytes:.1%} of the bytes"
    yield "kept", f"differ from the cloud in at most {it.q0:.1%}; {it.ties:.1%} tie at the threshold"
    if it.edge_accuracy is not None and it.cloud_accuracy is not None:
        yield "accuracy", f"edge {it.edge_accuracy:.1%}, cloud {it.cloud_accuracy:.1%} of the samples"
    if it.mean_gain is not None:
        yield "unserved", f"{it.unserved:.2%} is paid for; each more costs {it.mean_gain:.2f} on average"
    for point in it.stricter:
        yield "stricter", f"{point.epsilon:g}: >= {point.threshold:.6g}, offload {point.offload:.1%}"
    yield from _grounds(it)


def _grounds(it: Certificate) -> Iterator[tuple[str, str]]:
    groups = "" if it.groups is None else f" of {it.groups} groups, design effect {it.design_effect:.1f}"
    yield "evidence", f"{it.n} samples{groups}, {len(it.steps)} tests; {it.tune} others tuned"
    yield "CERT", f"SHA-256 {it.cert_sha256[:12]}, order {it.seed}"
    if it.binding:
        edge, cloud = it.binding.edge[:12], it.binding.cloud
        yield "bound to", f"edge {edge}, cloud {cloud.name} {cloud.sha256[:12]}, payload {it.binding.codec}"
    if it.made_at:
        yield "made", f"{it.made_at:%Y-%m-%d %H:%M} UTC"
    yield from (("note", warning) for warning in it.warnings)
